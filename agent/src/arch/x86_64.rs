//! x86-64, System V calling convention.
#![allow(unsafe_code)]

use crate::thread::State;
use std::arch::asm;

/// The kernel names its clock source so when it trusts the time stamp counter.
pub(crate) const TRUSTED_CLOCKSOURCE: &str = "tsc";

/// The time stamp counter.
#[inline(always)]
pub(crate) fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has rdtsc, and Linux lets programs use it.
    unsafe { std::arch::x86_64::_rdtsc() }
}

// The thread's state lies in storage that the loader sets aside at program start (initial-exec
// model): reaching it costs one load, where Rust's thread_local costs a call of __tls_get_addr.
std::arch::global_asm!(
    ".section .tbss,\"awT\",@nobits",
    ".p2align 6",
    ".globl nccltap_thread_state",
    ".hidden nccltap_thread_state",
    ".type nccltap_thread_state,@object",
    "nccltap_thread_state:",
    ".zero {size}",
    ".size nccltap_thread_state, {size}",
    ".text",
    size = const size_of::<State>(),
);

/// Address of this thread's state. All zeros when the thread begins.
#[inline(always)]
pub(crate) fn thread_state() -> *mut State {
    let state: *mut State;
    // SAFETY: reads the thread pointer and the variable's offset from it; no memory is written.
    unsafe {
        asm!(
            "mov {state}, qword ptr [rip + nccltap_thread_state@GOTTPOFF]",
            "add {state}, qword ptr fs:[0]",
            state = out(reg) state,
            options(nostack, readonly, pure),
        );
    }
    state
}

/// Where the stack stands.
#[inline(always)]
pub(crate) fn stack_pointer() -> usize {
    let pointer: usize;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) pointer, options(nomem, nostack, preserves_flags)) };
    pointer
}

