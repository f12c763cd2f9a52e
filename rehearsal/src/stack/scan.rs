//! What the installed wheels ask of NVIDIA's libraries: linked functions with their symbol versions, and
//! names that they look up at run time.

use super::kinds::Kind;
use anyhow::Context;
use object::read::elf::{Dyn as _, ElfFile64, FileHeader as _, Sym as _};
use object::{Endianness, Object as _, ObjectSection as _, ReadCache, elf};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::{BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file that is scanned, and what tells whether it has changed.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub(super) struct File {
    path: PathBuf,
    size: u64,
    modified_ns: i64,
}

/// What is asked of one library.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Library {
    /// Functions, and the symbol version that they are asked for with, if any is.
    pub(super) functions: BTreeMap<String, Option<String>>,
}

/// What is asked of all libraries, by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) libraries: BTreeMap<String, Library>,
    /// Copies of the CUDA runtime that wheels carry under names of their own, for which a stand-in is
    /// made: (name, the runtime's own name).
    pub(super) bundled_runtimes: BTreeMap<String, String>,
    /// Functions that were asked for without saying of which library.
    unplaced: BTreeSet<String>,
}

/// Libraries that are made whether somebody is linked to them or not: they are opened at run time.
const ALWAYS: [&str; 3] = ["libcuda.so.1", "libnvidia-ml.so.1", "libnccl.so.2"];

/// Directories whose files are NVIDIA's own.
fn is_nvidias(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "nvidia")
}

