//! Copies from one GPU to another: what their arguments say.
#![allow(unsafe_code)]

use super::Call;
use nccltap_proto::Datatype;
use nccltap_proto::record::{NO_PEER, UNKNOWN_COUNT};
use std::ffi::c_int;

impl Call {
    /// It copies so many bytes.
    #[inline(always)]
    pub(super) fn copies(&mut self, bytes: usize) {
        self.count = bytes;
        self.datatype = Datatype::Uint8 as u8;
    }

    /// It copies to this device.
    #[inline(always)]
    pub(super) fn copies_to_device(&mut self, device: c_int) {
        self.peer = device;
        self.copied_to = device as usize;
    }

    /// It copies from this device.
    #[inline(always)]
    pub(super) fn copies_from_device(&mut self, device: c_int) {
        self.reduction = device;
        self.copied_from = device as usize;
    }

    /// It copies from this context. Which device that is on, only the driver could say.
    #[inline(always)]
    pub(super) fn copies_from_context(&mut self, context: usize) {
        self.reduction = NO_PEER;
        self.copied_from = context;
    }
}

/// `cudaMemcpy3DPeerParms` (driver_types.h).
#[repr(C)]
pub(crate) struct DeviceBox {
    from: DeviceEnd,
    to: DeviceEnd,
    extent: [usize; 3],
}

/// One end of it.
#[repr(C)]
struct DeviceEnd {
    array: usize,
    _position: [usize; 3],
    _pitched: [usize; 4],
    device: c_int,
}

const _: () = assert!(size_of::<DeviceBox>() == 168);

impl DeviceBox {
    pub(super) fn note(copy: *const Self, call: &mut Call) {
        // SAFETY: the caller's own argument, which CUDA reads next.
        let Some(Self { from, to, extent }) = (unsafe { copy.as_ref() }) else { return };
        let bytes = extent.iter().fold(1, |bytes: usize, side| bytes.saturating_mul(*side));
        // Of arrays the extent is in elements, and only the array knows how large they are.
        let known = from.array == 0 && to.array == 0;
        call.copies(if known { bytes } else { UNKNOWN_COUNT as usize });
        call.copies_to_device(to.device);
        call.copies_from_device(from.device);
    }
}

/// `CUDA_MEMCPY3D_PEER` (cuda.h).
#[repr(C)]
pub(crate) struct ContextBox {
    from: ContextEnd,
    to: ContextEnd,
    extent: [usize; 3],
}

/// One end of it.
#[repr(C)]
struct ContextEnd {
    _position: [usize; 4],
    memory: c_int,
    _addresses: [usize; 3],
    context: usize,
    _pitch_and_height: [usize; 2],
}

const _: () = assert!(size_of::<ContextBox>() == 200);

/// `CU_MEMORYTYPE_HOST` (cuda.h).
const HOST_MEMORY: c_int = 1;

impl ContextBox {
    pub(super) fn note(copy: *const Self, call: &mut Call) {
        // SAFETY: the caller's own argument, which CUDA reads next.
        let Some(Self { from, to, extent }) = (unsafe { copy.as_ref() }) else { return };
        call.copies(extent.iter().fold(1, |bytes: usize, side| bytes.saturating_mul(*side)));
        call.copies_from_context(from.context);
        // What comes from the host, or goes there, is between no two GPUs.
        let of_host = from.memory == HOST_MEMORY || to.memory == HOST_MEMORY;
        call.copied_to = if of_host { from.context } else { to.context };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_says_its_bytes_and_both_devices() {
        let end = |array, device| DeviceEnd { array, _position: [0; 3], _pitched: [0; 4], device };
        let said = |copy: DeviceBox| {
            let mut call = Call::new();
            DeviceBox::note(&copy, &mut call);
            (call.count as u64, call.datatype, call.reduction, call.peer)
        };
        let copy = |array| DeviceBox { from: end(array, 2), to: end(0, 5), extent: [96, 4, 2] };
        let uint8 = Datatype::Uint8 as u8;
        assert_eq!(said(copy(0)), (768, uint8, 2, 5));
        assert_eq!(said(copy(0x1000)), (UNKNOWN_COUNT, uint8, 2, 5), "in elements of the array");
        let mut call = Call::new();
        DeviceBox::note(std::ptr::null(), &mut call);
        assert_eq!((call.copied_from, call.copied_to), (0, 0), "nothing that CUDA would take");
    }

    #[test]
    fn a_box_of_the_hosts_memory_is_between_no_two_contexts() {
        let end = |memory, context| ContextEnd {
            _position: [0; 4],
            memory,
            _addresses: [0; 3],
            context,
            _pitch_and_height: [0; 2],
        };
        let said = |from, to| {
            let mut call = Call::new();
            ContextBox::note(&ContextBox { from, to, extent: [96, 4, 2] }, &mut call);
            assert_eq!((call.count, call.peer, call.reduction), (768, NO_PEER, NO_PEER));
            call.copied_from != call.copied_to
        };
        assert!(said(end(2, 7), end(2, 8)));
        assert!(!said(end(HOST_MEMORY, 7), end(2, 8)));
        assert!(!said(end(2, 7), end(2, 7)));
    }
}