/// Makes the exported function `$name`, reached through callers' linkage tables.
///
/// It looks the return address up in `$cache` (sixteen ways, chosen by bits 2 to 5) and jumps to
/// the wrapper found there with all arguments in place, or asks `$resolve(id, return address,
/// cache)` for it. rax, r10 and r11 are free at this point of a call; r11 keeps the return address.
macro_rules! thunk {
    ($(#[$attribute:meta])* $name:ident, $id:expr, $cache:path, $resolve:path) => {
        $(#[$attribute])*
        #[unsafe(naked)]
        pub(super) unsafe extern "C" fn $name() {
            std::arch::naked_asm!(
                "endbr64",
                "mov r11, [rsp]",
                "mov r10, r11",
                "shr r10, 2",
                "and r10d, 15",
                "shl r10d, 4",
                "lea rax, [rip + {cache}]",
                "cmp r11, [rax + r10]",
                "jne 2f",
                "jmp [rax + r10 + 8]",
                "2:",
                "push rdi",
                "push rsi",
                "push rdx",
                "push rcx",
                "push r8",
                "push r9",
                "sub rsp, 8",
                "mov edi, {id}",
                "mov rsi, r11",
                "mov rdx, rax",
                "call {resolve}",
                "add rsp, 8",
                "pop r9",
                "pop r8",
                "pop rcx",
                "pop rdx",
                "pop rsi",
                "pop rdi",
                "jmp rax",
                cache = sym $cache,
                id = const $id,
                resolve = sym $resolve,
            )
        }
    };
}
pub(crate) use thunk;

/// Makes `$name`, a function that launches the kernel whose handle is in `$handle` (a register, its low half).
///
/// The handle chooses one of `$bytes` in `$filter`. Where that is 0, the call jumps to where `$direct` and
/// `$offset` say, else to `$hit`. rax and r11 are free at this point of a call.
macro_rules! launch_thunk {
    ($(#[$attribute:meta])* $name:ident $(<const $copy:ident: usize>)?, $handle:literal, $filter:path, $bytes:expr, $direct:path, $offset:expr, $hit:path) => {
        $(#[$attribute])*
        #[unsafe(naked)]
        pub(super) unsafe extern "C" fn $name$(<const $copy: usize>)?() {
            std::arch::naked_asm!(
                "endbr64",
                concat!("mov eax, ", $handle),
                "shr eax, 4",
                "and eax, {mask}",
                "lea r11, [rip + {filter}]",
                "cmp byte ptr [r11 + rax], 0",
                "jne 2f",
                "jmp qword ptr [rip + {direct} + {offset}]",
                "2:",
                "jmp {hit}",
                mask = const $bytes - 1,
                filter = sym $filter,
                direct = sym $direct,
                offset = const $offset,
                hit = sym $hit,
            )
        }
    };
}
pub(crate) use launch_thunk;

/// What a hook of [`lookup!`] answers: go on to the next dlsym in line.
pub(crate) const PASS_ON: usize = 0;
/// What a hook of [`lookup!`] answers: the name is not there, give the caller NULL.
pub(crate) const ABSENT: usize = 1;

/// Makes a look-up function of the dlsym family, and `$first`, to which `$next` leads until the next such
/// function in line has been found.
///
/// A name that begins with none of `nc`, `cu`, `on` and `hi` goes straight on by a tail jump: the caller's return
/// address stays on the stack, so RTLD_NEXT still means the caller. Otherwise `$hook(handle, name,
/// version, return address)` decides: an address, [`PASS_ON`] or [`ABSENT`].
///
/// `$find()` finds the next function in line, or gives 0, and then there is no such symbol.
macro_rules! lookup {
    ($name:ident, $first:ident, $next:path, $hook:path, $find:path) => {
        #[unsafe(naked)]
        #[cfg_attr(test, allow(dead_code))]
        unsafe extern "C" fn $name() {
            std::arch::naked_asm!(
                "endbr64",
                "test rsi, rsi",
                "je 2f",
                "cmp byte ptr [rsi], 110",
                "je 3f",
                "cmp byte ptr [rsi], 99",
                "je 5f",
                "cmp byte ptr [rsi], 111",
                "je 7f",
                "cmp byte ptr [rsi], 104",
                "je 8f",
                "2:",
                "jmp qword ptr [rip + {next}]",
                "3:",
                "cmp byte ptr [rsi + 1], 99",
                "jne 2b",
                "4:",
                "mov rcx, [rsp]",
                "push rdi",
                "push rsi",
                "push rdx",
                "call {hook}",
                "pop rdx",
                "pop rsi",
                "pop rdi",
                "test rax, rax",
                "je 2b",
                "cmp rax, 1",
                "je 6f",
                "ret",
                "5:",
                "cmp byte ptr [rsi + 1], 117",
                "je 4b",
                "jmp 2b",
                "7:",
                "cmp byte ptr [rsi + 1], 110",
                "je 4b",
                "jmp 2b",
                "8:",
                "cmp byte ptr [rsi + 1], 105",
                "je 4b",
                "jmp 2b",
                "6:",
                "xor eax, eax",
                "ret",
                next = sym $next,
                hook = sym $hook,
            )
        }

        #[unsafe(naked)]
        unsafe extern "C" fn $first() {
            std::arch::naked_asm!(
                "endbr64",
                "push rdi",
                "push rsi",
                "push rdx",
                "call {find}",
                "pop rdx",
                "pop rsi",
                "pop rdi",
                "test rax, rax",
                "je 2f",
                "jmp rax",
                "2:",
                "ret",
                find = sym $find,
            )
        }
    };
}
pub(crate) use lookup;

/// Exports `$function` as `$name` under both versions that glibc gives it.
#[cfg(not(test))]
macro_rules! export_versions {
    ($name:literal, $function:path) => {
        std::arch::global_asm!(
            concat!(".globl nccltap_old_", $name),
            concat!(".set nccltap_old_", $name, ", {function}"),
            concat!(".symver nccltap_old_", $name, ", ", $name, "@GLIBC_2.2.5, remove"),
            concat!(".globl nccltap_new_", $name),
            concat!(".set nccltap_new_", $name, ", {function}"),
            concat!(".symver nccltap_new_", $name, ", ", $name, "@@GLIBC_2.34, remove"),
            function = sym $function,
        );
    };
}
#[cfg(not(test))]
pub(crate) use export_versions;
