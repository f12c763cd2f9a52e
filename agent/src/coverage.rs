//! Holds the table of wrapped functions against what releases of NCCL export (`agent/nccl-api`).

use nccltap_proto::functions::Function;
use std::collections::BTreeMap;
use std::path::Path;

/// What the tap leaves alone, and why. A pattern that ends in `*` stands for all names it begins.
const LEFT_ALONE: &[(&str, &str)] = &[
    ("ncclCommCount", "asks, moves nothing"),
    ("ncclCommCuDevice", "asks, moves nothing"),
    ("ncclCommUserRank", "asks, moves nothing"),
    ("ncclCommGetAsyncError", "asks, moves nothing; called in tight loops"),
    ("ncclCommGetUniqueId", "asks, moves nothing"),
    ("ncclCommMemStats", "asks, moves nothing"),
    ("ncclCommQueryProperties", "asks, moves nothing"),
    ("ncclCommRegister", "registers memory; operations on it are recorded as ever"),
    ("ncclCommDeregister", "registers memory"),
    ("ncclCommWindowRegister", "registers memory; operations on it are recorded as ever"),
    ("ncclCommWindowDeregister", "registers memory"),
    ("ncclWinGetUserPtr", "asks, moves nothing"),
    ("ncclMemAlloc", "memory: other tools that wrap allocation have hung vLLM"),
    ("ncclMemFree", "memory: other tools that wrap allocation have hung vLLM"),
    ("ncclRedOpCreatePreMulSum", "makes a reduction; the operation that uses it is recorded"),
    ("ncclRedOpDestroy", "ends a reduction"),
    ("ncclSignal", "carries no payload"),
    ("ncclWaitSignal", "carries no payload"),
    ("ncclGetErrorString", "text"),
    ("ncclGetLastError", "text"),
    ("ncclResetDebugInit*", "logging"),
    ("ncclSetEncryption", "configures; moves nothing"),
    ("ncclParam*", "parameters of the library"),
    ("ncclDevCommDestroy", "the end of what ncclDevCommCreate announces"),
    ("ncclTeam*", "arithmetic on ranks, for device code"),
    ("ncclGet*Pointer", "addresses for device code"),
    ("ncclGet*DeviceLeInfo", "addresses for device code"),
    ("ncclLsaBarrierCreateRequirement", "sizes resources of device code"),
    ("ncclGinBarrierCreateRequirement", "sizes resources of device code"),
    ("ncclGinInboxA2ACreateRequirement", "sizes resources of device code"),
    ("ncclGinOutboxCreateRequirement", "sizes resources of device code"),
    ("ncclLLA2A*", "sizes resources of device code"),
];

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        Some((head, tail)) => name.starts_with(head) && name.ends_with(tail),
        None => pattern == name,
    }
}

/// Names that releases export, each with the releases that do.
fn exported() -> BTreeMap<String, Vec<String>> {
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let lists = Path::new(env!("CARGO_MANIFEST_DIR")).join("nccl-api");
    for list in std::fs::read_dir(lists).unwrap().map(|entry| entry.unwrap().path()) {
        if list.extension().is_some_and(|extension| extension == "txt") {
            let release = list.file_stem().unwrap().to_string_lossy().into_owned();
            for name in std::fs::read_to_string(&list).unwrap().lines() {
                names.entry(name.to_owned()).or_default().push(release.clone());
            }
        }
    }
    names
}

fn release(text: &str) -> (u32, u32) {
    let mut parts = text.split('.').map(|part| part.parse().unwrap());
    (parts.next().unwrap(), parts.next().unwrap())
}

#[test]
fn whatever_nccl_exports_is_wrapped_or_left_alone_for_a_reason() {
    let exported = exported();
    assert!(exported.len() > 90, "the lists in agent/nccl-api are there");
    for (name, releases) in &exported {
        let wrapped = Function::ALL.iter().any(|function| function.name() == name);
        let reasons = LEFT_ALONE.iter().filter(|(pattern, _)| matches(pattern, name)).count();
        assert_eq!(
            usize::from(wrapped) + reasons,
            1,
            "{name} (in NCCL {}) must be in proto/src/functions.rs or, once, on LEFT_ALONE",
            releases.join(", ")
        );
    }
}

#[test]
fn what_is_left_alone_is_exported_by_some_release() {
    let exported = exported();
    for (pattern, _) in LEFT_ALONE {
        assert!(exported.keys().any(|name| matches(pattern, name)), "{pattern}");
    }
}

#[test]
fn every_function_of_the_table_is_exported_since_the_release_it_names() {
    let exported = exported();
    let oldest = exported.values().flatten().map(|text| release(text)).min().unwrap();
    for function in Function::ALL {
        let releases = exported.get(function.name());
        let first = releases.and_then(|all| all.iter().map(|text| release(text)).min());
        let stated = release(function.since()).max(oldest);
        assert_eq!(first, Some(stated), "{}", function.name());
    }
}
