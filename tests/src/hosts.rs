//! Host programs: compiled from `tests/hosts/`, run with the tap or without it.

use crate::artifacts::workshop;
use crate::wait::eventually;
use nccltap_proto::{FNV_START, fnv1a};
use nccltap_rehearsal::{FILES, Installable, Installed, SWITCH};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::OnceLock;

/// How a host program gets to NCCL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linkage {
    /// Linked; each function is found when it is first called.
    Lazy,
    /// Linked; all functions are found when the program starts.
    Now,
    /// Linked; called through the global offset table, without a linkage table.
    NoPlt,
    /// Not linked: it opens NCCL by itself, or does without.
    None,
}

impl Linkage {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Lazy => &["-Wl,-z,lazy"],
            Self::Now => &["-Wl,-z,now"],
            Self::NoPlt => &["-fno-plt", "-Wl,-z,now"],
            Self::None => &[],
        }
    }
}

/// The simulated NCCL, installed once for all tests.
///
/// # Panics
/// When it cannot be written.
pub fn simulated_nccl() -> &'static Installed {
    static INSTALLED: OnceLock<Installed> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let hash = FILES.iter().fold(FNV_START, |hash, file| fnv1a(file.bytes, hash));
        let directory = workshop().join(format!("nccl-{hash:016x}"));
        let installed = nccltap_rehearsal::Installed::in_directory(&directory);
        match installed.is_complete() {
            true => installed,
            false => {
                nccltap_rehearsal::install(&directory).expect("the target directory can be written")
            }
        }
    })
}

/// A second copy of the simulated NCCL, under a name of its own: the loader keeps both, and a library is
/// linked to one or the other.
///
/// # Panics
/// When it cannot be written.
pub fn second_nccl() -> PathBuf {
    let first = &simulated_nccl().library;
    let second = first.with_file_name("libnccl.so.3");
    if !second.exists() {
        let (name, other) = (b"libnccl.so.2\0", b"libnccl.so.3\0");
        let mut bytes = fs::read(first).expect("the simulated NCCL is installed");
        let at = bytes.windows(name.len()).position(|bytes| bytes == name);
        let at = at.expect("the library has its name in it");
        bytes[at..at + other.len()].copy_from_slice(other);
        let draft = second.with_extension(unique());
        fs::write(&draft, bytes).expect("the target directory can be written");
        fs::rename(&draft, &second).expect("a file can be renamed in its directory");
    }
    second
}

/// The program that `tests/hosts/NAME.c` (or `.cpp`) becomes, compiled unless it has been.
pub fn program(name: &str, linkage: Linkage) -> PathBuf {
    let source = match source(name).exists() {
        true => source(name),
        false => source(name).with_extension("cpp"),
    };
    compile(&source, &format!("{name}-{linkage:?}"), |command| {
        command.args(linkage.arguments()).arg("-I").arg(source.parent().unwrap_or(&source));
        if linkage != Linkage::None {
            link(command, &simulated_nccl().library);
        }
    })
}

/// The simulated HIP: compiled over the core of the simulated CUDA.
fn simulated_hip() -> PathBuf {
    let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rehearsal/cuda/core");
    compile(&source("hip/amdhip64"), "libamdhip64.so.7", |command| {
        command.args(["-shared", "-fPIC", "-fvisibility=hidden", "-Wl,-soname,libamdhip64.so.7"]);
        command.arg("-I").arg(core);
        link(command, &simulated_nccl().library.with_file_name("librehearsal.so.1"));
    })
}

/// The program that `tests/hosts/NAME.c` becomes, linked to RCCL and HIP.
pub fn hip_program(name: &str, linkage: Linkage) -> PathBuf {
    let hip = simulated_hip();
    let of = |file: &Path| file.parent().unwrap_or(Path::new(".")).display().to_string();
    compile(&source(name), &format!("{name}-{linkage:?}-hip"), |command| {
        let rccl = &simulated_nccl().rccl;
        command.arg(format!("-Wl,-rpath,{}", of(&hip)));
        command.arg(format!("-Wl,-rpath-link,{}", of(rccl)));
        link(command.args(linkage.arguments()), rccl);
        link(command, &hip);
    })
}

/// The simulated oneCCL.
pub fn simulated_oneccl() -> PathBuf {
    compile(&source("oneccl/ccl"), "libccl.so.2", |command| {
        command.args(["-shared", "-fPIC", "-fvisibility=hidden", "-Wl,-soname,libccl.so.2"]);
    })
}

