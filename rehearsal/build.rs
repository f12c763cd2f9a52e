//! Builds the simulated libraries and the demo's program from C; `src/lib.rs` embeds them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The releases of the CUDA runtime: by the number in the name of the library.
const RUNTIMES: [(&str, &str); 2] = [("12", "12040"), ("13", "13000")];

fn main() {
    for sources in ["common", "cuda", "nccl", "demo"] {
        println!("cargo::rerun-if-changed={sources}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));

    // Default visibility only for the API, and every call of it from inside through the linkage
    // table: that is how NCCL is built, and what an interposing library meets. Unwind tables, so
    // that a thread can be cancelled inside a call.
    library(&out, "libnccl.so.2", &["nccl", "common"], &[]);
    library(&out, "librehearsal.so.1", &["cuda/core", "common"], &[]);
    for (number, version) in RUNTIMES {
        let name = format!("libcudart.so.{number}");
        let versions = out.join(format!("{name}.map"));
        let script = format!("{name} {{ global: cuda*; __cuda*; local: *; }};\n");
        fs::write(&versions, script).expect("OUT_DIR can be written");
        library(
            &out,
            &name,
            &["cuda/runtime"],
            &[
                format!("-DCUDART_VERSION={version}"),
                format!("-Wl,--version-script={}", versions.display()),
                out.join("librehearsal.so.1").display().to_string(),
                "-Wl,-rpath,$ORIGIN".into(),
            ],
        );
    }
    compile(
        compiler()
            .args(["-Inccl", "demo/llama_rank.c", "-Wl,-z,lazy", "-Wl,-rpath,$ORIGIN"])
            .arg(format!("-L{}", out.display()))
            .args(["-l:libnccl.so.2", "-ldl", "-o"])
            .arg(out.join("llama_rank")),
    );
}

/// Makes one shared library of all C sources in the directories.
fn library(out: &Path, name: &str, directories: &[&str], further: &[String]) {
    compile(
        compiler()
            .args(["-shared", "-fPIC", "-fvisibility=hidden", "-fexceptions"])
            .arg(format!("-Wl,-soname,{name}"))
            .args(["-Wl,-z,lazy", "-Wl,--no-undefined"])
            .args(directories.iter().flat_map(|directory| sources(directory)))
            .args(further)
            .args(["-ldl", "-o"])
            .arg(out.join(name)),
    );
}

fn sources(directory: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(directory).unwrap_or_else(|error| panic!("{directory}: {error}"));
    let mut files: Vec<_> = files.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "c"));
    files.sort();
    files
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
