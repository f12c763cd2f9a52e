//! The simulated CUDA stack for one installed engine: every NVIDIA library that its packages ask for.
//!
//! [`build`] reads which functions of which libraries the installed wheels ask for (`scan.rs`; never
//! NVIDIA's own binaries), takes those that are simulated from the objects that this crate carries
//! (`objects.rs`), and makes stubs of the rest by the table in `kinds.rs`: some may safely do
//! nothing, the others end the process in one line that names the function, its library and the
//! caller. `link.rs` makes shared libraries of it, with the names and symbol versions that the wheels
//! expect, by the C compiler.

mod kept;
mod kinds;
mod link;
mod nvidia_smi;
mod objects;
mod scan;
mod versions;

use crate::SWITCH;
use crate::gpus::GpuProfile;
use anyhow::Context;
use scan::Wanted;
use std::collections::hash_map::DefaultHasher;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Simulated libraries, ready to run the engine they were made for.
///
/// They stay where they are as long as this is held, whoever makes others meanwhile.
#[derive(Debug)]
pub struct Stack {
    /// The directory they lie in.
    pub libraries: PathBuf,
    /// What to add to `LD_PRELOAD`, after the tap: stand-ins for copies of the CUDA runtime that
    /// wheels carry under a name of their own.
    pub preload: Vec<PathBuf>,
    /// The variables of a process that runs on them, but for `LD_PRELOAD`. `LD_LIBRARY_PATH` has this
    /// process's own behind the libraries.
    pub environment: Vec<(&'static str, OsString)>,
    _kept: kept::Kept,
}

/// Makes the simulated libraries for the packages in `site_packages`, in a directory of their own in
/// `stacks`, unless they were made before and nothing has changed since.
///
/// `gpu` is what every device will be; further variables of `common/environment.h` choose how many
/// devices there are, how much memory they have, and where counts are kept.
///
/// # Errors
/// When the packages cannot be read, there is no PyTorch among them, `stacks` cannot be written, or the
/// C compiler (`CC`, else `cc`) cannot be run or refuses.
pub fn build(site_packages: &Path, stacks: &Path, gpu: &GpuProfile) -> anyhow::Result<Stack> {
    let versions = versions::Versions::of(site_packages)?;
    let files = scan::files(site_packages)?;
    let kept = kept::kept(stacks, &stamp(&files), |folder| make(&Wanted::scan(&files)?, folder))
        .with_context(|| format!("no libraries can be made in {}", stacks.display()))?;
    Ok(Stack {
        libraries: kept.folder.clone(),
        preload: preload(&kept.folder)?,
        environment: environment(&kept.folder, gpu, &versions),
        _kept: kept,
    })
}

fn make(wanted: &Wanted, folder: &Path) -> anyhow::Result<()> {
    link::all(wanted, folder)?;
    let programs = programs(folder);
    fs::create_dir(&programs)?;
    // Who looks for CUDA's libraries in a folder of CUDA finds them too.
    symlink(".", folder.join("lib64"))?;
    crate::put(&programs.join("nvidia-smi"), nvidia_smi::script().as_bytes(), 0o755)?;
    Ok(())
}

/// What the libraries depend on: the files that were scanned, and what this crate carries.
fn stamp(files: &[scan::File]) -> String {
    let mut hasher = DefaultHasher::new();
    files.hash(&mut hasher);
    objects::ALL.hash(&mut hasher);
    crate::FILES.map(|file| file.bytes).hash(&mut hasher);
    kinds::KINDS.hash(&mut hasher);
    nvidia_smi::script().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Where the simulated programs of a stack are: to be put in `PATH`.
pub fn programs(stack: &Path) -> PathBuf {
    stack.join("bin")
}

fn preload(into: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let list = fs::read_to_string(into.join(link::PRELOAD))
        .with_context(|| format!("{} is not complete; remove it", into.display()))?;
    Ok(list.lines().map(|name| into.join(name)).collect())
}

fn environment(
    into: &Path,
    gpu: &GpuProfile,
    versions: &versions::Versions,
) -> Vec<(&'static str, OsString)> {
    let mut path = into.as_os_str().to_owned();
    if let Some(inherited) = env::var_os("LD_LIBRARY_PATH").filter(|path| !path.is_empty()) {
        path.push(":");
        path.push(inherited);
    }
    vec![
        (SWITCH.0, SWITCH.1.into()),
        ("NCCLTAP_REHEARSAL_GPU", gpu.key.into()),
        ("NCCLTAP_REHEARSAL_CUDA_VERSION", versions.cuda.to_string().into()),
        ("NCCLTAP_REHEARSAL_CUDNN_VERSION", versions.cudnn.to_string().into()),
        ("NCCLTAP_REHEARSAL_NCCL_VERSION", versions.nccl.to_string().into()),
        ("LD_LIBRARY_PATH", path),
        ("TRITON_LIBCUDA_PATH", into.into()),
    ]
}
