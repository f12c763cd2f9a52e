//! Builds the simulated libraries and the demo's program from C; `src/lib.rs` embeds them.

// The table of GPUs, which the C sources get as a header.
#[allow(dead_code, unreachable_pub)]
#[path = "src/gpus.rs"]
mod gpus;

use std::env;
use std::fmt::Write;
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

    fs::write(out.join("gpus.h"), gpus_header()).expect("OUT_DIR can be written");

    // Default visibility only for the API, and every call of it from inside through the linkage
    // table: that is how NCCL is built, and what an interposing library meets. Unwind tables, so
    // that a thread can be cancelled inside a call.
    library(&out, "libnccl.so.2", &["nccl", "common"], &[]);
    library(&out, "librccl.so.1", &["nccl", "common"], &["-DSIMULATES_RCCL".into()]);
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
                // NVIDIA's calls none of its own functions through its linkage table.
                "-Wl,-Bsymbolic-functions".into(),
            ],
        );
    }
    library(
        &out,
        "libcuda.so.1",
        &["cuda/driver"],
        &[
            out.join("librehearsal.so.1").display().to_string(),
            "-Wl,-rpath,$ORIGIN".into(),
            "-Wl,-Bsymbolic-functions".into(),
        ],
    );
    // The same, and the rest of the stack, as objects: `src/stack` links them for an engine.
    for (number, version) in RUNTIMES {
        let version = format!("-DCUDART_VERSION={version}");
        object(&out, &format!("cudart{number}.o"), &["cuda/runtime"], &[&version]);
    }
    object(&out, "cuda.o", &["cuda/driver"], &[]);
    object(&out, "nvml.o", &["cuda/nvml"], &[]);
    object(&out, "mathematics.o", &["cuda/math", "common"], &[]);
    object(&out, "nccl.o", &["nccl", "common"], &["-fexceptions"]);

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

/// Makes one object of all C sources in the directories, to be linked later.
fn object(out: &Path, name: &str, directories: &[&str], further: &[&str]) {
    compile(
        compiler()
            .args(["-r", "-nostdlib", "-fPIC", "-fvisibility=hidden"])
            .args(directories.iter().flat_map(|directory| sources(directory)))
            .args(further)
            .arg("-o")
            .arg(out.join(name)),
    );
}

fn gpus_header() -> String {
    let mut rows = String::new();
    for gpu in gpus::PROFILES {
        let (major, minor) = gpu.compute_capability;
        let (links, link_version) = gpu.nvlinks;
        let numbers = [
            u64::from(major),
            u64::from(minor),
            gpu.memory_mib,
            u64::from(gpu.multiprocessors),
            u64::from(gpu.l2_kib),
            u64::from(gpu.shared_per_multiprocessor_kib),
            u64::from(gpu.shared_per_block_kib),
            u64::from(gpu.clock_khz),
            u64::from(gpu.memory_clock_khz),
            u64::from(gpu.memory_bus_bits),
            u64::from(links),
            u64::from(link_version),
            u64::from(gpu.cores),
            u64::from(gpu.architecture),
        ];
        let numbers = numbers.map(|number| number.to_string()).join(", ");
        let _ = writeln!(rows, "    {{\"{}\", \"{}\", {numbers}}},", gpu.key, gpu.name);
    }
    format!("static const struct sim_gpu gpus[] = {{\n{rows}}};\n")
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
    let tool = cc::Build::new().opt_level(2).debug(false).get_compiler();
    let mut command = tool.to_command();
    command.arg("-I").arg(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    command.args(["-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-pthread"]);
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")));
    command
}

fn compile(command: &mut Command) {
    let done = command.status().unwrap_or_else(|error| {
        panic!("the C compiler cannot be run ({error}); install gcc or set CC")
    });
    assert!(done.success(), "the C compiler failed: {done}; what it said stands above");
}
