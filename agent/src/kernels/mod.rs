//! Kernels that move data between GPUs by themselves: known by their names, recorded when they are launched.
//!
//! ```text
//! __cudaRegisterFunction, cuModuleGetFunction, ...: a handle and a name ──> on the list? ──> book, filter
//! cudaLaunchKernel, cuLaunchKernelEx, ... ──> filter: one byte per handle ──> CUDA      (nearly all of them)
//!                                                └──> wrapper ──> book ──> record
//! ```
//! A launch is the most frequent call in a worker. So one that is not on the list (`nccltap_proto::kernels`) meets eight
//! instructions of `arch::launch_thunk` and no Rust: its handle chooses a byte of [`FILTER`], and where that is 0
//! the call jumps to CUDA.
//!
//! Registration comes before the tap is alive, so filter and [`book`] are static and need no allocation.
#![allow(unsafe_code)]

mod book;

use crate::faults::{self, Fault};
use crate::ffi::Call;
use book::{Book, Known};
use nccltap_proto::Datatype;
use nccltap_proto::kernels::{Named, Parameter, Ranks, Size, may_be};
use nccltap_proto::record::{KernelCall, NO_DATATYPE, NO_PEER, UNKNOWN_COUNT};
use std::ffi::{CStr, c_void};
use std::sync::atomic::{AtomicU8, Ordering::*};

/// Bytes of the filter. The machine code of launches knows this number.
pub(crate) const FILTER_BYTES: usize = 16_384;

/// What the machine code of launches looks at: not 0 where some kernel of the list may be. Functions and handles lie
/// 16 bytes apart, so a handle chooses its byte by the bits above.
#[repr(C, align(64))]
pub(crate) struct Filter([AtomicU8; FILTER_BYTES]);

pub(crate) static FILTER: Filter = Filter([const { AtomicU8::new(0) }; FILTER_BYTES]);

static BOOK: Book = Book::new();

impl Filter {
    fn byte(&self, handle: u64) -> Option<&AtomicU8> {
        self.0.get((handle >> 4) as usize & (FILTER_BYTES - 1))
    }
}

/// A library has said which kernel one of its functions stands for.
///
/// Called some thirty thousand times as PyTorch is loaded.
pub(crate) fn registered(call: &Call) {
    // SAFETY: the code that nvcc makes passes the name as a C string.
    unsafe { name(call.host_function as u64, call) }
}

/// CUDA has found a kernel by its name.
pub(crate) fn found(call: &Call) {
    if !call.new_kernel.is_null() {
        // SAFETY: the call succeeded, so CUDA has written there, and the name is a C string.
        unsafe { name(call.new_kernel.read() as u64, call) }
    }
}

/// # Safety
/// The call's name is null or a C string.
unsafe fn name(handle: u64, call: &Call) {
    if call.kernel_name.is_null() {
        return;
    }
    // SAFETY: by the contract of this function.
    let name = unsafe { CStr::from_ptr(call.kernel_name) }.to_bytes();
    let named = if may_be(name) { Named::of(name) } else { None };
    enter(handle, named.map(Known::of));
}

/// CUDA has given another handle for a kernel.
pub(crate) fn other_handle(call: &Call) {
    if !call.new_kernel.is_null() {
        // SAFETY: the call succeeded, so CUDA has written there.
        let handle = unsafe { call.new_kernel.read() } as u64;
        enter(handle, find(call.host_function as u64));
    }
}

/// From now on `handle` is this kernel, or one that is not on the list: libraries that are unloaded leave their
/// addresses to others.
fn enter(handle: u64, known: Option<Known>) {
    match known {
        Some(known) => {
            if !BOOK.put(handle, known) {
                return faults::count(Fault::TooManyKernels);
            }
            if let Some(byte) = FILTER.byte(handle) {
                byte.store(1, Release);
            }
        }
        None if FILTER.byte(handle).is_some_and(|byte| byte.load(Relaxed) != 0) => {
            BOOK.remove(handle);
        }
        None => {}
    }
}

fn find(handle: u64) -> Option<Known> {
    match FILTER.byte(handle)?.load(Acquire) {
        0 => None,
        _ => BOOK.find(handle),
    }
}

