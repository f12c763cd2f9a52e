//! Link settings of `libnccltap.so`.
//!
//! - `dlsym` and `dlvsym` are exported under the versions that glibc gives them, so that another
//!   preload library that asks for `dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5")` finds ours.
//! - The unwinder is linked statically: loading libgcc_s.so is three quarters of what a preloaded
//!   Rust library costs each exec. std asks for `-lgcc_s`; a linker script of that name on the
//!   search path leads it to the archive.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=exports.map");
    let manifest = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets OUT_DIR"));

    println!("cargo:rustc-cdylib-link-arg=-Wl,--version-script={manifest}/exports.map");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libnccltap.so");

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
