//! The executables that are alive: handle to number and manifest, found without a lock by every launch.
//!
//! The table is static and needs no allocation, so it is kept before the tap comes to life too: what
//! is made executable then, and launched later, holds nothing of NCCL's. Pages that were never
//! written take no memory.

use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering::*};

/// Places in the table.
const PLACES: usize = 65_536;
/// A handle is in one of so many places, or not in the table.
const TRIES: usize = 64;
/// Handle of a place that nobody has used yet.
const FREE: u64 = 0;
/// Handle of a place whose executable is gone.
const GONE: u64 = 1;
/// Handle of a place that is being written.
const BUSY: u64 = 2;

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

struct Place {
    handle: AtomicU64,
    /// Number, manifest and generation.
    executable: AtomicU64,
}

struct Table {
    places: [Place; PLACES],
    numbers: AtomicU32,
    /// Goes up with each fork, in the child.
    generation: AtomicU16,
}

static TABLE: Table = Table::new();

impl Table {
    const fn new() -> Self {
        Self {
            places: [const { Place { handle: AtomicU64::new(FREE), executable: AtomicU64::new(0) } };
                PLACES],
            numbers: AtomicU32::new(0),
            generation: AtomicU16::new(0),
        }
    }

    /// The places where a handle may be, in the order in which they are tried.
    #[inline(always)]
    fn places(&self, handle: u64) -> impl Iterator<Item = &Place> {
        // Handles are addresses: their low bits say nothing.
        let start = (handle >> 4).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
        (0..TRIES).filter_map(move |step| self.places.get((start as usize + step) % PLACES))
    }

    #[inline(always)]
    fn find(&self, handle: u64) -> Option<Executable> {
        for place in self.places(handle) {
            match place.handle.load(Acquire) {
                FREE => return None,
                found if found == handle => {
                    return Some(self.unpack(place.executable.load(Relaxed)));
                }
                _ => {}
            }
        }
        None
    }

    /// Enters an executable, or what one that is there holds from now on. False when there is no room.
    fn put(&self, handle: u64, holds: Holds) -> bool {
        if matches!(handle, FREE | GONE | BUSY) {
            return false;
        }
        let executable = self.pack(self.numbers.fetch_add(1, Relaxed).wrapping_add(1), holds);
        if let Some(place) = self.places(handle).find(|p| p.handle.load(Acquire) == handle) {
            place.executable.store(executable, Release);
            return true;
        }
        for place in self.places(handle) {
            let seen = place.handle.load(Relaxed);
            let free = matches!(seen, FREE | GONE);
            if free && place.handle.compare_exchange(seen, BUSY, AcqRel, Relaxed).is_ok() {
                place.executable.store(executable, Relaxed);
                place.handle.store(handle, Release);
                return true;
            }
        }
        false
    }

    fn remove(&self, handle: u64) {
        if let Some(place) = self.places(handle).find(|p| p.handle.load(Acquire) == handle) {
            place.handle.store(GONE, Release);
        }
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
    fn a_full_table_says_so_and_forgets_nobody() {
        static TABLE: Table = Table::new();
        let table = &TABLE;
        let handles = (1..PLACES as u64 * 2).map(|n| n << 5);
        let entered: Vec<_> = handles.filter(|h| table.put(*h, Holds::Manifest(1))).collect();
        assert!(entered.len() > PLACES / 2, "{}", entered.len());
        assert!(entered.len() <= PLACES);
        assert!(entered.iter().all(|handle| table.find(*handle).is_some()));
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
