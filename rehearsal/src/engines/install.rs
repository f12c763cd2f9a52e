//! Makes an environment: Python, the engine's packages from PyPI without NVIDIA's, and a
//! manifest at the end.
//!
//! Every step finds what an earlier try has done, so the same command goes on where the last one
//! stopped. Packages are kept by uv in its own cache, shared by all environments.

use super::catalog::Wanted;
use super::installed::{Engine, Manifest, site_packages};
use super::left_out;
use crate::{gpus, stack};
use anyhow::{Context, bail, ensure};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Free space beyond what the engine takes, in MB: a package is unpacked before it is moved.
const SPARE: u64 = 1000;

/// An installation to be made.
#[derive(Clone, Debug)]
pub struct Installation<'a> {
    /// What to install.
    pub wanted: &'a Wanted,
    /// Where the environment will lie.
    pub folder: PathBuf,
    /// Where tools for it are kept.
    pub tools: PathBuf,
    /// The Python to make it from. By default one from PATH that the engine runs on.
    pub python: Option<PathBuf>,
}

impl Installation<'_> {
    /// Makes the environment. `tell` is given a line as each step begins.
    ///
    /// # Errors
    /// When something is missing on this machine or a step fails; the sentence says what to do.
    pub fn make(&self, tell: &mut dyn FnMut(String)) -> anyhow::Result<Engine> {
        let folder = &self.folder;
        let wanted = self.wanted;
        fs::create_dir_all(folder)
            .with_context(|| format!("{} cannot be made", folder.display()))?;
        let lock = File::create(folder.join("lock"))
            .with_context(|| format!("{} cannot be written to", folder.display()))?;
        if lock.try_lock().is_err() {
            bail!("another `nccltap rehearse install` works in {}", folder.display());
        }
        if let Ok(engine) = Engine::in_folder(folder) {
            let there = &engine.manifest;
            ensure!(
                there.package == wanted.like.package && there.version == wanted.version,
                "{} has {}=={} in it; remove it, or install elsewhere with --into",
                folder.display(),
                there.package,
                there.version
            );
            tell(format!("{wanted} is installed in {}", folder.display()));
            return Ok(engine);
        }
        let python = self.python()?;
        tell(format!("[1/4] Python {} ({})", python.version, python.program.display()));
        compilers(&python)?;
        space(folder, wanted.like.disk + SPARE)?;
        let uv = self.uv(&python, tell)?;
        tell(format!("[3/4] {wanted} from PyPI, without NVIDIA's libraries"));
        self.packages(&uv, &python)?;
        tell("[4/4] the simulated libraries that it asks for".to_owned());
        let version = installed_version(&site_packages(folder, &python.version), wanted)?;
        ensure!(version == wanted.version, "{wanted} was asked for, and {version} was installed");
        let manifest =
            Manifest { package: wanted.like.package.to_owned(), version, python: python.version };
        let engine = Engine { folder: folder.clone(), manifest };
        stack::build(&engine.site_packages(), &engine.stacks(), &gpus::PROFILES[0])?;
        engine.complete()?;
        Ok(engine)
    }

    fn python(&self) -> anyhow::Result<Python> {
        let (first, last) = self.wanted.like.python;
        let range = format!("{} runs on Python 3.{first} to 3.{last}", self.wanted);
        if let Some(program) = &self.python {
            let python = Python::look(program)
                .with_context(|| format!("{} cannot be run as a Python", program.display()))?;
            ensure!(
                (first..=last).contains(&python.minor),
                "{range}, and {} is {}",
                program.display(),
                python.version
            );
            return Ok(python);
        }
        // The one that the user calls python3, or else the newest.
        let names = std::iter::once("python3".to_owned())
            .chain((first..=last).rev().map(|minor| format!("python3.{minor}")));
        names
            .filter_map(|name| Python::look(Path::new(&name)))
            .find(|python| (first..=last).contains(&python.minor))
            .with_context(|| {
                format!("{range}, and there is none in PATH; install one, or name one by --python")
            })
    }

    /// uv, which unlike pip can be told to leave packages out.
    fn uv(&self, python: &Python, tell: &mut dyn FnMut(String)) -> anyhow::Result<PathBuf> {
        let own = self.tools.join("uv");
        for uv in [Path::new("uv"), &own.join("bin/uv")] {
            if let Some(version) = output(Command::new(uv).arg("--version")) {
                tell(format!("[2/4] {}", version.trim()));
                return Ok(uv.to_owned());
            }
        }
        tell("[2/4] uv, from PyPI".to_owned());
        let python = &python.program;
        step(
            Command::new(python).args(["-m", "venv", "--clear"]).arg(&own),
            "an environment for uv could not be made; Debian has what is needed in python3-venv",
        )?;
        step(
            Command::new(own.join("bin/python")).args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "uv",
            ]),
            "uv could not be installed from PyPI; is there a network?",
        )?;
        Ok(own.join("bin/uv"))
    }

    /// uv, that sees only packages which were there when the engine was released.
    fn uv_of_its_day(&self, uv: &Path) -> Command {
        let mut command = Command::new(uv);
        if let Some(day) = self.wanted.before() {
            command.env("UV_EXCLUDE_NEWER", day);
        }
        command
    }

    fn packages(&self, uv: &Path, python: &Python) -> anyhow::Result<()> {
        let venv = self.folder.join("venv");
        if !venv.join("bin/python").exists() {
            step(
                self.uv_of_its_day(uv)
                    // Seeded as `python -m venv` would: Triton needs setuptools, and does not say so.
                    .args(["venv", "--seed", "--quiet", "--clear", "--no-python-downloads"])
                    .arg("--python")
                    .arg(&python.program)
                    .arg(&venv),
                "the virtual environment could not be made",
            )?;
        }
        let overrides = self.folder.join("left-out.txt");
        crate::put(&overrides, left_out::overrides().as_bytes(), 0o644)
            .with_context(|| format!("{} cannot be written", overrides.display()))?;
        let mut install = self.uv_of_its_day(uv);
        install.args(["pip", "install", "--python"]).arg(venv.join("bin/python"));
        install.arg("--override").arg(&overrides);
        // A wheel of half a gigabyte takes its time.
        if std::env::var_os("UV_HTTP_TIMEOUT").is_none() {
            install.env("UV_HTTP_TIMEOUT", "600");
        }
        install.arg(self.wanted.to_string());
        let failed = "the packages could not be installed; uv says why above. The same command \
                      goes on where this one stopped";
        step(&mut install, failed).map_err(|error| match free(&self.folder) {
            Some(megabytes) if megabytes < SPARE => {
                error.context(format!("only {megabytes} MB are free at {}", self.folder.display()))
            }
            _ => error,
        })
    }
}

