//! Link settings of `libnccltap.so`.
//!
//! - `dlsym` and `dlvsym` are exported under the versions that glibc gives them, so that another
//!   preload library that asks for `dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5")` finds ours.
//! - The unwinder is linked statically: loading libgcc_s.so is three quarters of what a preloaded
//!   Rust library costs each exec. std asks for `-lgcc_s`; a linker script of that name on the
//!   search path leads it to the archive.
//! - What each exec would pay for is left out: the C compiler's start files, with four names to look up
//!   that are nowhere, and pages that need not be (`FEWER_PAGES`); figures in docs/cost.md. The start files
//!   also have the address by which libc tells libraries apart: the beginning of the library will do.
//! - The library is never unloaded: callers keep the addresses of its functions, and a thread is in it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Arguments of the linker that save each exec a mapping or a page fault: constants in one segment with
/// code, and writable data on pages of its own. Not every linker knows them.
const FEWER_PAGES: [&str; 2] = ["-Wl,--no-rosegment", "-Wl,-z,separate-loadable-segments"];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=exports.map");
    let manifest = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets OUT_DIR"));

    println!("cargo:rustc-cdylib-link-arg=-Wl,--version-script={manifest}/exports.map");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libnccltap.so");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    println!("cargo:rustc-cdylib-link-arg=-nostartfiles");
    println!("cargo:rustc-cdylib-link-arg=-Wl,--defsym=__dso_handle=__ehdr_start");
    for argument in FEWER_PAGES {
        if linker_takes(argument, &out) {
            println!("cargo:rustc-cdylib-link-arg={argument}");
        }
    }

    if let Some(archive) = static_unwinder() {
        let script = format!("INPUT({})\n", archive.display());
        for name in ["libgcc_s.so", "libgcc_s.so.1"] {
            fs::write(out.join(name), &script).expect("OUT_DIR is writable");
        }
        println!("cargo:rustc-cdylib-link-arg=-L{}", out.display());
    } else {
        println!("cargo:warning=gcc has no libgcc_eh.a; libnccltap.so will load libgcc_s.so");
    }
}

/// The archive with gcc's unwinder, where the C compiler has one.
fn static_unwinder() -> Option<PathBuf> {
    let compiler = env::var("CC").unwrap_or_else(|_| "gcc".to_owned());
    let output = Command::new(compiler).arg("-print-file-name=libgcc_eh.a").output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    let path = Path::new(path.trim());
    path.is_absolute().then(|| path.to_owned())
}

/// Whether the linker that cargo uses knows an argument: tried, since there are several, of many versions.
fn linker_takes(argument: &str, out: &Path) -> bool {
    let source = out.join("empty.rs");
    fs::write(&source, "").expect("OUT_DIR is writable");
    let mut rustc = Command::new(env::var_os("RUSTC").expect("cargo sets RUSTC"));
    rustc.args(["--target", &env::var("TARGET").expect("cargo sets TARGET")]);
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.arg(format!("-Clinker={linker}"));
    }
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    rustc.args(flags.split('\x1f').filter(|flag| !flag.is_empty()));
    rustc.args(["--crate-type=cdylib", &format!("-Clink-arg={argument}"), "-o"]);
    rustc.arg(out.join("libempty.so")).arg(source);
    rustc.output().is_ok_and(|output| output.status.success())
}
