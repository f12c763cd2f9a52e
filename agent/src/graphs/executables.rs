//! The executables that are alive: handle to number and manifest, found without a lock by every launch.
//!
//! What is made executable before the tap comes to life, and launched later, holds nothing of NCCL's: it is kept
//! as that.

use crate::handles::Handles;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering::*};

/// Places in the table.
const PLACES: usize = 65_536;

/// What a launch of an executable carries out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    /// No operation of NCCL.
    Nothing,
    /// The manifest with this number, from 1.
    Manifest(u16),
    /// It is not known.
    Unknown,
}

/// In place of a manifest's number.
const UNKNOWN: u16 = u16::MAX;

const _: () = assert!(nccltap_proto::ringfile::MANIFESTS < UNKNOWN as usize);

/// An executable that is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Executable {
    /// Its number within the process, from 1: handles are given out again, numbers are not.
    pub(crate) number: u32,
    pub(crate) holds: Holds,
    /// It was made by the process that this one was forked from.
    pub(crate) inherited: bool,
}

struct Table {
    /// Number, manifest and generation of each.
    handles: Handles<PLACES>,
    numbers: AtomicU32,
    /// Goes up with each fork, in the child.
    generation: AtomicU16,
}

static TABLE: Table = Table::new();

impl Table {
    const fn new() -> Self {
        Self { handles: Handles::new(), numbers: AtomicU32::new(0), generation: AtomicU16::new(0) }
    }

    #[inline(always)]
    fn find(&self, handle: u64) -> Option<Executable> {
        self.handles.find(handle).map(|word| self.unpack(word))
    }

    /// Enters an executable, or what one that is there holds from now on. False when there is no room.
    fn put(&self, handle: u64, holds: Holds) -> bool {
        let number = self.numbers.fetch_add(1, Relaxed).wrapping_add(1);
        self.handles.put(handle, self.pack(number, holds))
    }

    fn remove(&self, handle: u64) {
        self.handles.remove(handle);
    }

    fn pack(&self, number: u32, holds: Holds) -> u64 {
        let manifest = match holds {
            Holds::Nothing => 0,
            Holds::Manifest(number) => number,
            Holds::Unknown => UNKNOWN,
        };
        let generation = self.generation.load(Relaxed);
        u64::from(number) | u64::from(manifest) << 32 | u64::from(generation) << 48
    }

    #[inline(always)]
    fn unpack(&self, word: u64) -> Executable {
        let holds = match (word >> 32) as u16 {
            0 => Holds::Nothing,
            UNKNOWN => Holds::Unknown,
            number => Holds::Manifest(number),
        };
        let inherited = (word >> 48) as u16 != self.generation.load(Relaxed);
        Executable { number: word as u32, holds, inherited }
    }
}

/// The executable with this handle. Lock-free.
#[inline(always)]
pub(crate) fn find(handle: u64) -> Option<Executable> {
    TABLE.find(handle)
}

/// Enters an executable, or what one that is there holds from now on. False when there is no room.
pub(crate) fn put(handle: u64, holds: Holds) -> bool {
    TABLE.put(handle, holds)
}

/// An executable is gone. Its handle may soon be another's.
pub(crate) fn remove(handle: u64) {
    TABLE.remove(handle);
}

/// In a forked child: everything in the table is the parent's.
pub(crate) fn forked() {
    TABLE.generation.fetch_add(1, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executable_is_found_by_its_handle_until_it_is_gone() {
        static TABLE: Table = Table::new();
        let table = &TABLE;
        assert_eq!(table.find(0x1000), None);
        assert!(table.put(0x1000, Holds::Manifest(3)));
        let first = table.find(0x1000).unwrap();
        assert_eq!((first.number, first.holds, first.inherited), (1, Holds::Manifest(3), false));
        table.remove(0x1000);
        assert_eq!(table.find(0x1000), None);
        // The handle comes again, and is another executable.
        assert!(table.put(0x1000, Holds::Nothing));
        let second = table.find(0x1000).unwrap();
        assert_eq!((second.number, second.holds), (2, Holds::Nothing));
    }

    #[test]
    fn an_update_gives_a_new_number() {
        static TABLE: Table = Table::new();
        let table = &TABLE;
        table.put(0x1000, Holds::Manifest(3));
        table.put(0x1000, Holds::Unknown);
        let updated = table.find(0x1000).unwrap();
        assert_eq!((updated.number, updated.holds), (2, Holds::Unknown));
    }

    #[test]
    fn what_a_child_has_inherited_is_known_as_such() {
        static TABLE: Table = Table::new();
        let table = &TABLE;
        table.put(0x1000, Holds::Manifest(3));
        table.generation.fetch_add(1, Relaxed);
        table.put(0x2000, Holds::Manifest(4));
        assert!(table.find(0x1000).unwrap().inherited);
        assert!(!table.find(0x2000).unwrap().inherited);
    }

    #[test]
    fn ten_thousand_living_executables_have_room_after_as_many_others_as_there_are_places() {
        static TABLE: Table = Table::new();
        let table = &TABLE;
        let mut living = std::collections::VecDeque::new();
        for n in 1..2 * PLACES as u64 {
            let handle = 0x5500_0000_0000 + (n.wrapping_mul(0x9e37_79b9) % (1 << 30)) * 16;
            assert!(table.put(handle, Holds::Nothing), "{n}");
            living.push_back(handle);
            if living.len() > 10_000 {
                table.remove(living.pop_front().unwrap());
            }
        }
    }
}
