//! The ring: one producer thread, one reader, records of eight words in shared memory.
//!
//! A record is opened before the call and closed after it. `open` runs one ahead of `head` while a
//! call is inside NCCL, so whoever reads the file after a crash finds the call that did not come
//! back. `tail` moves only when the collector has acknowledged: the ring is the send buffer.
//!
//! Orderings: the producer publishes a record by storing `head` with Release and the reader loads it
//! with Acquire; the reader gives room back by storing `tail` with Release and the producer loads
//! it with Acquire before it writes into that room. `loom` checks the first pair (see the tests
//! below); a load that is delayed past the second it cannot model, so that one rests on this text.
#![allow(unsafe_code)]

use crate::sync::{AtomicU32, AtomicU64, Ordering};
use nccltap_proto::record::{RECORD_WORDS, Record};

/// What producer and reader share of a ring: `ringfile::RingHeader`, as atomics.
#[repr(C)]
pub(crate) struct Shared {
    head: AtomicU64,
    open: AtomicU64,
    dropped: AtomicU64,
    _producer: [u64; 5],
    tail: AtomicU64,
    _drain: [u64; 7],
    pub(crate) state: AtomicU32,
    pub(crate) thread: AtomicU32,
    _rest: [u64; 7],
}

#[cfg(not(nccltap_loom))]
const _: () = {
    use nccltap_proto::ringfile::RingHeader;
    use std::mem::offset_of;
    assert!(size_of::<Shared>() == size_of::<RingHeader>());
    assert!(offset_of!(Shared, open) == offset_of!(RingHeader, open));
    assert!(offset_of!(Shared, dropped) == offset_of!(RingHeader, dropped));
    assert!(offset_of!(Shared, tail) == offset_of!(RingHeader, tail));
    assert!(offset_of!(Shared, state) == offset_of!(RingHeader, state));
    assert!(offset_of!(Shared, thread) == offset_of!(RingHeader, thread));
};

/// Room for one record.
#[repr(C)]
pub(crate) struct Slot([AtomicU64; RECORD_WORDS]);

/// The writing end. It lives in the thread's own storage, so that a call touches few cache lines.
#[repr(C)]
pub(crate) struct Producer {
    shared: *const Shared,
    slots: *const Slot,
    mask: u64,
    head: u64,
    cached_tail: u64,
}

impl Producer {
    /// The writing end of the ring that lies at `shared` and `slots`.
    ///
    /// # Safety
    /// Both stay valid for as long as the producer is used, `slots` has `capacity` slots, a power
    /// of two, and no other thread writes the ring.
    pub(crate) unsafe fn new(shared: *const Shared, slots: *const Slot, capacity: u64) -> Self {
        // SAFETY: `shared` is valid, by the contract of this function.
        let ring = unsafe { &*shared };
        let head = ring.head.load(Ordering::Relaxed);
        // A thread that died inside a call left its record open; the next one overwrites it.
        ring.open.store(head, Ordering::Relaxed);
        let cached_tail = ring.tail.load(Ordering::Acquire);
        Self { shared, slots, mask: capacity.wrapping_sub(1), head, cached_tail }
    }

    /// A producer without a ring.
    pub(crate) const fn none() -> Self {
        Self::refused(0)
    }

    /// A producer that got no ring, and is not to ask again before `ticks`.
    pub(crate) const fn refused(ticks: u64) -> Self {
        let (shared, slots) = (std::ptr::null(), std::ptr::null());
        Self { shared, slots, mask: 0, head: 0, cached_tail: ticks }
    }

    /// When a producer without a ring may ask for one, in ticks.
    pub(crate) fn refused_until(&self) -> u64 {
        self.cached_tail
    }

    /// Whether there is a ring.
    #[inline(always)]
    pub(crate) fn is_some(&self) -> bool {
        !self.shared.is_null()
    }

    /// The position the next record will have.
    #[inline(always)]
    pub(crate) fn position(&self) -> u64 {
        self.head
    }

    /// Writes the first half of a record, all of it but `end` and `result`. False, and the call
    /// counted as dropped, when the ring is full.
    #[inline(always)]
    pub(crate) fn open(&mut self, words: [u64; RECORD_WORDS]) -> bool {
        if self.head.wrapping_sub(self.cached_tail) > self.mask && self.is_full() {
            return false;
        }
        // SAFETY: the ring exists (callers ask `is_some` first) and the index is below capacity.
        let (ring, slot) = unsafe { (&*self.shared, self.slot()) };
        for (word, value) in slot.0.iter().zip(words) {
            word.store(value, Ordering::Relaxed);
        }
        ring.open.store(self.head.wrapping_add(1), Ordering::Release);
        true
    }

