//! Builds the simulated NCCL and the demo's program from C; `src/lib.rs` embeds both.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=nccl");
    println!("cargo::rerun-if-changed=demo");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));

    // Default visibility only for the API, and every call of it from inside through the linkage
    // table: that is how NCCL is built, and what an interposing library meets. Unwind tables, so
    // that a thread can be cancelled inside a call.
    let sources = ["communicators", "conduct", "counts", "groups", "library", "operations"];
    compile(
        compiler()
            .args(["-shared", "-fPIC", "-fvisibility=hidden", "-fexceptions"])
            .args(["-Wl,-soname,libnccl.so.2", "-Wl,-z,lazy"])
            .args(sources.map(|name| format!("nccl/{name}.c")))
            .arg("-o")
            .arg(out.join("libnccl.so.2")),
    );
    compile(
        compiler()
            .args(["-Inccl", "demo/llama_rank.c", "-Wl,-z,lazy", "-Wl,-rpath,$ORIGIN"])
            .arg(format!("-L{}", out.display()))
            .args(["-l:libnccl.so.2", "-ldl", "-o"])
            .arg(out.join("llama_rank")),
    );
}

/// The C compiler, for the target, with what all sources are compiled with.
fn compiler() -> Command {
    let tool = cc::Build::new().opt_level(2).debug(false).warnings(false).get_compiler();
    let mut command = tool.to_command();
    command.args(["-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-pthread"]);
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")));
    command
}

fn compile(command: &mut Command) {
    let done = command.status().unwrap_or_else(|error| {
        panic!("the C compiler cannot be run ({error}); install gcc or set CC")
    });
    assert!(done.success(), "{command:?} failed: {done}");
}