/// A Python that runs.
#[derive(Clone, Debug)]
struct Python {
    program: PathBuf,
    version: String,
    minor: u32,
    headers: PathBuf,
}

impl Python {
    fn look(program: &Path) -> Option<Self> {
        let ask = "import platform, sys, sysconfig; print(sys.executable); \
                   print(platform.python_version()); print(sysconfig.get_path('include'))";
        let said = output(Command::new(program).args(["-c", ask]))?;
        let [program, version, headers] = said.lines().collect::<Vec<_>>()[..] else { return None };
        let minor = version.strip_prefix("3.")?.split('.').next()?.parse().ok()?;
        Some(Self {
            program: program.into(),
            version: version.to_owned(),
            minor,
            headers: headers.into(),
        })
    }
}

/// What compiles: the simulated libraries with `gcc` and `g++`, Triton its launchers against
/// Python's headers.
fn compilers(python: &Python) -> anyhow::Result<()> {
    for compiler in ["gcc", "g++"] {
        ensure!(
            output(Command::new(compiler).arg("--version")).is_some(),
            "`{compiler}` cannot be run; the simulated libraries and Triton need gcc and g++"
        );
    }
    ensure!(
        python.headers.join("Python.h").exists(),
        "{} is missing, and Triton needs it; Debian has it in python3.{}-dev",
        python.headers.join("Python.h").display(),
        python.minor
    );
    Ok(())
}

fn space(folder: &Path, needed: u64) -> anyhow::Result<()> {
    match free(folder) {
        Some(megabytes) if megabytes < needed => bail!(
            "{megabytes} MB are free at {}, and {needed} are needed; make room, or install elsewhere \
             with --into",
            folder.display()
        ),
        _ => Ok(()),
    }
}

/// Free space in MB.
fn free(folder: &Path) -> Option<u64> {
    let filesystem = rustix::fs::statvfs(folder).ok()?;
    Some(filesystem.f_bavail.saturating_mul(filesystem.f_frsize) / 1_000_000)
}

/// The version that an environment has of what was wanted.
fn installed_version(site_packages: &Path, wanted: &Wanted) -> anyhow::Result<String> {
    let prefix = format!("{}-", wanted.like.package);
    let entries = fs::read_dir(site_packages)
        .with_context(|| format!("{} cannot be read", site_packages.display()))?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names
        .into_iter()
        .find_map(|name| Some(name.strip_suffix(".dist-info")?.strip_prefix(&prefix)?.to_owned()))
        .with_context(|| format!("{wanted} is not in {}", site_packages.display()))
}

/// What a command prints, if it can be run and succeeds.
fn output(command: &mut Command) -> Option<String> {
    let done = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Runs a command whose words are for the user, as they come.
fn step(command: &mut Command, failed: &str) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let done = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("{failed}: {program} cannot be run"))?;
    ensure!(done.success(), "{failed} ({program} ended with {done})");
    Ok(())
}