/// The files in `site_packages` that can ask for something: shared libraries, and the Python module that
/// opens NVML. In order of their paths.
pub(super) fn files(site_packages: &Path) -> anyhow::Result<Vec<File>> {
    let mut found = Vec::new();
    let mut directories = vec![site_packages.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(&directory)
            .with_context(|| format!("{} cannot be read", directory.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("{} cannot be read", directory.display()))?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            if kind.is_dir() && !is_nvidias(&path) {
                directories.push(path);
            } else if kind.is_file() && (is_library(&path) || is_module(&path)) {
                let metadata = entry.metadata()?;
                let modified_ns =
                    metadata.mtime().wrapping_mul(1_000_000_000) + metadata.mtime_nsec();
                found.push(File { path, size: metadata.len(), modified_ns });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn is_library(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".so") || name.contains(".so.")
}

/// Python modules that call NVIDIA's libraries by ctypes, and C sources that Triton compiles at run time.
fn is_module(path: &Path) -> bool {
    path.file_name() == Some(OsStr::new("pynvml.py"))
}

impl Wanted {
    /// Reads what the files ask for.
    pub(super) fn scan(files: &[File]) -> anyhow::Result<Self> {
        let mut wanted = Self::default();
        for library in ALWAYS {
            wanted.libraries.entry(library.to_owned()).or_default();
        }
        for file in files {
            let path = &file.path;
            if is_module(path) {
                let text =
                    fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
                wanted.take_names(&text[..])?;
            } else {
                wanted
                    .scan_library(path)
                    .with_context(|| format!("{} cannot be read", path.display()))?;
            }
        }
        wanted.place();
        Ok(wanted)
    }

    /// A file that is no library for this processor asks for nothing.
    fn scan_library(&mut self, path: &Path) -> anyhow::Result<()> {
        let data = ReadCache::new(fs::File::open(path)?);
        let Ok(file) = ElfFile64::<Endianness, _>::parse(&data) else { return Ok(()) };
        let needed = needed(&file)?;
        let is_bundled =
            path.parent().is_some_and(|parent| parent.to_string_lossy().ends_with(".libs"));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if is_bundled && name.starts_with("libcudart") {
            let version = name.rsplit('.').next().unwrap_or_default();
            self.bundled_runtimes.insert(name.to_string(), format!("libcudart.so.{version}"));
            return Ok(());
        }
        let libraries: BTreeSet<_> =
            needed.iter().filter(|name| Kind::of_library(name).is_some()).cloned().collect();
        let is_torchs =
            needed.iter().any(|name| name.starts_with("libtorch") || name.starts_with("libc10"));
        if libraries.is_empty() && !is_torchs && !name.contains("cuda") {
            return Ok(());
        }
        for library in libraries {
            self.libraries.entry(library).or_default();
        }
        self.take_symbols(&file)?;
        self.take_names_of(path, &file)
    }

    /// The functions that the loader will look for.
    fn take_symbols<'data, R: object::ReadRef<'data>>(
        &mut self,
        file: &ElfFile64<'data, Endianness, R>,
    ) -> anyhow::Result<()> {
        let (endian, data) = (file.endian(), file.data());
        let sections = file.elf_header().sections(endian, data)?;
        let symbols = sections.symbols(endian, data, elf::SHT_DYNSYM)?;
        let versions = sections.versions(endian, data)?;
        for (index, symbol) in symbols.enumerate() {
            if !symbol.is_undefined(endian) || symbol.st_bind() == elf::STB_WEAK {
                continue;
            }
            let Ok(name) = std::str::from_utf8(symbols.symbol_name(endian, symbol)?) else {
                continue;
            };
            let version = match &versions {
                Some(versions) => {
                    versions.version(versions.version_index(endian, index).index())?
                }
                None => None,
            };
            let library = version.and_then(|version| Some((version.file()?, version.name())));
            match library {
                Some((library, version)) => {
                    let library = String::from_utf8_lossy(library);
                    if Kind::of_library(&library).is_some() {
                        let library = self.libraries.entry(library.into_owned()).or_default();
                        let version = String::from_utf8_lossy(version).into_owned();
                        library.functions.insert(name.to_owned(), Some(version));
                    }
                }
                None if Kind::of_function(name).is_some() => {
                    self.unplaced.insert(name.to_owned());
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Names in the read-only data: those that dlsym and cuGetProcAddress are asked for.
    fn take_names_of<'data, R: object::ReadRef<'data>>(
        &mut self,
        path: &Path,
        file: &ElfFile64<'data, Endianness, R>,
    ) -> anyhow::Result<()> {
        let ranges = file.sections().filter(|section| {
            section.name().is_ok_and(|name| name == ".rodata" || name.starts_with(".rodata."))
        });
        for (offset, size) in ranges.filter_map(|section| section.file_range()) {
            let mut source = fs::File::open(path)?;
            std::io::Seek::seek(&mut source, std::io::SeekFrom::Start(offset))?;
            self.take_names(source.take(size))?;
        }
        Ok(())
    }

    /// Names of functions of the driver and of NVML that stand by themselves in the bytes.
    fn take_names(&mut self, bytes: impl Read) -> anyhow::Result<()> {
        let mut word = Vec::new();
        for byte in BufReader::with_capacity(1 << 20, bytes).bytes() {
            let byte = byte?;
            if byte.is_ascii_alphanumeric() || byte == b'_' {
                // Longer than any function's name: skipped to its end.
                if word.len() <= LONGEST_NAME {
                    word.push(byte);
                }
                continue;
            }
            if is_looked_up(&word) {
                self.unplaced.insert(String::from_utf8_lossy(&word).into_owned());
            }
            word.clear();
        }
        Ok(())
    }

    /// Puts every function that came without a library into the library of its kind.
    fn place(&mut self) {
        for function in std::mem::take(&mut self.unplaced) {
            let Some(kind) = Kind::of_function(&function) else { continue };
            for (name, library) in &mut self.libraries {
                if name.starts_with(kind.library) {
                    library.functions.entry(function.clone()).or_default();
                }
            }
        }
    }
}

const LONGEST_NAME: usize = 96;

fn is_looked_up(word: &[u8]) -> bool {
    let follows = |prefix: &[u8]| {
        word.strip_prefix(prefix).is_some_and(|rest| {
            rest.first().is_some_and(u8::is_ascii_uppercase)
                && rest.iter().any(u8::is_ascii_lowercase)
        })
    };
    word.len() <= LONGEST_NAME && (follows(b"cu") || follows(b"nvml"))
}

/// The libraries that the loader will load with it.
fn needed<'data, R: object::ReadRef<'data>>(
    file: &ElfFile64<'data, Endianness, R>,
) -> anyhow::Result<Vec<String>> {
    let (endian, data) = (file.endian(), file.data());
    let sections = file.elf_header().sections(endian, data)?;
    let Some((entries, link)) = sections.dynamic(endian, data)? else { return Ok(Vec::new()) };
    let strings = sections.strings(endian, data, link)?;
    let mut names = Vec::new();
    for entry in entries {
        if entry.tag(endian) == elf::DT_NEEDED {
            names.push(String::from_utf8_lossy(entry.string(endian, strings)?).into_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_functions_are_found_among_bytes() {
        let mut wanted = Wanted::default();
        let long = format!("cuA{}", "a".repeat(200));
        let text =
            format!("\0cuMemCreate\0custom\0cuBLAS\0xcuInit\0\"nvmlInit_v2\"\0{long}\0cuCtxGetId");
        wanted.take_names(format!("{text}\0").as_bytes()).unwrap();
        let found: Vec<_> = wanted.unplaced.iter().map(String::as_str).collect();
        assert_eq!(found, ["cuCtxGetId", "cuMemCreate", "nvmlInit_v2"]);
    }
}