    /// Writes the second half of the record that `open` began, and publishes it.
    #[inline(always)]
    pub(crate) fn close(&mut self, end: u64, result: i32) {
        // SAFETY: as in `open`.
        let (ring, slot) = unsafe { (&*self.shared, self.slot()) };
        // Words 1 and 6 of a record: `end`, and `reduction` with `result` above it.
        let [_, end_word, _, _, _, _, result_word, _] = &slot.0;
        end_word.store(end, Ordering::Relaxed);
        if result != 0 {
            let reduction = result_word.load(Ordering::Relaxed) & u64::from(u32::MAX);
            let word = reduction | u64::from(result as u32) << 32;
            result_word.store(word, Ordering::Relaxed);
        }
        self.head = self.head.wrapping_add(1);
        ring.head.store(self.head, Ordering::Release);
    }

    /// When the ring looked full: looks again, and counts the call as dropped if it is.
    #[cold]
    #[inline(never)]
    fn is_full(&mut self) -> bool {
        // SAFETY: as in `open`.
        let ring = unsafe { &*self.shared };
        self.cached_tail = ring.tail.load(Ordering::Acquire);
        let full = self.head.wrapping_sub(self.cached_tail) > self.mask;
        if full {
            // Only this thread writes the counter.
            let dropped = ring.dropped.load(Ordering::Relaxed).wrapping_add(1);
            ring.dropped.store(dropped, Ordering::Release);
        }
        full
    }

    /// # Safety
    /// The ring exists.
    #[inline(always)]
    unsafe fn slot(&self) -> &Slot {
        // SAFETY: the mask keeps the index below capacity.
        unsafe { &*self.slots.add((self.head & self.mask) as usize) }
    }
}

/// The reading end.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    shared: &'a Shared,
    slots: &'a [Slot],
}

impl<'a> Reader<'a> {
    /// The reading end of a ring. `slots` has its capacity, a power of two.
    pub(crate) fn new(shared: &'a Shared, slots: &'a [Slot]) -> Self {
        Self { shared, slots }
    }

    /// Position after the last completed record.
    pub(crate) fn head(&self) -> u64 {
        self.shared.head.load(Ordering::Acquire)
    }

    /// Records that it holds.
    pub(crate) fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Position of the first record that is still needed.
    pub(crate) fn tail(&self) -> u64 {
        self.shared.tail.load(Ordering::Relaxed)
    }

