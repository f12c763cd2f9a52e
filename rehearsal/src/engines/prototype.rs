//! Stands in for the simulated CUDA stack until it is in the workspace.

use super::environment::in_front;
use anyhow::{Context, ensure};
use std::ffi::OsString;
use std::path::Path;

/// The environment that brings simulated libraries into a process.
pub fn stack(
    folder: &Path,
    gpus: u32,
    inherited: &dyn Fn(&str) -> Option<OsString>,
) -> anyhow::Result<Vec<(&'static str, OsString)>> {
    let lib = folder.join("lib");
    ensure!(lib.is_dir(), "{} has no simulated libraries", folder.display());
    let preload = std::fs::read_to_string(folder.join("preload")).context("preload")?;
    let nccl = folder.with_file_name("nccl");
    crate::install(&nccl).context("the simulated NCCL cannot be written out")?;
    let cuda = in_front(&lib, inherited("LD_LIBRARY_PATH").as_deref());
    Ok(vec![
        ("LD_LIBRARY_PATH", in_front(&nccl, Some(&cuda))),
        ("LD_PRELOAD", preload.trim().into()),
        ("TRITON_LIBCUDA_PATH", lib.into()),
        ("FAKEGPU_COUNT", gpus.to_string().into()),
    ])
}
