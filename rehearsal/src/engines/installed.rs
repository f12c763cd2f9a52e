//! Where environments lie, and what is in them.

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// The file that says that an environment is complete, and what is in it.
const MANIFEST: &str = "engine.json";

/// What is in an environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The package on PyPI.
    pub package: String,
    /// Its version.
    pub version: String,
    /// The version of Python.
    pub python: String,
}

/// An environment that is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    /// The folder it lies in.
    pub folder: PathBuf,
    /// What is in it.
    pub manifest: Manifest,
}

impl Engine {
    /// The environment in `folder`.
    ///
    /// # Errors
    /// When there is none, or it is not complete.
    pub fn in_folder(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(MANIFEST);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
                "{} is no environment that `nccltap rehearse install` has made to its end",
                folder.display()
            ),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        let manifest = serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged; install the engine again", path.display()))?;
        Ok(Self { folder: folder.to_owned(), manifest })
    }

    /// Says that the environment is complete.
    pub(super) fn complete(&self) -> anyhow::Result<()> {
        let path = self.folder.join(MANIFEST);
        let text = format!("{:#}\n", serde_json::json!(self.manifest));
        crate::put(&path, text.as_bytes(), 0o644)
            .with_context(|| format!("{} cannot be written", path.display()))
    }

    /// The virtual environment.
    pub fn environment(&self) -> PathBuf {
        self.folder.join("venv")
    }

    /// Where its packages are.
    pub fn site_packages(&self) -> PathBuf {
        site_packages(&self.folder, &self.manifest.python)
    }

    /// What the engine compiles at run time goes here. It must not mix with what a real GPU needs.
    pub fn cache(&self) -> PathBuf {
        self.folder.join("cache")
    }

    /// Where simulated libraries are that were made for it, each in a folder of its own.
    pub fn stacks(&self) -> PathBuf {
        self.folder.join("stack")
    }
}

/// Where the packages of an environment for this version of Python are.
pub(super) fn site_packages(folder: &Path, python: &str) -> PathBuf {
    let minor: Vec<&str> = python.splitn(3, '.').take(2).collect();
    folder.join("venv/lib").join(format!("python{}", minor.join("."))).join("site-packages")
}

/// The directory for everything that rehearsals keep: `nccltap` in the user's data directory.
///
/// # Errors
/// When the environment says of no such directory.
pub fn home() -> anyhow::Result<PathBuf> {
    let named = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = named("XDG_DATA_HOME").or_else(|| Some(named("HOME")?.join(".local/share")));
    let data = data.context("neither XDG_DATA_HOME nor HOME is set; say where with --into")?;
    Ok(data.join("nccltap"))
}

/// Where environments lie, one folder each.
pub fn engines(home: &Path) -> PathBuf {
    home.join("engines")
}

/// The environments that are complete, those installed first in front.
pub fn all(home: &Path) -> Vec<Engine> {
    let folders = fs::read_dir(engines(home)).into_iter().flatten().flatten();
    let mut found: Vec<_> = folders
        .filter_map(|entry| {
            let written = entry.path().join(MANIFEST).metadata().and_then(|file| file.modified());
            Some((written.ok()?, Engine::in_folder(&entry.path()).ok()?))
        })
        .collect();
    found.sort_by(|a, b| (a.0, &a.1.folder).cmp(&(b.0, &b.1.folder)));
    found.into_iter().map(|(_, engine)| engine).collect()
}

/// Finds the environment that is meant: by a folder, by `vllm==0.11.0`, or the one installed last.
///
/// # Errors
/// When there is none, with what to do.
pub fn find(home: &Path, meant: Option<&str>) -> anyhow::Result<Engine> {
    let Some(meant) = meant else {
        return all(home).pop().with_context(|| {
            format!(
                "no engine is installed in {}; `nccltap rehearse install` makes one",
                engines(home).display()
            )
        });
    };
    if Path::new(meant).is_dir() {
        return Engine::in_folder(Path::new(meant));
    }
    let known = all(home);
    let name =
        |engine: &Engine| format!("{}=={}", engine.manifest.package, engine.manifest.version);
    if let Some(engine) = known.iter().rfind(|engine| name(engine) == meant) {
        return Ok(engine.clone());
    }
    let names: Vec<String> = known.iter().map(name).collect();
    let there = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    bail!(
        "`{meant}` is neither a folder nor installed ({there} is); `nccltap rehearse install \
         {meant}` makes it"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(home: &Path, version: &str) -> Engine {
        let folder = engines(home).join(format!("vllm-{version}"));
        fs::create_dir_all(&folder).unwrap();
        let manifest = Manifest {
            package: "vllm".to_owned(),
            version: version.to_owned(),
            python: "3.11.7".to_owned(),
        };
        let engine = Engine { folder, manifest };
        engine.complete().unwrap();
        engine
    }

    #[test]
    fn an_engine_is_found_by_name_by_folder_and_when_it_is_the_last() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        let old = install(home, "0.8.5.post1");
        let new = install(home, "0.11.0");
        let long_ago = fs::File::options().write(true).open(old.folder.join(MANIFEST)).unwrap();
        long_ago.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(all(home), [old.clone(), new.clone()]);
        assert_eq!(find(home, Some("vllm==0.8.5.post1")).unwrap(), old);
        assert_eq!(find(home, Some(old.folder.to_str().unwrap())).unwrap(), old);
        assert_eq!(find(home, None).unwrap(), new);
        assert!(old.site_packages().ends_with("venv/lib/python3.11/site-packages"));
    }

    #[test]
    fn what_is_not_there_is_said_with_what_to_do() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        let error = find(home, None).unwrap_err().to_string();
        assert!(error.ends_with("`nccltap rehearse install` makes one"), "{error}");
        install(home, "0.11.0");
        let error = find(home, Some("vllm==0.9.0")).unwrap_err().to_string();
        assert!(error.contains("(vllm==0.11.0 is)"), "{error}");
    }

    #[test]
    fn an_environment_that_was_not_finished_is_none() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(engines(home.path()).join("vllm-0.11.0/venv")).unwrap();
        assert_eq!(all(home.path()), []);
        let folder = engines(home.path()).join("vllm-0.11.0");
        assert!(find(home.path(), folder.to_str()).is_err());
    }
}
