//! The generated code is checked in, so that a build needs no protoc; here it is made anew and
//! compared. `NCCLTAP_BLESS=1 cargo test -p nccltap-proto` writes it.

use std::path::Path;

#[test]
fn generated_code_is_that_of_the_proto_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let descriptors = protox::compile(["nccltap/v1/tap.proto"], [root.join("proto")])
        .expect("tap.proto compiles");
    let out = tempfile::tempdir().expect("a temporary directory");
    tonic_prost_build::configure()
        .bytes(".")
        .out_dir(out.path())
        .compile_fds(descriptors)
        .expect("code is generated");

    let fresh = std::fs::read_to_string(out.path().join("nccltap.v1.rs")).expect("generated file");
    let kept = root.join("src/generated/nccltap.v1.rs");
    if std::env::var_os("NCCLTAP_BLESS").is_some() {
        std::fs::create_dir_all(kept.parent().expect("a parent")).expect("the directory");
        std::fs::write(&kept, fresh).expect("the file is written");
        return;
    }
    let kept = std::fs::read_to_string(&kept).unwrap_or_default();
    assert!(
        fresh == kept,
        "tap.proto and src/generated differ; run NCCLTAP_BLESS=1 cargo test -p nccltap-proto"
    );
}