/// The program that `tests/hosts/NAME.c` becomes, linked to oneCCL in place of NCCL.
pub fn oneccl_program(name: &str, linkage: Linkage) -> PathBuf {
    let oneccl = simulated_oneccl();
    let directory = oneccl.parent().unwrap_or(Path::new(".")).display().to_string();
    compile(&source(name), &format!("{name}-{linkage:?}-oneccl"), |command| {
        command.arg(format!("-Wl,-rpath,{directory}"));
        link(command.args(linkage.arguments()), &oneccl);
    })
}

/// The program that `tests/hosts/NAME.c` becomes, linked to RCCL in place of NCCL.
pub fn rccl_program(name: &str, linkage: Linkage) -> PathBuf {
    compile(&source(name), &format!("{name}-{linkage:?}-rccl"), |command| {
        link(command.args(linkage.arguments()), &simulated_nccl().rccl);
    })
}

/// The program that `tests/hosts/NAME.c` becomes, linked to NCCL and to this release of the CUDA runtime.
pub fn cuda_program(name: &str, linkage: Linkage, release: u32) -> PathBuf {
    compile(&source(name), &format!("{name}-{linkage:?}-cuda{release}"), |command| {
        command.args(linkage.arguments()).arg(format!("-DCUDART_VERSION={release}000"));
        if linkage != Linkage::None {
            link(command, &simulated_nccl().library);
            command.arg(format!("-l:libcudart.so.{release}"));
        }
    })
}

/// The same, linked to the driver too.
pub fn driver_program(name: &str, linkage: Linkage) -> PathBuf {
    compile(&source(name), &format!("{name}-{linkage:?}-driver"), |command| {
        command.args(linkage.arguments()).arg("-DCUDART_VERSION=12000");
        link(command, &simulated_nccl().library);
        command.args(["-l:libcudart.so.12", "-l:libcuda.so.1"]);
    })
}

/// The shared library that `tests/hosts/NAME.c` becomes, linked to NCCL.
pub fn library(name: &str) -> PathBuf {
    library_linked_to(name, &simulated_nccl().library)
}

/// The same, linked to one of several copies of NCCL.
pub fn library_linked_to(name: &str, nccl: &Path) -> PathBuf {
    compile(&source(name), &format!("{name}.so"), |command| {
        link(command.args(["-shared", "-fPIC"]), nccl)
    })
}

/// The library to preload that `tests/hosts/preloads/NAME.c` becomes; linked to nothing.
pub fn preload(name: &str) -> PathBuf {
    let source = source(&format!("preloads/{name}"));
    let versions = source.with_extension("map");
    compile(&source, &format!("{name}.so"), |command| {
        command.args(["-shared", "-fPIC"]);
        if versions.exists() {
            command.arg(format!("-Wl,--version-script={}", versions.display()));
        }
    })
}

/// The Python program `tests/hosts/NAME.py`.
pub fn script(name: &str) -> PathBuf {
    source(name).with_extension("py")
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("hosts").join(name).with_extension("c")
}

fn link(command: &mut Command, nccl: &Path) {
    let name = nccl.file_name().unwrap_or_default().to_string_lossy();
    command.arg("-L").arg(nccl.parent().unwrap_or(nccl)).arg(format!("-l:{name}"));
}

