//! A stack is made for what is installed: wheels find every function that they ask for, and what is not
//! simulated says so.
#![allow(missing_docs)]

use nccltap_rehearsal::gpus::{self, GpuProfile};
use nccltap_rehearsal::stack::{self, Stack};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// A wheel's library, written in C. It is linked to CUDA's runtime and cuBLAS by versioned symbols, to the
/// driver without, and looks NVML's up by name.
const WHEEL: &str = r#"
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
int cudaGetDeviceCount(int *), cudaGraphicsMapResources(int, void *, void *), cublasSgemm_v2(void);
int cublasGetStream_v2(void *, void **), cublasGetVector(void), cuDeviceGetCount(int *), cuCtxFromGreenCtx(void);
int cuGetProcAddress_v2(const char *, void **, int, unsigned long, int *);
static int by_name(const char *library, const char *name) {
  int (*function)(void) = dlsym(dlopen(library, RTLD_LAZY), name);
  return function ? function() : -1;
}
void run(const char *what) {
  int count = 0;
  void *stream = &count, *function = NULL;
  if (!strcmp(what, "count") && cudaGetDeviceCount(&count) == 0) printf("%d devices\n", count);
  if (!strcmp(what, "driver") && cuDeviceGetCount(&count) == 0) printf("%d devices\n", count);
  if (!strcmp(what, "compute")) printf("%d\n", cublasSgemm_v2());
  if (!strcmp(what, "output") && cublasGetStream_v2(NULL, &stream) == 0) printf("%p\n", stream);
  if (!strcmp(what, "nvml")) printf("%d\n", by_name("libnvidia-ml.so.1", "nvmlDeviceGetFanSpeed"));
  if (!strcmp(what, "missing")) cudaGraphicsMapResources(0, NULL, NULL);
  if (!strcmp(what, "missing output")) cublasGetVector();
  if (!strcmp(what, "missing in driver")) cuCtxFromGreenCtx();
  if (!strcmp(what, "entry point")) {
    int found = 9;
    cuGetProcAddress_v2("cuMemAlloc", &function, 12000, 0, &found);
    printf("%d %d ", found, function == dlsym(dlopen("libcuda.so.1", RTLD_LAZY), "cuMemAlloc_v2"));
    /* A name that does not stand in the wheel's data as one. */
    char name[32];
    sprintf(name, "cu%s", "NeverHeardOf");
    cuGetProcAddress_v2(name, &function, 12000, 0, &found);
    printf("%d %d\n", found, function == NULL);
  }
}
"#;

const HOST: &str = r#"
#include <dlfcn.h>
#include <stdio.h>
int main(int argc, char **argv) {
  void *wheel = dlopen(argv[1], RTLD_NOW);
  if (wheel == NULL) { puts(dlerror()); return 1; }
  ((void (*)(const char *))dlsym(wheel, "run"))(argv[2]);
  return argc != 3;
}
"#;

/// A directory of packages, as installers lay them out, and a stack for it.
struct Venv {
    directory: TempDir,
    host: PathBuf,
    wheel: PathBuf,
}

fn cc(arguments: &[&str], output: &Path, source: &str) {
    let file = output.with_extension("source.c");
    fs::write(&file, source).unwrap();
    let done =
        Command::new("cc").args(["-w", "-o"]).arg(output).arg(&file).args(arguments).output();
    let done = done.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    fs::remove_file(file).unwrap();
}

/// A library to link against: it gives the wheel names and versions to ask for, and is then removed.
fn promise(directory: &Path, name: &str, functions: &[&str]) -> PathBuf {
    let library = directory.join(name);
    let source: String =
        functions.iter().map(|function| format!("int {function}() {{}}\n")).collect();
    let script = directory.join("script");
    fs::write(&script, format!("{name} {{ global: {}; }};", functions.join("; "))).unwrap();
    let soname = format!("-Wl,-soname,{name}");
    let version = format!("-Wl,--version-script={}", script.display());
    let versioned = name != "libcuda.so.1";
    let arguments = ["-shared", "-fPIC", &soname, &version];
    cc(&arguments[..if versioned { 4 } else { 3 }], &library, &source);
    library
}

impl Venv {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let site_packages = directory.path().join("site-packages");
        for folder in ["torch/lib", "torch-2.6.0.dist-info", "vision.libs", "nvidia/lib"] {
            fs::create_dir_all(site_packages.join(folder)).unwrap();
        }
        fs::write(site_packages.join("torch/version.py"), "cuda: str = '12.4'\n").unwrap();
        let requires = "Requires-Dist: nvidia-nccl-cu12==2.21.5\n";
        fs::write(site_packages.join("torch-2.6.0.dist-info/METADATA"), requires).unwrap();
        let venv = Self {
            host: directory.path().join("host"),
            wheel: site_packages.join("torch/lib/libtorch_cuda.so"),
            directory,
        };
        let promised = tempfile::tempdir().unwrap();
        let promise = |name, functions: &[&str]| promise(promised.path(), name, functions);
        let libraries = [
            promise("libcudart.so.12", &["cudaGetDeviceCount", "cudaGraphicsMapResources"]),
            promise(
                "libcublas.so.12",
                &["cublasSgemm_v2", "cublasGetStream_v2", "cublasGetVector"],
            ),
            promise(
                "libcuda.so.1",
                &["cuDeviceGetCount", "cuCtxFromGreenCtx", "cuGetProcAddress_v2"],
            ),
        ];
        let libraries = libraries.map(|path| path.display().to_string());
        let arguments: Vec<&str> =
            libraries.iter().map(String::as_str).chain(["-shared", "-fPIC"]).collect();
        cc(&arguments, &venv.wheel, WHEEL);
        cc(&[], &venv.host, HOST);
        fs::copy(&libraries[0], site_packages.join("vision.libs/libcudart.1234.so.12")).unwrap();
        fs::write(site_packages.join("nvidia/lib/libcufft.so.11"), "not to be read").unwrap();
        venv
    }

    fn build(&self, gpu: &GpuProfile) -> Stack {
        build_in(self.directory.path(), gpu)
    }

    fn run(&self, what: &str) -> Output {
        let stack = self.build(gpus::find("h100").unwrap());
        let mut command = Command::new(&self.host);
        command.env_remove("CUDA_VISIBLE_DEVICES").envs(stack.environment.clone());
        command.env("NCCLTAP_REHEARSAL_SAID", "1").arg(&self.wheel).arg(what).output().unwrap()
    }

    fn said(&self, what: &str) -> String {
        let output = self.run(what);
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        said
    }

    /// The one line with which a function that is not simulated ends the process.
    fn last_line(&self, what: &str) -> String {
        let output = self.run(what);
        assert_eq!(output.status.code(), Some(70));
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(line.lines().count(), 1, "{line}");
        line.trim_end().replace(&self.wheel.display().to_string(), "WHEEL")
    }
}

