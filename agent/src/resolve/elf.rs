//! Symbol look-up in loaded objects, by hand.
//!
//! Finding the real `dlsym` cannot go through `dlsym`, and may happen before the first allocator call
//! of the process: no std, no malloc, no dl function but `dl_iterate_phdr` in here.
#![allow(unsafe_code)]

use crate::arch;
use crate::life;
use std::ffi::{CStr, c_int, c_void};
use std::sync::atomic::{
    AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

/// An entry of the dynamic section.
#[repr(C)]
struct Dynamic {
    tag: i64,
    value: usize,
}

const DT_NULL: i64 = 0;
const DT_STRTAB: i64 = 5;
const DT_SYMTAB: i64 = 6;
const DT_GNU_HASH: i64 = 0x6fff_fef5;
const DT_VERSYM: i64 = 0x6fff_fff0;
const STT_GNU_IFUNC: u8 = 10;
/// In a version entry: not the default version of the name.
const HIDDEN: u16 = 0x8000;

/// A loaded object.
#[derive(Clone, Copy)]
struct Object<'a>(&'a libc::dl_phdr_info);

impl Object<'_> {
    fn base(&self) -> usize {
        self.0.dlpi_addr as usize
    }

    fn segments(&self) -> &[libc::Elf64_Phdr] {
        // SAFETY: the loader gives an array of this length.
        unsafe { std::slice::from_raw_parts(self.0.dlpi_phdr, usize::from(self.0.dlpi_phnum)) }
    }

    fn contains(&self, address: usize) -> bool {
        self.segments().iter().any(|segment| {
            let start = self.base().wrapping_add(segment.p_vaddr as usize);
            segment.p_type == libc::PT_LOAD
                && (start..start.wrapping_add(segment.p_memsz as usize)).contains(&address)
        })
    }

    fn file_name(&self) -> &[u8] {
        if self.0.dlpi_name.is_null() {
            return &[];
        }
        // SAFETY: the loader gives a C string.
        unsafe { CStr::from_ptr(self.0.dlpi_name) }.to_bytes()
    }

    /// Address of `name` in this object, its default version before any other.
    fn symbol(&self, name: &[u8]) -> Option<usize> {
        let dynamic = self.segments().iter().find(|s| s.p_type == libc::PT_DYNAMIC)?;
        let mut entry = self.base().wrapping_add(dynamic.p_vaddr as usize) as *const Dynamic;
        let (mut symbols, mut strings, mut hash, mut versions) = (0, 0, 0, 0);
        // SAFETY: the dynamic section ends with DT_NULL, and the tables it names are those that the
        // loader itself walks.
        unsafe {
            while (*entry).tag != DT_NULL {
                let value = (*entry).value;
                // The loader relocates these pointers, except in the vDSO.
                let value = if value < self.base() { value + self.base() } else { value };
                match (*entry).tag {
                    DT_SYMTAB => symbols = value,
                    DT_STRTAB => strings = value,
                    DT_GNU_HASH => hash = value,
                    DT_VERSYM => versions = value,
                    _ => {}
                }
                entry = entry.add(1);
            }
            if symbols == 0 || strings == 0 || hash == 0 {
                return None;
            }
            let mut found = None;
            for (index, symbol) in Bucket::new(hash as *const u32, name)? {
                let symbol_entry = &*(symbols as *const libc::Elf64_Sym).add(index);
                let text = (strings + symbol_entry.st_name as usize) as *const libc::c_char;
                if symbol_entry.st_shndx == 0 || !symbol || CStr::from_ptr(text).to_bytes() != name
                {
                    continue;
                }
                let mut address = self.base().wrapping_add(symbol_entry.st_value as usize);
                if symbol_entry.st_info & 15 == STT_GNU_IFUNC {
                    let choose: extern "C" fn() -> usize = std::mem::transmute(address);
                    address = choose();
                }
                let hidden = versions != 0 && *(versions as *const u16).add(index) & HIDDEN != 0;
                if !hidden {
                    return Some(address);
                }
                found = Some(address);
            }
            found
        }
    }
}

/// The symbols of a GNU hash table that share a bucket with a name: index, and whether the hash is
/// the same.
struct Bucket {
    chain: *const u32,
    index: usize,
    first: usize,
    hash: u32,
    done: bool,
}

impl Bucket {
    /// # Safety
    /// `table` is the GNU hash table of a loaded object.
    unsafe fn new(table: *const u32, name: &[u8]) -> Option<Self> {
        let hash = name
            .iter()
            .fold(5381u32, |hash, byte| hash.wrapping_mul(33).wrapping_add(u32::from(*byte)));
        // SAFETY: the layout of the table: four words, the bloom filter, buckets, chains.
        unsafe {
            let (buckets, first, bloom) =
                (*table as usize, *table.add(1) as usize, *table.add(2) as usize);
            if buckets == 0 {
                return None;
            }
            let bucket = table.add(4 + bloom * 2);
            let index = *bucket.add(hash as usize % buckets) as usize;
            (index >= first).then(|| Self {
                chain: bucket.add(buckets),
                index,
                first,
                hash,
                done: false,
            })
        }
    }
}

impl Iterator for Bucket {
    type Item = (usize, bool);

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let index = self.index;
        // SAFETY: the chain goes on until an entry with the lowest bit set.
        let entry = unsafe { *self.chain.add(index - self.first) };
        self.done = entry & 1 != 0;
        self.index += 1;
        Some((index, entry | 1 == self.hash | 1))
    }
}

