//! The Python package that marks the steps of vLLM and SGLang, and how it gets into a command.
//!
//! Both engines find their plugins by the entry points of installed packages. A folder in `PYTHONPATH` counts as
//! a place of installation when it has a `.dist-info` beside the package, so the package need not be
//! installed in the engine's environment.

use anyhow::{Context, bail};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;

/// Environment variable that leaves the plugin out.
pub const PLUGIN_VARIABLE: &str = "NCCLTAP_PLUGIN";

/// Name of the package and of its entry points.
const NAME: &str = "nccltap";

macro_rules! package {
    ($($file:literal),*) => {
        [$(($file, include_str!(concat!("../../agent/python/nccltap/", $file)))),*]
    };
}

/// The package: its files, and what is in them.
const FILES: [(&str, &str); 7] = package![
    "__init__.py",
    "backends.py",
    "hooks.py",
    "imports.py",
    "marks.py",
    "sglang.py",
    "vllm.py"
];

/// What the package's own `pyproject.toml` says where it is installed.
const ENTRY_POINTS: &str = "[vllm.general_plugins]\nnccltap = nccltap.vllm:register\n\n\
                            [sglang.srt.plugins]\nnccltap = nccltap.sglang:register\n";

/// Variables that restrict the plugins of an engine to those they name.
const RESTRICTIONS: [&str; 2] = ["VLLM_PLUGINS", "SGLANG_PLUGINS"];

/// The environment that brings the plugin into a command: beyond `variable`, which gives what the command
/// has otherwise. The package is put into `directory`, which has to be there as long as the command runs.
pub fn environment(
    directory: &Path,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> anyhow::Result<Vec<(&'static str, OsString)>> {
    match variable(PLUGIN_VARIABLE).as_deref().and_then(OsStr::to_str) {
        Some("off") => return Ok(Vec::new()),
        None | Some("" | "on") => {}
        Some(other) => bail!("{PLUGIN_VARIABLE} is `{other}`; it can be on or off"),
    }
    let folder = directory.join("python");
    lay_out(&folder).with_context(|| format!("{} cannot be written", folder.display()))?;
    let mut path = folder.into_os_string();
    if let Some(there) = variable("PYTHONPATH").filter(|there| !there.is_empty()) {
        path.push(":");
        path.push(there);
    }
    let mut environment = vec![("PYTHONPATH", path)];
    for name in RESTRICTIONS {
        if let Some(mut allowed) = variable(name).filter(|allowed| restricts(name, allowed)) {
            allowed.push(",");
            allowed.push(NAME);
            environment.push((name, allowed));
        }
    }
    Ok(environment)
}

/// Whether a list of plugins leaves this one out. For SGLang an empty one is none, for vLLM it allows nothing.
fn restricts(name: &str, allowed: &OsStr) -> bool {
    let names = allowed.to_string_lossy();
    let counts = name == "VLLM_PLUGINS" || !names.is_empty();
    counts && !names.split(',').any(|one| one.trim() == NAME)
}

/// Puts the package into `folder` as an installer would: in `PYTHONPATH`, engines find it.
pub fn lay_out(folder: &Path) -> std::io::Result<()> {
    let package = folder.join(NAME);
    fs::create_dir_all(&package)?;
    for (file, text) in FILES {
        fs::write(package.join(file), text)?;
    }
    let version = env!("CARGO_PKG_VERSION");
    let metadata = folder.join(format!("{NAME}-{version}.dist-info"));
    fs::create_dir_all(&metadata)?;
    fs::write(metadata.join("entry_points.txt"), ENTRY_POINTS)?;
    let said = format!("Metadata-Version: 2.1\nName: {NAME}\nVersion: {version}\n");
    fs::write(metadata.join("METADATA"), said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn bring(set: &[(&'static str, &str)]) -> anyhow::Result<BTreeMap<&'static str, String>> {
        let directory = tempfile::tempdir().unwrap();
        let variable = |name: &str| {
            set.iter().find(|(set, _)| *set == name).map(|(_, value)| OsString::from(value))
        };
        let environment = environment(directory.path(), &variable)?;
        let here = format!("{}/", directory.path().display());
        let text = |value: OsString| value.into_string().unwrap().replace(&here, "");
        Ok(environment.into_iter().map(|(name, value)| (name, text(value))).collect())
    }

    #[test]
    fn the_package_joins_the_path_and_only_lists_that_leave_it_out_are_changed() {
        assert_eq!(bring(&[]).unwrap(), BTreeMap::from([("PYTHONPATH", "python".into())]));
        for (set, becomes) in [
            (("PYTHONPATH", "/a:/b"), ("PYTHONPATH", "python:/a:/b")),
            (("PYTHONPATH", ""), ("PYTHONPATH", "python")),
            (("VLLM_PLUGINS", "mine"), ("VLLM_PLUGINS", "mine,nccltap")),
            (("VLLM_PLUGINS", ""), ("VLLM_PLUGINS", ",nccltap")),
            (("SGLANG_PLUGINS", "mine"), ("SGLANG_PLUGINS", "mine,nccltap")),
        ] {
            let environment = bring(&[set]).unwrap();
            assert_eq!(environment.get(becomes.0).map(String::as_str), Some(becomes.1), "{set:?}");
        }
        for untouched in [("VLLM_PLUGINS", "mine, nccltap"), ("SGLANG_PLUGINS", "")] {
            assert!(!bring(&[untouched]).unwrap().contains_key(untouched.0), "{untouched:?}");
        }
    }

    #[test]
    fn it_can_be_left_out_and_nothing_else_can_be_said() {
        assert!(bring(&[(PLUGIN_VARIABLE, "off")]).unwrap().is_empty());
        assert!(!bring(&[(PLUGIN_VARIABLE, "on")]).unwrap().is_empty());
        let refused = bring(&[(PLUGIN_VARIABLE, "no")]).unwrap_err();
        assert_eq!(refused.to_string(), "NCCLTAP_PLUGIN is `no`; it can be on or off");
    }

    #[test]
    fn what_is_brought_along_is_the_package_as_it_would_be_installed() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/python");
        let mut files: Vec<String> = fs::read_dir(source.join(NAME))
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".py"))
            .collect();
        files.sort();
        assert_eq!(files, FILES.map(|(name, _)| name));
        let project = fs::read_to_string(source.join("pyproject.toml")).unwrap();
        assert!(project.contains(&format!("version = \"{}\"", env!("CARGO_PKG_VERSION"))));
        let mut group = String::new();
        for line in ENTRY_POINTS.lines().filter(|line| !line.is_empty()) {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                group = format!("[project.entry-points.\"{name}\"]\n");
                continue;
            }
            let (name, at) = line.split_once(" = ").unwrap();
            let declared = format!("{group}{name} = \"{at}\"");
            assert!(project.contains(&declared), "{declared}");
        }
        assert_eq!(project.matches("[project.entry-points.").count(), 2);
    }
}
