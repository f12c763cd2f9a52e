//! What is known of CUDA's handles: a word for each, found without a lock, kept without an allocation.
//!
//! A table is static, so it is there before the tap comes to life. Pages that were never written take no memory.

use std::sync::atomic::{AtomicU64, Ordering::*};

/// A handle is in one of so many places, or not in the table.
const TRIES: usize = 64;
/// Handle of a place that nobody has used yet.
const FREE: u64 = 0;
/// Handle of a place whose handle is gone.
const GONE: u64 = 1;
/// Handle of a place that is being written.
const BUSY: u64 = 2;

struct Place {
    handle: AtomicU64,
    word: AtomicU64,
}

/// A table with room for fewer handles than it has places, which are a power of two.
pub(crate) struct Handles<const PLACES: usize> {
    places: [Place; PLACES],
}

impl<const PLACES: usize> Handles<PLACES> {
    /// Of the product's 64 bits those at the top are the best mixed: as many as choose a place.
    const SHIFT: u32 = {
        assert!(PLACES.is_power_of_two() && PLACES > 1);
        u64::BITS - PLACES.ilog2()
    };

    pub(crate) const fn new() -> Self {
        Self {
            places: [const { Place { handle: AtomicU64::new(FREE), word: AtomicU64::new(0) } };
                PLACES],
        }
    }

    /// The places where a handle may be, in the order in which they are tried.
    #[inline(always)]
    fn places(&self, handle: u64) -> impl Iterator<Item = &Place> {
        // Handles are addresses: their low bits say nothing.
        let start = (handle >> 4).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> Self::SHIFT;
        (0..TRIES).filter_map(move |step| self.places.get((start as usize + step) % PLACES))
    }

    /// The word of a handle.
    #[inline(always)]
    pub(crate) fn find(&self, handle: u64) -> Option<u64> {
        for place in self.places(handle) {
            match place.handle.load(Acquire) {
                FREE => return None,
                found if found == handle => return Some(place.word.load(Relaxed)),
                _ => {}
            }
        }
        None
    }

    /// Enters a handle, or gives one that is there another word. False when there is no room, and for numbers that
    /// are no handles: null among them.
    pub(crate) fn put(&self, handle: u64, word: u64) -> bool {
        if matches!(handle, FREE | GONE | BUSY) {
            return false;
        }
        if let Some(place) = self.places(handle).find(|p| p.handle.load(Acquire) == handle) {
            place.word.store(word, Release);
            return true;
        }
        for place in self.places(handle) {
            let seen = place.handle.load(Relaxed);
            let free = matches!(seen, FREE | GONE);
            if free && place.handle.compare_exchange(seen, BUSY, AcqRel, Relaxed).is_ok() {
                place.word.store(word, Relaxed);
                place.handle.store(handle, Release);
                return true;
            }
        }
        false
    }

    /// The handle is gone. It may soon be another's.
    pub(crate) fn remove(&self, handle: u64) {
        if let Some(place) = self.places(handle).find(|p| p.handle.load(Acquire) == handle) {
            place.handle.store(GONE, Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: usize = 8192;

    #[test]
    fn a_word_is_found_by_its_handle_until_that_is_gone() {
        static TABLE: Handles<PLACES> = Handles::new();
        assert!(TABLE.put(0x1000, 1) && TABLE.put(0x1010, 2));
        assert_eq!([0x1000, 0x1010, 0x1020].map(|h| TABLE.find(h)), [Some(1), Some(2), None]);
        assert!(TABLE.put(0x1000, 3));
        TABLE.remove(0x1010);
        assert_eq!([0x1000, 0x1010].map(|h| TABLE.find(h)), [Some(3), None]);
    }

    #[test]
    fn null_and_what_the_table_means_by_itself_are_no_handles() {
        static TABLE: Handles<PLACES> = Handles::new();
        assert!([FREE, GONE, BUSY].iter().all(|handle| !TABLE.put(*handle, 1)));
    }

    #[test]
    fn neighbours_in_memory_have_room_to_half_of_the_places() {
        static TABLE: Handles<PLACES> = Handles::new();
        assert!((1..=PLACES as u64 / 2).all(|n| TABLE.put(n * 16, n)));
        assert!((1..=PLACES as u64 / 2).all(|n| TABLE.find(n * 16) == Some(n)));
    }

    #[test]
    fn a_full_table_says_so_and_forgets_nobody() {
        static TABLE: Handles<PLACES> = Handles::new();
        let handles = (1..PLACES as u64 * 2).map(|n| n << 5);
        let entered: Vec<_> = handles.filter(|handle| TABLE.put(*handle, *handle)).collect();
        assert!(entered.len() > PLACES / 2 && entered.len() <= PLACES, "{}", entered.len());
        assert!(entered.iter().all(|handle| TABLE.find(*handle) == Some(*handle)));
    }
}