/// The thread that walks, or keeps others from walking: the address of its own storage. 0 when none.
///
/// `dl_iterate_phdr` takes a lock of glibc that fork does not release in the child. A child forked in the
/// middle of another thread's walk could never load a library again, so no walk is under way when a
/// fork happens.
static WALKER: AtomicUsize = AtomicUsize::new(0);

/// Waits until no other thread walks, and keeps it so. Called before a fork.
pub(crate) fn hold_walks() {
    let me = arch::thread_state() as usize;
    // A signal handler that forks in the middle of this thread's own walk must not wait for it.
    while WALKER.load(Relaxed) != me && WALKER.compare_exchange(0, me, Acquire, Relaxed).is_err() {
        // SAFETY: needs nothing.
        unsafe { libc::sched_yield() };
    }
}

/// Lets others walk again.
pub(crate) fn release_walks() {
    WALKER.store(0, Release);
}

/// The right to walk. A thread that holds walks up, about to fork, may walk itself.
struct Walk {
    nested: bool,
}

impl Walk {
    fn begin() -> Self {
        let nested = WALKER.load(Relaxed) == arch::thread_state() as usize;
        if !nested {
            life::prepare_for_fork();
            hold_walks();
        }
        Self { nested }
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        if !self.nested {
            release_walks();
        }
    }
}

/// Calls `visit` with every loaded object, in load order, until it answers true.
fn visit_objects(visit: &mut dyn FnMut(Object<'_>) -> bool) {
    unsafe extern "C" fn each(
        info: *mut libc::dl_phdr_info,
        _size: usize,
        visit: *mut c_void,
    ) -> c_int {
        // SAFETY: the pointer that is handed through below.
        let visit = unsafe { &mut *visit.cast::<&mut dyn FnMut(Object<'_>) -> bool>() };
        // SAFETY: valid for the duration of the callback.
        c_int::from(visit(Object(unsafe { &*info })))
    }
    let mut visit = visit;
    let _walk = Walk::begin();
    // SAFETY: the callback has the type that is asked for, and `visit` outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(each), (&raw mut visit).cast()) };
}

/// First definition of `name` behind this library in load order, as RTLD_NEXT would find it in the
/// global scope; else the first in front of it.
pub(crate) fn next_definition(name: &[u8]) -> Option<usize> {
    let own = next_definition as *const () as usize;
    let (mut passed, mut before, mut after) = (false, None, None);
    visit_objects(&mut |object| {
        if object.contains(own) {
            passed = true;
        } else if passed {
            after = object.symbol(name);
        } else if before.is_none() {
            before = object.symbol(name);
        }
        after.is_some()
    });
    after.or(before)
}

/// The only definition of `name` in any other loaded object, if there is exactly one.
pub(crate) fn only_definition(name: &[u8]) -> Option<usize> {
    let own = only_definition as *const () as usize;
    let (mut found, mut more) = (None, false);
    visit_objects(&mut |object| {
        if !object.contains(own)
            && let Some(address) = object.symbol(name)
        {
            more = found.is_some();
            found = Some(address);
        }
        more
    });
    found.filter(|_| !more)
}

/// Every definition of `name` in other loaded objects, in load order; as many as `found` has room for.
/// Gives how many there are.
pub(crate) fn definitions(name: &[u8], found: &mut [usize]) -> usize {
    let own = definitions as *const () as usize;
    let mut count = 0;
    visit_objects(&mut |object| {
        if !object.contains(own)
            && let Some(address) = object.symbol(name)
        {
            if let Some(place) = found.get_mut(count) {
                *place = address;
            }
            count += 1;
        }
        false
    });
    count
}

/// Address of `name` in the loaded object that holds `address`.
pub(crate) fn definition_beside(address: usize, name: &[u8]) -> Option<usize> {
    let mut found = None;
    visit_objects(&mut |object| {
        let holds = object.contains(address);
        if holds {
            found = object.symbol(name);
        }
        holds
    });
    found
}

/// Whether any other loaded object defines `name`.
pub(crate) fn is_defined_elsewhere(name: &[u8]) -> bool {
    next_definition(name).is_some()
}

/// glibc's own definition of `name`: in libc.so.6, or in libdl.so.2 before glibc 2.34.
pub(crate) fn definition_in_libc(name: &[u8]) -> Option<usize> {
    let mut found = None;
    visit_objects(&mut |object| {
        let file = object.file_name();
        if file.ends_with(b"/libc.so.6") || file.ends_with(b"/libdl.so.2") {
            found = object.symbol(name);
        }
        found.is_some()
    });
    found
}

unsafe extern "C" {
    static __ehdr_start: u8;
    static _end: u8;
}

/// Whether an address lies in this library.
pub(crate) fn is_own(address: usize) -> bool {
    let start = &raw const __ehdr_start as usize;
    let end = &raw const _end as usize;
    (start..end).contains(&address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libc_functions_are_found_by_hand_where_dlsym_finds_them() {
        for name in [c"dlsym", c"malloc", c"dlvsym", c"getpid"] {
            // SAFETY: a plain look-up.
            let expected = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) } as usize;
            assert_eq!(definition_in_libc(name.to_bytes()), Some(expected), "{name:?}");
            assert_eq!(next_definition(name.to_bytes()), Some(expected), "{name:?}");
        }
    }

    #[test]
    fn a_name_that_nobody_defines_is_not_found() {
        assert_eq!(next_definition(b"nccltap_no_such_function"), None);
        assert_eq!(only_definition(b"nccltap_no_such_function"), None);
    }
}
