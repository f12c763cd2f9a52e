//! The tap on disk, and how it gets into a command.

use anyhow::{Context, bail};
use nccltap_proto::uplink;
use object::{Object, ObjectSection, ObjectSymbol};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// File name of the tap.
pub const LIBRARY: &str = "libnccltap.so";

/// Environment variable that says where the tap is.
pub const LIBRARY_VARIABLE: &str = "NCCLTAP_LIBRARY";

/// Where the tap is looked for beside the command `nccltap`.
const PLACES: [&str; 3] = ["", "../lib", "../lib/nccltap"];

/// Finds `libnccltap.so`: where `NCCLTAP_LIBRARY` says, or beside this command.
pub fn find_library() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os(LIBRARY_VARIABLE).filter(|named| !named.is_empty()) {
        return PathBuf::from(&named)
            .canonicalize()
            .with_context(|| format!("{LIBRARY_VARIABLE} names {}", Path::new(&named).display()));
    }
    let command = std::env::current_exe().context("this command does not know where it is")?;
    let beside = command.parent().unwrap_or(Path::new("/"));
    for place in PLACES {
        if let Ok(found) = beside.join(place).join(LIBRARY).canonicalize() {
            return Ok(found);
        }
    }
    bail!(
        "{LIBRARY} is neither in {} nor in ../lib or ../lib/nccltap of it; set {LIBRARY_VARIABLE} \
         to its path",
        beside.display()
    )
}

/// What keeps the tap from sending, in a sentence: it opens `libnccltap_uplink.so` for that, which must lie
/// beside it and be of its version.
pub fn uplink_problem(tap: &Path) -> Option<String> {
    let path = tap.with_file_name(uplink::LIBRARY);
    let problem = match std::fs::read(&path) {
        Err(error) => format!("{} cannot be read: {error}", path.display()),
        Ok(file) => match uplink_version(&file) {
            Some(uplink::VERSION) => return None,
            Some(_) => format!("{} is of another version than this command", path.display()),
            None => format!("{} is no uplink of nccltap", path.display()),
        },
    };
    Some(format!(
        "{problem}; a tap without it sends nothing while its process runs, and what it records is known \
         when the process has ended; put the file of the same build there"
    ))
}

/// Which version of the interface a library exports.
fn uplink_version(file: &[u8]) -> Option<u32> {
    let object = object::File::parse(file).ok()?;
    let symbol = object
        .dynamic_symbols()
        .find(|symbol| symbol.name_bytes().is_ok_and(|name| name == uplink::SYMBOL.to_bytes()))?;
    let section = object.section_by_index(symbol.section_index()?).ok()?;
    let version = section.data_range(symbol.address(), 4).ok()??;
    Some(u32::from_ne_bytes(version.try_into().ok()?))
}

/// A path by which `LD_PRELOAD` can name the library: one without spaces and colons, which separate
/// names there. If need be a link in `directory`.
pub fn nameable(library: &Path, directory: &Path) -> anyhow::Result<PathBuf> {
    if !separates(library.as_os_str()) {
        return Ok(library.to_owned());
    }
    let link = directory.join(LIBRARY);
    if separates(link.as_os_str()) {
        bail!("LD_PRELOAD cannot name {}: it has a space or a colon in it", library.display());
    }
    if link.symlink_metadata().is_err() {
        std::os::unix::fs::symlink(library, &link)
            .with_context(|| format!("{} cannot be made", link.display()))?;
    }
    Ok(link)
}

fn separates(path: &OsStr) -> bool {
    path.as_bytes().iter().any(|byte| matches!(byte, b' ' | b':'))
}

/// The value of `LD_PRELOAD` with `library` in front of what is there. Another copy of the tap is left
/// out: each would count every call.
pub fn joined(library: &Path, there: Option<&OsStr>) -> OsString {
    let there = there.map(OsStr::as_bytes).unwrap_or_default();
    let tap = library.as_os_str().as_bytes();
    let others = there.split(|byte| matches!(byte, b' ' | b':'));
    let is_tap = |name: &[u8]| name == tap || Path::new(OsStr::from_bytes(name)).ends_with(LIBRARY);
    let others = others.filter(|name| !name.is_empty() && !is_tap(name));
    let names: Vec<&[u8]> = std::iter::once(tap).chain(others).collect();
    OsString::from_vec(names.join(&b':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tap_joins_what_is_preloaded_already() {
        let tap = Path::new("/a/libnccltap.so");
        for (there, joined_text) in [
            ("", "/a/libnccltap.so"),
            ("/b.so", "/a/libnccltap.so:/b.so"),
            ("/b.so /c.so", "/a/libnccltap.so:/b.so:/c.so"),
            ("/b.so:/a/libnccltap.so", "/a/libnccltap.so:/b.so"),
            ("/elsewhere/libnccltap.so:/b.so", "/a/libnccltap.so:/b.so"),
        ] {
            assert_eq!(joined(tap, Some(OsStr::new(there))), joined_text);
        }
        assert_eq!(joined(tap, None), "/a/libnccltap.so");
    }

    #[test]
    fn an_uplink_that_is_not_there_or_is_something_else_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let tap = dir.path().join(LIBRARY);
        let said = uplink_problem(&tap).unwrap();
        assert!(said.contains("libnccltap_uplink.so cannot be read: No such file"), "{said}");
        std::fs::copy(std::env::current_exe().unwrap(), dir.path().join(uplink::LIBRARY)).unwrap();
        let said = uplink_problem(&tap).unwrap();
        assert!(said.contains("libnccltap_uplink.so is no uplink of nccltap"), "{said}");
    }

    #[test]
    fn a_path_that_ld_preload_cannot_name_is_reached_by_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let spaced = dir.path().join("a b");
        std::fs::create_dir(&spaced).unwrap();
        let library = spaced.join(LIBRARY);
        std::fs::write(&library, "").unwrap();
        let link = nameable(&library, dir.path()).unwrap();
        assert_eq!(link.canonicalize().unwrap(), library.canonicalize().unwrap());
        assert_eq!(nameable(&link, &spaced).unwrap(), link);
        assert!(nameable(&library, &spaced).is_err());
    }
}
