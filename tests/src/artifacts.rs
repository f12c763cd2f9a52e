//! What is tested, built once: the tap, its uplink and the command, in the release profile, as users get them.

use nccltap_proto::uplink;
use serde::Deserialize;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Where the built things are.
#[derive(Clone, Debug)]
pub struct Artifacts {
    /// `libnccltap.so`.
    pub tap: PathBuf,
    /// `libnccltap_uplink.so`, beside it.
    pub uplink: PathBuf,
    /// The command `nccltap`.
    pub command: PathBuf,
}

/// Builds the tap and the command, unless this test run has done so already.
///
/// # Panics
/// When they do not build.
pub fn built() -> &'static Artifacts {
    static BUILT: OnceLock<Artifacts> = OnceLock::new();
    BUILT.get_or_init(|| match std::env::var_os("NEXTEST_RUN_ID") {
        Some(run) => once_per_run(&run),
        None => build(),
    })
}

/// A directory under cargo's target directory for what the harness makes and keeps.
pub fn workshop() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    let workshop = target.join("nccltap-tests");
    fs::create_dir_all(&workshop).expect("cargo's target directory can be written");
    workshop.canonicalize().expect("a directory that was just made has a path")
}

/// Under nextest each test is a process of its own: the first one builds, the others read where.
fn once_per_run(run: &OsString) -> Artifacts {
    let lock = File::create(workshop().join("build.lock")).expect("the workshop can be written");
    lock.lock().expect("a file in the target directory can be locked");
    let note = workshop().join("built");
    let run = run.to_string_lossy();
    let noted = fs::read_to_string(&note).unwrap_or_default();
    if let [of, tap, uplink, command] = noted.lines().collect::<Vec<_>>()[..]
        && of == run
    {
        return Artifacts { tap: tap.into(), uplink: uplink.into(), command: command.into() };
    }
    let built = build();
    let paths = [&built.tap, &built.uplink, &built.command].map(|path| path.display().to_string());
    let text = format!("{run}\n{}\n", paths.join("\n"));
    fs::write(note, text).expect("the workshop can be written");
    built
}

/// Builds the two libraries and then the command: built together, cargo would give the libraries in the
/// host what only the collector asks of their common dependencies.
fn build() -> Artifacts {
    let libraries = files_of(&["nccltap-agent", "nccltap-uplink"]);
    Artifacts {
        tap: named(&libraries, "libnccltap.so"),
        uplink: named(&libraries, uplink::LIBRARY),
        command: named(&files_of(&["nccltap"]), "nccltap"),
    }
}

fn named(files: &[PathBuf], name: &str) -> PathBuf {
    let found = files.iter().find(|path| path.file_name().is_some_and(|file| file == name));
    found.unwrap_or_else(|| panic!("cargo built no {name}")).clone()
}

/// Builds packages, and says which files came to be.
fn files_of(packages: &[&str]) -> Vec<PathBuf> {
    // What cargo tells a test about the test's own package would look like a change to what is built.
    let told = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os().filter(|(name, _)| told(&name.to_string_lossy())) {
        cargo.env_remove(name);
    }
    let output = cargo
        .args(["build", "--release"])
        .args(packages.iter().flat_map(|package| ["-p", package]))
        .args(["--message-format", "json-render-diagnostics"])
        .arg("--manifest-path")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"))
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo can be run");
    assert!(output.status.success(), "{packages:?} do not build");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .flat_map(|message| message.filenames)
        .collect()
}

/// The part of cargo's messages that says which files came to be.
#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    filenames: Vec<PathBuf>,
}