fn build_in(directory: &Path, gpu: &GpuProfile) -> Stack {
    stack::build(&directory.join("site-packages"), &directory.join("stack"), gpu).unwrap()
}

#[test]
fn a_wheel_finds_the_functions_it_asks_for_with_their_versions() {
    let venv = Venv::new();
    assert_eq!(venv.said("count"), "8 devices\n");
    assert_eq!(venv.said("driver"), "8 devices\n");
    assert_eq!(venv.said("output"), "(nil)\n");
}

#[test]
fn what_computes_does_nothing_and_nvml_knows_nothing_more() {
    let venv = Venv::new();
    assert_eq!(venv.said("compute"), "0\n");
    assert_eq!(venv.said("nvml"), "3\n");
}

#[test]
fn a_function_that_is_not_simulated_ends_in_one_line_that_names_it() {
    let venv = Venv::new();
    for (what, line) in [
        ("missing", "cudaGraphicsMapResources of libcudart.so.12"),
        ("missing output", "cublasGetVector of libcublas.so.12"),
        ("missing in driver", "cuCtxFromGreenCtx of libcuda.so.1"),
    ] {
        let expected = format!("nccltap rehearsal: {line} is not simulated, and WHEEL called it");
        assert_eq!(venv.last_line(what), expected);
    }
}

#[test]
fn a_function_of_the_driver_is_found_by_name_in_its_newest_version() {
    assert_eq!(Venv::new().said("entry point"), "0 1 1 1\n");
}

#[test]
fn the_environment_says_what_pytorch_was_built_for_and_which_gpu_it_is() {
    let stack = Venv::new().build(gpus::find("b200").unwrap());
    let value = |name| {
        let found = stack.environment.iter().find(|(it, _)| *it == name);
        found.map(|(_, value)| value.to_string_lossy().into_owned())
    };
    assert_eq!(value("NCCLTAP_REHEARSAL").as_deref(), Some("1"));
    assert_eq!(value("NCCLTAP_REHEARSAL_GPU").as_deref(), Some("b200"));
    assert_eq!(value("NCCLTAP_REHEARSAL_CUDA_VERSION").as_deref(), Some("12040"));
    assert_eq!(value("NCCLTAP_REHEARSAL_NCCL_VERSION").as_deref(), Some("22105"));
}

#[test]
fn a_runtime_that_a_wheel_carries_gets_a_stand_in_to_preload() {
    let venv = Venv::new();
    let stack = venv.build(gpus::find("h100").unwrap());
    assert_eq!(stack.preload, [stack.libraries.join("libcudart.1234.so.12")]);
    assert!(stack.preload[0].exists());
    assert!(!stack.libraries.join("libcufft.so.11").exists(), "NVIDIA's own are not read");
}

#[test]
fn a_stack_is_made_anew_only_when_a_wheel_has_changed() {
    let venv = Venv::new();
    let made = |stack: &Stack| {
        fs::metadata(stack.libraries.join("libcuda.so.1")).unwrap().modified().unwrap()
    };
    let gpu = gpus::find("h100").unwrap();
    let first = made(&venv.build(gpu));
    assert_eq!(made(&venv.build(gpus::find("a100").unwrap())), first);
    let wheel = fs::File::options().append(true).open(&venv.wheel).unwrap();
    wheel.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_ne!(made(&venv.build(gpu)), first);
}

#[test]
fn another_process_finds_the_stack_that_was_made() {
    let venv = Venv::new();
    let made = venv.build(gpus::find("h100").unwrap()).libraries;
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "prints_where_the_stack_is", "--ignored", "--nocapture"]);
    let said = again.env(VENV, venv.directory.path()).output().unwrap().stdout;
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains(&format!("it is in {}\n", made.display())), "{said}");
}

/// The packages of the test that started this one.
const VENV: &str = "NCCLTAP_TEST_VENV";

#[test]
#[ignore = "run by another test, in a process of its own"]
fn prints_where_the_stack_is() {
    let directory = std::path::PathBuf::from(std::env::var_os(VENV).unwrap());
    println!("it is in {}", build_in(&directory, gpus::find("h100").unwrap()).libraries.display());
}

#[test]
fn without_pytorch_there_is_no_stack() {
    let directory = tempfile::tempdir().unwrap();
    let into = directory.path().join("stack");
    let error = stack::build(directory.path(), &into, gpus::find("h100").unwrap()).unwrap_err();
    assert!(error.to_string().contains("torch/version.py"), "{error:#}");
}
