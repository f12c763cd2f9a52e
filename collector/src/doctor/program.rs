//! Whether a program can be preloaded at all, from its file.

use object::elf::{EM_AARCH64, EM_X86_64, ET_DYN, FileHeader64, PT_INTERP};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, FileKind};
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// How many scripts may call each other before a program.
const SCRIPTS: usize = 4;

/// What stands in the way of preloading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// There is no such program.
    Missing(String),
    /// It cannot be read.
    Unreadable(PathBuf, String),
    /// It is no ELF program.
    NotElf(PathBuf),
    /// It is for another processor or word size.
    OtherMachine(PathBuf),
    /// It has no dynamic loader.
    Static(PathBuf),
    /// It runs with another user's or group's rights.
    Privileged(PathBuf),
    /// Scripts that call each other without end.
    Scripts(PathBuf),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => write!(f, "{name} is not found"),
            Self::Unreadable(path, why) => write!(f, "{} cannot be read: {why}", path.display()),
            Self::NotElf(path) => write!(f, "{} is no program of this system", path.display()),
            Self::OtherMachine(path) => {
                write!(f, "{} is for another processor than this command", path.display())
            }
            Self::Static(path) => write!(
                f,
                "{} is linked statically: nothing can be preloaded into it, and it cannot load \
                 NCCL from a shared library either",
                path.display()
            ),
            Self::Privileged(path) => write!(
                f,
                "{} is setuid or setgid: the loader ignores LD_PRELOAD; run it as its owner",
                path.display()
            ),
            Self::Scripts(path) => {
                write!(f, "{} is a script of a script of a script", path.display())
            }
        }
    }
}

/// Looks at a program the way the kernel would start it: found in `PATH`, and through the first line
/// of a script. Gives the files on the way, the last of them an ELF program that can be preloaded.
pub fn examine(program: &OsStr, path: Option<&OsStr>) -> Result<Vec<PathBuf>, Obstacle> {
    let mut way = vec![find(program, path)?];
    while let Some(file) = way.last().cloned() {
        let unreadable =
            |error: std::io::Error| Obstacle::Unreadable(file.clone(), error.to_string());
        let facts = std::fs::metadata(&file).map_err(unreadable)?;
        let bytes = std::fs::read(&file).map_err(unreadable)?;
        if let Some(script) = bytes.strip_prefix(b"#!") {
            if way.len() > SCRIPTS {
                return Err(Obstacle::Scripts(file));
            }
            let line = script.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let mut words = line.split(|byte| byte.is_ascii_whitespace()).filter(|w| !w.is_empty());
            let interpreter = OsStr::from_bytes(words.next().unwrap_or_default());
            // `#!/usr/bin/env python3` runs python3.
            let by_env = Path::new(interpreter).file_name() == Some(OsStr::new("env"));
            let named = words.find(|word| !word.starts_with(b"-")).filter(|_| by_env);
            way.push(find(named.map_or(interpreter, OsStr::from_bytes), path)?);
            continue;
        }
        if facts.mode() & 0o6000 != 0 {
            return Err(Obstacle::Privileged(file));
        }
        elf(&bytes, &file)?;
        return Ok(way);
    }
    Ok(way)
}

/// Whether the bytes are a program for this machine with a dynamic loader.
fn elf(bytes: &[u8], file: &Path) -> Result<(), Obstacle> {
    let not_elf = || Obstacle::NotElf(file.to_owned());
    match FileKind::parse(bytes) {
        Ok(FileKind::Elf64) => {}
        Ok(FileKind::Elf32) => return Err(Obstacle::OtherMachine(file.to_owned())),
        _ => return Err(not_elf()),
    }
    let header = FileHeader64::<Endianness>::parse(bytes).map_err(|_| not_elf())?;
    let endian = header.endian().map_err(|_| not_elf())?;
    let machine = if cfg!(target_arch = "aarch64") { EM_AARCH64 } else { EM_X86_64 };
    if header.e_machine(endian) != machine {
        return Err(Obstacle::OtherMachine(file.to_owned()));
    }
    let segments = header.program_headers(endian, bytes).map_err(|_| not_elf())?;
    match segments.iter().any(|segment| segment.p_type(endian) == PT_INTERP) {
        true => Ok(()),
        false => Err(Obstacle::Static(file.to_owned())),
    }
}

/// Whether the file is a shared library for this machine.
pub fn is_library(file: &Path) -> Result<(), Obstacle> {
    let unreadable =
        |error: std::io::Error| Obstacle::Unreadable(file.to_owned(), error.to_string());
    let bytes = std::fs::read(file).map_err(unreadable)?;
    match elf(&bytes, file) {
        // A library need not name a loader.
        Ok(()) | Err(Obstacle::Static(_)) => {}
        Err(obstacle) => return Err(obstacle),
    }
    let header = FileHeader64::<Endianness>::parse(bytes.as_slice());
    let shared = header.is_ok_and(|h| h.endian().is_ok_and(|endian| h.e_type(endian) == ET_DYN));
    if shared { Ok(()) } else { Err(Obstacle::NotElf(file.to_owned())) }
}

fn find(program: &OsStr, path: Option<&OsStr>) -> Result<PathBuf, Obstacle> {
    let missing = || Obstacle::Missing(Path::new(program).display().to_string());
    let is_program = |file: &Path| {
        std::fs::metadata(file).is_ok_and(|f| f.is_file() && f.permissions().mode() & 0o111 != 0)
    };
    if program.as_bytes().contains(&b'/') {
        let file = PathBuf::from(program);
        return if is_program(&file) { Ok(file) } else { Err(missing()) };
    }
    let directories = path.map(std::env::split_paths).into_iter().flatten();
    let mut files = directories.map(|directory| directory.join(program));
    files.find(|file| is_program(file)).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;

    fn put(dir: &Path, name: &str, bytes: &[u8], mode: u32) -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    fn examined(path: &Path) -> Result<Vec<PathBuf>, Obstacle> {
        examine(path.as_os_str(), Some(OsStr::new("/usr/bin:/bin")))
    }

    #[test]
    fn a_program_and_the_interpreter_of_a_script_can_be_preloaded() {
        let this = std::env::current_exe().unwrap();
        assert_eq!(examined(&this), Ok(vec![this.clone()]));
        let dir = tempfile::tempdir().unwrap();
        let script = put(dir.path(), "script", b"#!/usr/bin/env -S sh\necho\n", 0o755);
        let way = examined(&script).unwrap();
        assert_eq!(way.len(), 2);
        assert!(way[1].ends_with("sh"), "{way:?}");
    }

    #[test]
    fn what_cannot_be_preloaded_is_said_why() {
        let dir = tempfile::tempdir().unwrap();
        let this = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let mut other = this[..4096].to_vec();
        other[18] = 0xf3; // RISC-V
        let mut without_loader = this.clone();
        without_loader[56] = 0; // no program headers
        without_loader[57] = 0;
        let here = |name, bytes: &[u8], mode| put(dir.path(), name, bytes, mode);
        for (path, sentence) in [
            (here("other", &other, 0o755), "another processor"),
            (here("static", &without_loader, 0o755), "linked statically"),
            (here("setuid", &this, 0o4755), "setuid"),
            (here("text", b"hello", 0o755), "no program of this system"),
            (here("data", &this, 0o644), "is not found"),
            (dir.path().join("nothing"), "is not found"),
        ] {
            let obstacle = examined(&path).unwrap_err().to_string();
            assert!(obstacle.contains(sentence), "{obstacle}");
        }
    }
}
