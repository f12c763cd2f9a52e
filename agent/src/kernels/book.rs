//! The kernels of the list that this process has, by handle: found without a lock, kept without an allocation.

use nccltap_proto::Kernel;
use nccltap_proto::kernels::{Form, Named};
use nccltap_proto::record::NO_DATATYPE;
use std::sync::atomic::{AtomicU64, Ordering::*};

/// Places in the table. PyTorch, vLLM and FlashInfer together have some eight hundred such kernels.
const PLACES: usize = 8192;
/// A handle is in one of so many places, or not in the table.
const TRIES: usize = 64;
/// Handle of a place that nobody has used yet.
const FREE: u64 = 0;
/// Handle of a place whose kernel is gone.
const GONE: u64 = 1;
/// Handle of a place that is being written.
const BUSY: u64 = 2;

/// What is known of a kernel by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    kernel: u8,
    /// Which of its forms, from 1; 0 for none.
    form: u8,
    /// `ncclDataType_t`.
    pub(super) datatype: u8,
    /// 0 where the name does not say it.
    pub(super) ranks: u16,
}

impl Known {
    pub(super) fn of(named: Named) -> Self {
        let forms = named.kernel.forms();
        let form = named.form.and_then(|form| forms.iter().position(|one| one == form));
        Self {
            kernel: named.kernel.id(),
            form: form.map_or(0, |at| at as u8 + 1),
            datatype: named.datatype.map_or(NO_DATATYPE, |datatype| datatype as u8),
            ranks: named.ranks.unwrap_or(0),
        }
    }

    pub(super) fn kernel(self) -> Option<Kernel> {
        Kernel::from_id(self.kernel)
    }

    pub(super) fn form(self) -> Option<&'static Form> {
        self.kernel()?.forms().get(usize::from(self.form).checked_sub(1)?)
    }

    fn pack(self) -> u64 {
        u64::from(self.kernel)
            | u64::from(self.form) << 8
            | u64::from(self.datatype) << 16
            | u64::from(self.ranks) << 32
    }

    fn unpack(word: u64) -> Self {
        let [kernel, form, datatype, _, low, high, ..] = word.to_le_bytes();
        Self { kernel, form, datatype, ranks: u16::from_le_bytes([low, high]) }
    }
}

struct Place {
    handle: AtomicU64,
    known: AtomicU64,
}

pub(super) struct Book {
    places: [Place; PLACES],
}

impl Book {
    pub(super) const fn new() -> Self {
        let places =
            [const { Place { handle: AtomicU64::new(FREE), known: AtomicU64::new(0) } }; PLACES];
        Self { places }
    }

    /// The places where a handle may be, in the order in which they are tried.
    fn places(&self, handle: u64) -> impl Iterator<Item = &Place> {
        // Handles are addresses: their low bits say nothing.
        let start = (handle >> 4).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 51;
        (0..TRIES).filter_map(move |step| self.places.get((start as usize + step) % PLACES))
    }

    pub(super) fn find(&self, handle: u64) -> Option<Known> {
        for place in self.places(handle) {
            match place.handle.load(Acquire) {
                FREE => return None,
                found if found == handle => return Some(Known::unpack(place.known.load(Relaxed))),
                _ => {}
            }
        }
        None
    }

    /// Enters a kernel. False when there is no room.
    pub(super) fn put(&self, handle: u64, known: Known) -> bool {
        if matches!(handle, FREE | GONE | BUSY) {
            return true;
        }
        if let Some(place) = self.places(handle).find(|p| p.handle.load(Acquire) == handle) {
            place.known.store(known.pack(), Release);
            return true;
        }
        for place in self.places(handle) {
            let seen = place.handle.load(Relaxed);
            let free = matches!(seen, FREE | GONE);
            if free && place.handle.compare_exchange(seen, BUSY, AcqRel, Relaxed).is_ok() {
                place.known.store(known.pack(), Relaxed);
                place.handle.store(handle, Release);
                return true;
            }
        }
        false
    }

    /// The handle is another's.
    pub(super) fn remove(&self, handle: u64) {
        if let Some(place) = self.places(handle).find(|p| p.handle.load(Acquire) == handle) {
            place.handle.store(GONE, Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(kernel: u8) -> Known {
        Known { kernel, form: 1, datatype: 9, ranks: 0x102 }
    }

    #[test]
    fn what_is_known_of_a_kernel_comes_back() {
        static BOOK: Book = Book::new();
        assert!(BOOK.put(0x1000, known(1)) && BOOK.put(0x1010, known(2)));
        assert_eq!((BOOK.find(0x1000), BOOK.find(0x1010)), (Some(known(1)), Some(known(2))));
        assert_eq!(BOOK.find(0x1020), None);
        assert!(BOOK.put(0x1000, known(3)));
        BOOK.remove(0x1010);
        assert_eq!((BOOK.find(0x1000), BOOK.find(0x1010)), (Some(known(3)), None));
    }

    #[test]
    fn a_thousand_kernels_of_one_library_have_room() {
        static BOOK: Book = Book::new();
        assert!((1..=4096u64).all(|n| BOOK.put(n * 16, known(1))));
        assert!((1..=4096u64).all(|n| BOOK.find(n * 16).is_some()));
    }

    #[test]
    fn a_full_table_says_so() {
        static BOOK: Book = Book::new();
        let entered = (1..=4 * PLACES as u64).filter(|n| BOOK.put(n << 9, known(1))).count();
        assert!(entered <= PLACES && entered > PLACES / 2, "{entered}");
    }
}
