//! A rehearsal needs no GPU: simulated NCCL, and a program that plays one rank of an engine on it.
//!
//! The simulated `libnccl.so.2` (`nccl/`) has NCCL's names, its argument checks and its way of
//! calling itself, and moves no data; ranks do not wait for each other. What it was asked it counts
//! by itself, in files that nothing else writes: [`counts`] reads them, and that is the ground truth
//! of the tests. `nccl/conduct.c` lists the environment variables that make it hang, fail or take
//! its time.
//!
//! `demo/llama_rank.c` issues what one rank of vLLM issues while it serves Llama-3.1-8B.
//!
//! Both are built from C by `build.rs` and carried in this crate; [`install`] writes them out.
#![forbid(unsafe_code)]

pub mod counts;
pub mod engines;
pub mod models;

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The simulated NCCL, a shared object.
pub const NCCL: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libnccl.so.2"));

/// Its header, for programs written in C.
pub const NCCL_HEADER: &[u8] = include_bytes!("../nccl/nccl.h");

/// The program that plays one rank of Llama-3.1-8B, an executable that finds the library beside it.
pub const LLAMA_RANK: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/llama_rank"));

/// Where [`install`] has put things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// `libnccl.so.2`. Put its directory into `LD_LIBRARY_PATH`. A copy of it at another path, opened
    /// by that path, is a second copy of NCCL in the process.
    pub library: PathBuf,
    /// `nccl.h`.
    pub header: PathBuf,
    /// The program that plays one rank; without arguments it says what it takes.
    pub llama_rank: PathBuf,
}

impl Installed {
    /// Where things are once they are installed in `directory`.
    pub fn in_directory(directory: &Path) -> Self {
        Self {
            library: directory.join("libnccl.so.2"),
            header: directory.join("nccl.h"),
            llama_rank: directory.join("llama_rank"),
        }
    }
}

/// Writes library, header and program into `directory`, which is made if need be.
///
/// Files appear complete or not at all, so that several processes may install into one directory.
/// A process that starts others from several threads should install before it does: a program
/// cannot be run while a child that was just forked still has it open for writing.
pub fn install(directory: &Path) -> io::Result<Installed> {
    fs::create_dir_all(directory)?;
    let installed = Installed::in_directory(directory);
    put(&installed.library, NCCL, 0o755)?;
    put(&installed.header, NCCL_HEADER, 0o644)?;
    put(&installed.llama_rank, LLAMA_RANK, 0o755)?;
    Ok(installed)
}

fn put(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let draft = path.with_extension(format!("draft-{}", std::process::id()));
    let mut file = File::create(&draft)?;
    file.write_all(bytes)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    drop(file);
    fs::rename(&draft, path)
}
