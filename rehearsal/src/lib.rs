//! A rehearsal needs no GPU: simulated CUDA and NCCL, and a program that plays one rank of an engine.
//!
//! The simulated `libnccl.so.2` (`nccl/`) has NCCL's names, its argument checks and its way of
//! calling itself, and moves no data; ranks do not wait for each other. The simulated CUDA (`cuda/`)
//! captures streams into graphs and launches them. What both were asked they count by themselves,
//! in files that nothing else writes: [`counts`] and [`graphs`] read them, and that is the ground
//! truth of the tests. `common/environment.h` lists every environment variable that they read.
//!
//! None of it does anything in a process whose environment lacks `NCCLTAP_REHEARSAL=1`
//! ([`SWITCH`]): it says so in one line and ends the process.
//!
//! `demo/llama_rank.c` issues what one rank of vLLM issues while it serves Llama-3.1-8B.
//!
//! All are built from C by `build.rs` and carried in this crate; [`install`] writes them out.
#![forbid(unsafe_code)]

mod account;
mod bytes;
pub mod counts;
pub mod engines;
pub mod gpus;
pub mod graphs;
pub mod models;
pub mod stack;
pub mod times;

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The environment variable without which no simulated library does anything, and its value.
pub const SWITCH: (&str, &str) = ("NCCLTAP_REHEARSAL", "1");

/// The environment variable that names the directory of the simulator's counts.
pub const COUNTS_DIRECTORY: &str = "NCCLTAP_REHEARSAL_COUNTS_DIR";

/// The environment variable with which the simulator writes down when each operation was, and its
/// value.
pub const TIMES: (&str, &str) = ("NCCLTAP_REHEARSAL_TIMES", "1");

/// A file that [`install`] writes.
#[derive(Clone, Copy, Debug)]
pub struct Installable {
    /// Its name in the directory.
    pub name: &'static str,
    /// What is in it.
    pub bytes: &'static [u8],
    mode: u32,
}

macro_rules! built {
    ($name:literal) => {
        Installable {
            name: $name,
            bytes: include_bytes!(concat!(env!("OUT_DIR"), "/", $name)),
            mode: 0o755,
        }
    };
}

macro_rules! header {
    ($name:literal in $directory:literal) => {
        Installable {
            name: $name,
            bytes: include_bytes!(concat!("../", $directory, "/", $name)),
            mode: 0o644,
        }
    };
}

/// Everything that [`install`] writes: libraries, the program of the demo, headers for programs in C.
pub const FILES: [Installable; 9] = [
    built!("libnccl.so.2"),
    built!("librccl.so.1"),
    built!("librehearsal.so.1"),
    built!("libcudart.so.12"),
    built!("libcudart.so.13"),
    built!("libcuda.so.1"),
    built!("llama_rank"),
    header!("nccl.h" in "nccl"),
    header!("cuda_runtime.h" in "cuda/runtime"),
];

/// Where [`install`] has put things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// `libnccl.so.2`. Put its directory into `LD_LIBRARY_PATH`. A copy of it at another path, opened
    /// by that path, is a second copy of NCCL in the process.
    pub library: PathBuf,
    /// `librccl.so.1`, the same under the name that AMD's has, with the functions that only RCCL has.
    pub rccl: PathBuf,
    /// `libcudart.so.12`, the runtime API of the simulated CUDA 12. Where it is in the process,
    /// NCCL's operations on streams that are being captured become part of graphs.
    pub cuda_runtime: PathBuf,
    /// The same of CUDA 13, `libcudart.so.13`.
    pub cuda_runtime_13: PathBuf,
    /// `nccl.h`; `cuda_runtime.h` is beside it.
    pub header: PathBuf,
    /// The program that plays one rank; without arguments it says what it takes.
    pub llama_rank: PathBuf,
}

impl Installed {
    /// Where things are once they are installed in `directory`.
    pub fn in_directory(directory: &Path) -> Self {
        Self {
            library: directory.join("libnccl.so.2"),
            rccl: directory.join("librccl.so.1"),
            cuda_runtime: directory.join("libcudart.so.12"),
            cuda_runtime_13: directory.join("libcudart.so.13"),
            header: directory.join("nccl.h"),
            llama_rank: directory.join("llama_rank"),
        }
    }

    /// Whether everything is there.
    pub fn is_complete(&self) -> bool {
        let directory = self.library.parent().unwrap_or(Path::new("/"));
        FILES.iter().all(|file| directory.join(file.name).exists())
    }
}

/// Writes [`FILES`] into `directory`, which is made if need be.
///
/// Files appear complete or not at all, so that several processes may install into one directory.
/// A process that starts others from several threads should install before it does: a program
/// cannot be run while a child that was just forked still has it open for writing.
pub fn install(directory: &Path) -> io::Result<Installed> {
    fs::create_dir_all(directory)?;
    for file in FILES {
        put(&directory.join(file.name), file.bytes, file.mode)?;
    }
    Ok(Installed::in_directory(directory))
}

fn put(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let draft = path.with_extension(format!("draft-{}", std::process::id()));
    let mut file = File::create(&draft)?;
    file.write_all(bytes)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    drop(file);
    fs::rename(&draft, path)
}
