//! What /proc says of a process.

use crate::preload::LIBRARY;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// How the file names of NCCL begin, and of AMD's.
const NCCL: [&str; 2] = ["libnccl.so", "librccl.so"];

/// How the file names of libraries begin that send between GPUs in a way that nothing here sees, and what each is called.
const UNSEEN: [(&str, &str); 3] =
    [("libnvshmem_host.so", "NVSHMEM"), ("libucp.so", "UCX"), ("libnixl.so", "NIXL")];

/// File name of the core of the simulated CUDA.
const SIMULATOR: &str = "librehearsal.so";

/// What is mapped in a process, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapped {
    /// Copies of the tap.
    pub taps: BTreeSet<PathBuf>,
    /// Copies of NCCL.
    pub nccl: BTreeSet<PathBuf>,
    /// Copies of the core of the simulated CUDA.
    pub simulators: BTreeSet<PathBuf>,
    /// What sends between GPUs unseen, by name.
    pub unseen: BTreeMap<&'static str, PathBuf>,
}

impl Mapped {
    /// Reads the text of /proc/PID/maps.
    pub fn parse(maps: &str) -> Self {
        let mut mapped = Self::default();
        for line in maps.lines() {
            // address perms offset dev inode path
            let Some(path) = line.split_whitespace().nth(5).and_then(|first| line.find(first))
            else {
                continue;
            };
            let path = line[path..].trim_end_matches(" (deleted)");
            let name = path.rsplit('/').next().unwrap_or_default();
            if name == LIBRARY {
                mapped.taps.insert(path.into());
            } else if name.starts_with(SIMULATOR) {
                mapped.simulators.insert(path.into());
            } else if NCCL.iter().any(|start| name.starts_with(start)) {
                mapped.nccl.insert(path.into());
            } else if let Some((_, of)) = UNSEEN.iter().find(|(start, _)| name.starts_with(start)) {
                mapped.unseen.insert(of, path.into());
            }
        }
        mapped
    }

    /// Adds what another look has found.
    pub fn merge(&mut self, other: Self) {
        self.taps.extend(other.taps);
        self.nccl.extend(other.nccl);
        self.simulators.extend(other.simulators);
        self.unseen.extend(other.unseen);
    }
}

/// What is mapped in process `pid`.
pub fn mapped(pid: u32) -> io::Result<Mapped> {
    Ok(Mapped::parse(&std::fs::read_to_string(format!("/proc/{pid}/maps"))?))
}

/// The environment that process `pid` was started with.
pub fn environment(pid: u32) -> io::Result<BTreeMap<String, String>> {
    let bytes = std::fs::read(format!("/proc/{pid}/environ"))?;
    let text = String::from_utf8_lossy(&bytes);
    let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
    Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// The id of process `pid` in its own pid namespace, which is what its tap calls itself by.
pub fn own_pid(pid: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    ids.and_then(|ids| ids.split_whitespace().last()?.parse().ok()).unwrap_or(pid)
}

/// Process `pid` and everything that descends from it.
pub fn descendants(pid: u32) -> BTreeSet<u32> {
    let mut parents = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let id = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        if let Some((id, parent)) = id.and_then(|id| Some((id, parent(&entry.path())?))) {
            parents.insert(id, parent);
        }
    }
    let mut all = BTreeSet::from([pid]);
    loop {
        let before = all.len();
        let children = parents.iter().filter(|(_, parent)| all.contains(parent));
        let children: Vec<u32> = children.map(|(id, _)| *id).collect();
        all.extend(children);
        if all.len() == before {
            return all;
        }
    }
}

/// Whether the process is there and has not ended: one that nobody has waited for stays in /proc.
pub fn runs(pid: u32) -> bool {
    let state = field(Path::new(&format!("/proc/{pid}")), 3);
    state.is_some_and(|state| !matches!(state.as_str(), "Z" | "X"))
}

fn parent(process: &Path) -> Option<u32> {
    field(process, 4)?.parse().ok()
}

/// A field of /proc/PID/stat from the third on. The second, the name, may hold anything, and ends with the last `)`.
fn field(process: &Path, number: usize) -> Option<String> {
    let stat = std::fs::read_to_string(process.join("stat")).ok()?;
    let rest = stat.rsplit_once(')')?.1;
    rest.split_whitespace().nth(number.checked_sub(3)?).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tap_and_every_copy_of_nccl_are_found_by_name() {
        let maps = "\
7f00-7f01 r-xp 00000000 08:01 11 /opt/nccltap/lib/libnccltap.so
7f01-7f02 r-xp 00000000 08:01 12 /venv/a b/libnccl.so.2
7f02-7f03 r--p 00001000 08:01 12 /venv/a b/libnccl.so.2
7f03-7f04 r-xp 00000000 08:01 13 /usr/lib/libnccl.so.2.21.5 (deleted)
7f04-7f05 rw-p 00000000 00:00 0 [heap]
7f05-7f06 rw-p 00000000 00:00 0
7f06-7f07 r-xp 00000000 08:01 14 /usr/lib/libnccl-net.so
7f06-7f07 r-xp 00000000 08:01 16 /opt/rocm/lib/librccl.so.1.0
7f07-7f08 r-xp 00000000 08:01 15 /stack/librehearsal.so.1
";
        let mapped = Mapped::parse(maps);
        assert_eq!(mapped.taps, BTreeSet::from(["/opt/nccltap/lib/libnccltap.so".into()]));
        assert_eq!(mapped.simulators, BTreeSet::from(["/stack/librehearsal.so.1".into()]));
        let nccl = [
            "/venv/a b/libnccl.so.2",
            "/usr/lib/libnccl.so.2.21.5",
            "/opt/rocm/lib/librccl.so.1.0",
        ];
        assert_eq!(mapped.nccl, nccl.into_iter().map(PathBuf::from).collect());
    }

    #[test]
    fn what_sends_unseen_is_named() {
        let maps = "\
7f00-7f01 r-xp 00000000 08:01 11 /venv/lib/libnvshmem_host.so.3
7f01-7f02 r-xp 00000000 08:01 12 /venv/lib/libucp.so.0.0.0
7f02-7f03 r-xp 00000000 08:01 13 /venv/lib/libnvshmem_device.bc
";
        let unseen = Mapped::parse(maps).unseen;
        let expected =
            [("NVSHMEM", "/venv/lib/libnvshmem_host.so.3"), ("UCX", "/venv/lib/libucp.so.0.0.0")];
        assert_eq!(unseen, expected.map(|(name, path)| (name, PathBuf::from(path))).into());
    }

    #[test]
    fn this_process_descends_from_its_parent() {
        let parent = rustix::process::getppid().unwrap().as_raw_nonzero().get().cast_unsigned();
        assert!(descendants(parent).contains(&std::process::id()));
        assert_eq!(own_pid(std::process::id()), std::process::id());
    }
}