    /// Calls that found the ring full.
    pub(crate) fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Acquire)
    }

    /// Thread that writes the ring, or wrote it last.
    pub(crate) fn thread(&self) -> u32 {
        self.shared.thread.load(Ordering::Relaxed)
    }

    /// Gives the room of everything before `position` back to the producer.
    pub(crate) fn release(&self, position: u64) {
        if position > self.tail() && position <= self.head() {
            self.shared.tail.store(position, Ordering::Release);
        }
    }

    /// Appends the records at `from..to` to `out`, as bytes. `to` is at most `head`.
    pub(crate) fn copy(&self, from: u64, to: u64, out: &mut Vec<u8>) {
        for position in from..to {
            if let Some(slot) = self.slot(position) {
                for word in &slot.0 {
                    out.extend_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
                }
            }
        }
    }

    /// The call that is inside NCCL now, if there is one.
    pub(crate) fn in_flight(&self) -> Option<Record> {
        let open = self.shared.open.load(Ordering::Acquire);
        let head = self.head();
        if open != head.wrapping_add(1) {
            return None;
        }
        let slot = self.slot(head)?;
        let mut words = [0; RECORD_WORDS];
        for (value, word) in words.iter_mut().zip(&slot.0) {
            *value = word.load(Ordering::Acquire);
        }
        let record = Record::from_words(words);
        // The producer may have gone on meanwhile; then what was read is no one record.
        let still = self.head() == head && record.sequence == head as u32 && record.end == 0;
        still.then_some(record)
    }

    fn slot(&self, position: u64) -> Option<&'a Slot> {
        let mask = (self.slots.len() as u64).checked_sub(1)?;
        self.slots.get((position & mask) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Ring {
        shared: Shared,
        slots: Vec<Slot>,
    }

    fn ring(capacity: usize) -> Ring {
        let slot = || Slot(std::array::from_fn(|_| AtomicU64::new(0)));
        Ring {
            shared: Shared {
                head: AtomicU64::new(0),
                open: AtomicU64::new(0),
                dropped: AtomicU64::new(0),
                _producer: [0; 5],
                tail: AtomicU64::new(0),
                _drain: [0; 7],
                state: AtomicU32::new(0),
                thread: AtomicU32::new(0),
                _rest: [0; 7],
            },
            slots: (0..capacity).map(|_| slot()).collect(),
        }
    }

    impl Ring {
        fn producer(&self) -> Producer {
            // SAFETY: the tests keep the ring alive and have one producer at a time.
            unsafe { Producer::new(&self.shared, self.slots.as_ptr(), self.slots.len() as u64) }
        }

        fn reader(&self) -> Reader<'_> {
            Reader::new(&self.shared, &self.slots)
        }
    }

    fn words(position: u64) -> [u64; RECORD_WORDS] {
        let record = Record {
            count: position,
            reduction: 5,
            sequence: position as u32,
            ..Record::default()
        };
        record.to_words()
    }

    fn read(reader: &Reader<'_>, from: u64) -> Vec<Record> {
        let mut bytes = Vec::new();
        reader.copy(from, reader.head(), &mut bytes);
        nccltap_proto::record::records(&bytes).collect()
    }

    #[cfg(not(nccltap_loom))]
    mod one_thread {
        use super::*;

        #[test]
        fn a_call_is_seen_in_flight_and_then_completed_with_its_result() {
            let ring = ring(4);
            let mut producer = ring.producer();
            assert!(producer.open(words(0)));
            assert_eq!(ring.reader().in_flight().map(|r| r.count), Some(0));
            assert_eq!(ring.reader().head(), 0);
            producer.close(9, 3);
            let record = read(&ring.reader(), 0)[0];
            assert_eq!((record.end, record.result, record.reduction), (9, 3, 5));
            assert_eq!(ring.reader().in_flight(), None);
        }

        #[test]
        fn a_full_ring_drops_the_newest_and_counts_it() {
            let ring = ring(4);
            let mut producer = ring.producer();
            for position in 0..4 {
                assert!(producer.open(words(position)));
                producer.close(1, 0);
            }
            assert!(!producer.open(words(4)));
            assert!(!producer.open(words(4)));
            assert_eq!(ring.reader().dropped(), 2);
            ring.reader().release(1);
            assert!(producer.open(words(4)));
            producer.close(1, 0);
            let counts: Vec<_> = read(&ring.reader(), 1).iter().map(|r| r.count).collect();
            assert_eq!(counts, [1, 2, 3, 4]);
        }

        #[test]
        fn room_is_given_back_only_forwards_and_never_past_the_head() {
            let ring = ring(4);
            let mut producer = ring.producer();
            for position in 0..3 {
                producer.open(words(position));
                producer.close(1, 0);
            }
            ring.reader().release(2);
            ring.reader().release(1);
            ring.reader().release(9);
            assert_eq!(ring.reader().tail(), 2);
        }

        #[test]
        fn the_next_thread_goes_on_where_the_last_one_stopped() {
            let ring = ring(4);
            let mut first = ring.producer();
            first.open(words(0));
            first.close(1, 0);
            first.open(words(1));
            let mut second = ring.producer();
            assert_eq!(second.position(), 1);
            assert_eq!(ring.reader().in_flight(), None);
            second.open(words(1));
            second.close(2, 0);
            assert_eq!(read(&ring.reader(), 0).len(), 2);
        }
    }

    /// Run with `RUSTFLAGS="--cfg nccltap_loom" cargo test -p nccltap-agent --release ring`.
    #[cfg(nccltap_loom)]
    mod model {
        use super::*;
        use loom::sync::Arc;

        struct SharedRing(Ring);
        // SAFETY: the ring is made of atomics.
        unsafe impl Send for SharedRing {}
        // SAFETY: as above.
        unsafe impl Sync for SharedRing {}

        #[test]
        fn no_record_is_torn_lost_or_seen_twice() {
            loom::model(|| {
                let ring = Arc::new(SharedRing(ring(2)));
                let writer = {
                    let ring = Arc::clone(&ring);
                    loom::thread::spawn(move || {
                        let mut producer = ring.0.producer();
                        for _ in 0..3 {
                            let position = producer.position();
                            if producer.open(words(position)) {
                                producer.close(position + 1, 0);
                            }
                        }
                    })
                };
                let reader = ring.0.reader();
                let mut next = 0;
                let mut take = || {
                    for record in read(&reader, next) {
                        assert_eq!(record.sequence as u64, next);
                        assert_eq!(record.count, next);
                        assert_eq!(record.end, next + 1);
                        next += 1;
                    }
                    reader.release(next);
                };
                take();
                if let Some(record) = reader.in_flight() {
                    assert_eq!(record.count, record.sequence as u64);
                }
                take();
                writer.join().unwrap();
                take();
                assert_eq!(next + reader.dropped(), 3);
            });
        }
    }
}
