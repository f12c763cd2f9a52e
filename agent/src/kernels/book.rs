//! The kernels of the list that this process has, by handle.

use crate::handles::Handles;
use nccltap_proto::Kernel;
use nccltap_proto::kernels::{Form, Named};
use nccltap_proto::record::NO_DATATYPE;

/// Places in the table. PyTorch, vLLM and FlashInfer together have some eight hundred such kernels.
const PLACES: usize = 8192;

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

pub(super) struct Book(Handles<PLACES>);

impl Book {
    pub(super) const fn new() -> Self {
        Self(Handles::new())
    }

    pub(super) fn find(&self, handle: u64) -> Option<Known> {
        self.0.find(handle).map(Known::unpack)
    }

    /// Enters a kernel. False when there is no room.
    pub(super) fn put(&self, handle: u64, known: Known) -> bool {
        self.0.put(handle, known.pack())
    }

    /// The handle is another's.
    pub(super) fn remove(&self, handle: u64) {
        self.0.remove(handle);
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
}