/// Compiles under a name made of everything that goes in, so that nothing is compiled twice and
/// tests that want the same program at once do not disturb each other.
fn compile(source: &Path, name: &str, arrange: impl FnOnce(&mut Command)) -> PathBuf {
    let read =
        |path: &Path| fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let header = source.with_file_name("host.h");
    let compiler = match source.extension() {
        Some(extension) if extension == "cpp" => "c++",
        _ => "cc",
    };
    let mut command = Command::new(compiler);
    command
        .args(["-O1", "-g", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-pthread"])
        .arg("-I")
        .arg(simulated_nccl().header.parent().unwrap_or(Path::new(".")))
        .arg("-I")
        .arg(public_header().with_file_name(""))
        .arg(source);
    arrange(&mut command);
    let parts = [
        read(source),
        if header.exists() { read(&header) } else { Vec::new() },
        read(&public_header()),
        FILES.iter().filter(|file| is_header(file)).flat_map(|file| file.bytes).copied().collect(),
        format!("{command:?}").into_bytes(),
    ];
    let hash = parts.iter().fold(FNV_START, |hash, part| fnv1a(part, hash));
    let directory = workshop().join(format!("host-{hash:016x}"));
    let finished = directory.join(name);
    if !finished.exists() {
        fs::create_dir_all(&directory).expect("the target directory can be written");
        let draft = directory.join(format!("draft-{}", unique()));
        let compiled = command.arg("-o").arg(&draft).status().expect("the C compiler can be run");
        assert!(compiled.success(), "{} does not compile", source.display());
        fs::rename(&draft, &finished).expect("a file can be renamed in its directory");
    }
    finished
}

/// What an engine includes to mark its steps.
fn public_header() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/include/nccltap.h")
}

fn is_header(file: &Installable) -> bool {
    file.name.ends_with(".h")
}

/// A text that no other thread or process uses at the same time.
fn unique() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// A program to be run.
#[derive(Debug)]
pub struct Host {
    command: Command,
    files: PathBuf,
}

impl Host {
    /// `program`, whose output is kept in `directory`.
    pub(crate) fn new(program: &Path, directory: &Path) -> Self {
        let mut command = Command::new(program);
        command
            .env("LD_LIBRARY_PATH", simulated_nccl().library.parent().unwrap_or(Path::new("")))
            .env(SWITCH.0, SWITCH.1)
            .env("NCCLTAP_REHEARSAL_SAID", "1")
            .env("PYTHONDONTWRITEBYTECODE", "1");
        Self { command, files: directory.join(format!("host-{}", unique())) }
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Preloads these libraries, in this order.
    pub fn preloading(self, libraries: &[&Path]) -> Self {
        let paths: Vec<_> = libraries.iter().map(|path| path.display().to_string()).collect();
        self.env("LD_PRELOAD", paths.join(":"))
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(mut self) -> Run {
        let open = |extension| {
            let path = self.files.with_extension(extension);
            (File::create(&path).expect("the test's directory can be written"), path)
        };
        let ((out, stdout), (err, stderr)) = (open("stdout"), open("stderr"));
        self.command.stdin(Stdio::piped()).stdout(out).stderr(err);
        let mut child = self
            .command
            .spawn()
            .unwrap_or_else(|error| panic!("{:?} cannot be started: {error}", self.command));
        let stdin = child.stdin.take();
        Run { pid: child.id(), child, stdin, stdout, stderr, what: format!("{:?}", self.command) }
    }

    /// Runs it to its end.
    pub fn run(self) -> Finished {
        self.start().finish()
    }
}

/// A host program that runs. Killed when dropped.
#[derive(Debug)]
pub struct Run {
    /// Its process id.
    pub pid: u32,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: PathBuf,
    stderr: PathBuf,
    what: String,
}

impl Run {
    /// Waits until it has printed `line`.
    pub fn wait_for_line(&mut self, line: &str) {
        eventually(|| {
            let printed = fs::read_to_string(&self.stdout).unwrap_or_default();
            if printed.lines().any(|printed| printed == line) {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                let said = fs::read_to_string(&self.stderr).unwrap_or_default();
                panic!("{} ended ({status}) before it said `{line}`: {said}", self.what);
            }
            Err(format!("{} has not said `{line}`", self.what))
        });
    }

    /// What it has written to stderr so far.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Tells a program that waits for the test to go on.
    ///
    /// # Panics
    /// When it does not listen.
    pub fn go_on(&mut self) {
        let stdin = self.stdin.as_mut().expect("the program was started with a pipe");
        stdin.write_all(b"\n").expect("the program listens");
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it is not there any more.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap_or_else(|error| panic!("{}: {error}", self.what));
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    pub fn finish(mut self) -> Finished {
        self.stdin = None;
        let status = eventually(|| match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err(format!("{} has not ended", self.what)),
            Err(error) => panic!("{}: {error}", self.what),
        });
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Finished {
            pid: self.pid,
            status,
            stdout: read(&self.stdout),
            stderr: read(&self.stderr),
            what: self.what.clone(),
        }
    }

    /// Kills it and waits for its end.
    pub fn kill(self) -> Finished {
        self.signal(Signal::KILL);
        self.finish()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A host program that has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its process id.
    pub pid: u32,
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
    what: String,
}

impl Finished {
    /// Requires that it ended with 0 and complained of nothing.
    ///
    /// # Panics
    /// When it did not.
    pub fn succeeded(self) -> Self {
        assert!(
            self.status.success() && self.stderr.is_empty(),
            "{} ended with {}: {}",
            self.what,
            self.status,
            self.stderr
        );
        self
    }
}