/// What a record says of a launch, if its kernel is on the list.
///
/// # Safety
/// The call is one that CUDA would take: its arguments are as many as the kernel has.
#[cold]
#[inline(never)]
pub(crate) unsafe fn launched(call: &Call) -> Option<Call> {
    let known = find(call.kernel as u64)?;
    let read = |parameter: Parameter| {
        // SAFETY: by the contract of this function, and the form was chosen by the kernel's parameters.
        unsafe { value(call.kernel_arguments, parameter) }
    };
    let form = known.form();
    let datatype = Datatype::from_code(known.datatype);
    let (count, datatype) = match form.map(|form| form.size) {
        Some(Size::Elements(parameter)) => (read(parameter), datatype),
        Some(Size::Packs(parameter)) => {
            let per_pack = datatype.map(|datatype| 16 / datatype.size());
            (
                read(parameter).zip(per_pack).map(|(packs, each)| packs.saturating_mul(each)),
                datatype,
            )
        }
        Some(Size::Bytes(parameter)) => (read(parameter), Some(Datatype::Uint8)),
        None => (None, datatype),
    };
    let rank = form.and_then(|form| read(form.rank)).and_then(|rank| i32::try_from(rank).ok());
    let ranks = match form.map(|form| form.ranks) {
        Some(Ranks::Parameter(parameter)) => read(parameter).and_then(|n| u16::try_from(n).ok()),
        _ => Some(known.ranks),
    };
    let word = KernelCall { kernel: known.kernel(), ranks: ranks.unwrap_or(0) };
    Some(Call {
        count: count.unwrap_or(UNKNOWN_COUNT) as usize,
        datatype: datatype.map_or(NO_DATATYPE, |datatype| datatype as u8),
        peer: rank.unwrap_or(NO_PEER),
        reduction: word.to_word(),
        stream: call.stream,
        ..Call::new()
    })
}

/// The value of a parameter, `None` where it is not passed in this way, or negative.
///
/// # Safety
/// `arguments` is null, or has an address for each parameter of the kernel.
unsafe fn value(arguments: *const *const c_void, parameter: Parameter) -> Option<u64> {
    if arguments.is_null() {
        return None;
    }
    // SAFETY: by the contract of this function.
    unsafe {
        let place = *arguments.add(parameter.index);
        if place.is_null() {
            return None;
        }
        let place = place.byte_add(parameter.offset);
        match parameter.bytes {
            4 => u64::try_from(place.cast::<i32>().read_unaligned()).ok(),
            _ => Some(place.cast::<u64>().read_unaligned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nccltap_proto::Path;

    const BFLOAT16: &CStr = c"_ZN4vllm26cross_device_reduce_1stageI13__nv_bfloat16Li4EEEvPNS_8RankDataENS_11RankSignalsEPNS_6SignalEPT_ii";
    const CHANGED: &CStr = c"_ZN4vllm26cross_device_reduce_1stageI13__nv_bfloat16Li4EEEvPT_x";

    fn register(handle: usize, name: &CStr) {
        let call = Call {
            host_function: handle as *const c_void,
            kernel_name: name.as_ptr(),
            ..Call::new()
        };
        registered(&call);
    }

    fn launch(handle: usize, arguments: &[*const c_void]) -> Option<Call> {
        let kernel = handle as *const c_void;
        let call = Call { kernel, kernel_arguments: arguments.as_ptr(), ..Call::new() };
        // SAFETY: there are as many arguments as the kernels of these tests have.
        unsafe { launched(&call) }
    }

    #[test]
    fn a_launch_says_elements_rank_and_ranks() {
        register(0x5_0000, BFLOAT16);
        let (rank, packs, pointer) = (3i32, 512i32, 0u64);
        let pointer = (&raw const pointer).cast::<c_void>();
        let numbers = [(&raw const rank).cast(), (&raw const packs).cast()];
        let arguments = [pointer, pointer, pointer, pointer, numbers[0], numbers[1]];
        let said = launch(0x5_0000, &arguments).unwrap();
        assert_eq!((said.count, said.datatype, said.peer), (4096, Datatype::Bfloat16 as u8, 3));
        let word = KernelCall::from_word(said.reduction);
        assert_eq!((word.kernel.unwrap().path(), word.ranks), (Path::CustomAllReduce, 4));
    }

    #[test]
    fn of_parameters_that_are_not_known_none_is_read() {
        register(0x6_0000, CHANGED);
        let said = launch(0x6_0000, &[]).unwrap();
        assert_eq!((said.count as u64, said.peer), (UNKNOWN_COUNT, NO_PEER));
        assert_eq!(said.datatype, Datatype::Bfloat16 as u8);
    }

    #[test]
    fn an_address_that_is_given_to_another_kernel_is_not_mistaken() {
        register(0x7_0000, BFLOAT16);
        register(0x7_0000, c"_Z9somethingPf");
        assert!(launch(0x7_0000, &[]).is_none());
    }

    #[test]
    fn another_handle_of_a_kernel_is_that_kernel() {
        register(0x8_0000, CHANGED);
        let mut handle = 0x9_0000 as *mut c_void;
        let call = Call {
            host_function: 0x8_0000 as *const c_void,
            new_kernel: &raw mut handle,
            ..Call::new()
        };
        other_handle(&call);
        assert!(launch(0x9_0000, &[]).is_some());
        assert!(launch(0x9_0010, &[]).is_none());
    }
}
