//! Makes shared libraries: what is simulated, stubs for the rest, names and symbol versions as asked for.

use super::kinds::{Kind, Stub};
use super::objects;
use super::scan::{Library, Wanted};
use crate::FILES;
use anyhow::{Context, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

/// The file that lists what is to be preloaded, one name a line.
pub(super) const PRELOAD: &str = "preload";

const CORE: &str = "librehearsal.so.1";

/// Makes all libraries that are wanted, in the empty directory `into`.
pub(super) fn all(wanted: &Wanted, into: &Path) -> anyhow::Result<()> {
    let core = FILES.iter().find(|file| file.name == CORE).context("the core is not carried")?;
    crate::put(&into.join(CORE), core.bytes, 0o755)?;
    for object in objects::ALL {
        fs::write(into.join(object.name), object.bytes)?;
    }
    for (name, library) in &wanted.libraries {
        if let Some((kind, version)) = Kind::of_library(name) {
            Plan::new(name, kind, version, library).make(into)?;
            link_unversioned(name, into)?;
        }
    }
    let mut preload = String::new();
    for (name, runtime) in &wanted.bundled_runtimes {
        let Some((kind, version)) = Kind::of_library(runtime) else { continue };
        let library = wanted.libraries.get(runtime).cloned().unwrap_or_default();
        Plan { node: Some(runtime.clone()), ..Plan::new(name, kind, version, &library) }
            .make(into)?;
        let _ = writeln!(preload, "{name}");
    }
    for object in objects::ALL {
        fs::remove_file(into.join(object.name))?;
    }
    fs::write(into.join(PRELOAD), preload)?;
    Ok(())
}

/// `libcuda.so` for `libcuda.so.1`: some programs look for that.
fn link_unversioned(name: &str, into: &Path) -> anyhow::Result<()> {
    let short = name.split_inclusive(".so").next().unwrap_or(name);
    let _ = fs::remove_file(into.join(short));
    symlink(name, into.join(short)).with_context(|| format!("{short} cannot be made"))
}

/// What goes into one library.
struct Plan<'a> {
    name: &'a str,
    kind: &'static Kind,
    /// The object with what is simulated.
    object: Option<&'static str>,
    /// Its functions that this library has.
    simulated: BTreeSet<String>,
    /// What else is asked for.
    stubs: BTreeSet<String>,
    /// The symbol version of each function, where it is not `node`.
    versions: BTreeMap<String, String>,
    /// The symbol version of all others.
    node: Option<String>,
}

impl<'a> Plan<'a> {
    fn new(name: &'a str, kind: &'static Kind, version: &str, library: &Library) -> Self {
        let object = (kind.simulated)(version);
        let mut simulated = object.as_ref().map(objects::Object::functions).unwrap_or_default();
        if object == Some(objects::MATHEMATICS) {
            simulated.retain(|function| library.functions.contains_key(function));
        }
        let versions: BTreeMap<_, _> = library
            .functions
            .iter()
            .filter_map(|(function, version)| Some((function.clone(), version.clone()?)))
            .collect();
        let stubs = library.functions.keys().filter(|function| !simulated.contains(*function));
        Self {
            name,
            kind,
            object: object.map(|object| object.name),
            stubs: stubs.cloned().collect(),
            simulated,
            node: versions.values().next().cloned(),
            versions,
        }
    }

    fn make(&self, into: &Path) -> anyhow::Result<()> {
        let stubs = into.join(format!("{}.c", self.name));
        let script = into.join(format!("{}.map", self.name));
        fs::write(&stubs, self.stubs())?;
        fs::write(&script, self.version_script())?;
        let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
        let mut command = Command::new(&compiler);
        command
            .args(["-shared", "-fPIC", "-O1", "-pthread", "-w"])
            .arg(format!("-Wl,-soname,{}", self.name))
            .arg(format!("-Wl,--version-script={}", script.display()))
            .args(["-Wl,-rpath,$ORIGIN", "-Wl,-z,lazy", "-o"])
            .arg(into.join(self.name))
            .arg(&stubs)
            .args(self.object.map(|object| into.join(object)))
            .arg(into.join(CORE))
            .arg("-ldl");
        let output = command.output().with_context(|| {
            format!("the C compiler {} cannot be run; install gcc or set CC", compiler.display())
        })?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("the C compiler cannot make the simulated {}: {}", self.name, said.trim());
        }
        fs::remove_file(stubs)?;
        fs::remove_file(script)?;
        Ok(())
    }

    /// Stubs, as C.
    fn stubs(&self) -> String {
        let mut text = String::from(
            "void sim_missing(const char *, const char *, const void *) __attribute__((noreturn));\n",
        );
        for function in &self.stubs {
            let _ = match self.kind.stub(function) {
                Stub::Returns(value) => {
                    writeln!(text, "long {function}(void) {{ return {value}; }}")
                }
                Stub::Ends => writeln!(
                    text,
                    "long {function}(void) {{ sim_missing(\"{function}\", \"{}\", \
                     __builtin_return_address(0)); }}",
                    self.name
                ),
            };
        }
        text
    }

    fn version_script(&self) -> String {
        let mut nodes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let default = self.node.as_deref().unwrap_or_default();
        for function in self.simulated.iter().chain(&self.stubs) {
            let node = self.versions.get(function).map_or(default, String::as_str);
            nodes.entry(node).or_default().push(function);
        }
        nodes.entry(default).or_default();
        let mut text = String::new();
        for (node, functions) in nodes {
            let _ = write!(text, "{node} {{");
            if !functions.is_empty() {
                let _ = write!(text, " global: {};", functions.join("; "));
            }
            let _ = writeln!(text, "{} }};", if node == default { " local: *;" } else { "" });
        }
        text
    }
}
