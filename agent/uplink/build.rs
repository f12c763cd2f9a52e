//! Link settings of `libnccltap_uplink.so`: it is never unloaded, since a thread is in it.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libnccltap_uplink.so");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
