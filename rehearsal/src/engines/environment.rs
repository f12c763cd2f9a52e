//! The environment that an engine is run in.

use super::catalog::{Release, STACK};
use super::installed::Engine;
use crate::stack;
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// The model's folder, for programs that load it themselves.
pub const MODEL: &str = "NCCLTAP_REHEARSAL_MODEL";

/// Nothing is asked of the network: models come from this machine, and nobody is told of the run.
const ALONE: &[(&str, &str)] = &[
    ("DO_NOT_TRACK", "1"),
    ("HF_HUB_OFFLINE", "1"),
    ("TRANSFORMERS_OFFLINE", "1"),
    ("VLLM_NO_USAGE_STATS", "1"),
];

/// What engines and compilers keep. What was compiled for a simulated GPU must not come to a real one.
const CACHES: &[(&str, &str)] = &[
    ("TORCHINDUCTOR_CACHE_DIR", "inductor"),
    ("TRITON_CACHE_DIR", "triton"),
    ("VLLM_CACHE_ROOT", "vllm"),
    ("VLLM_CONFIG_ROOT", "config"),
];

/// The variables that an engine runs with, on the libraries in `stack`. `inherited` gives those of the user, who is not overruled
/// but where a cache would be spoilt.
pub fn environment(
    engine: &Engine,
    release: &Release,
    stack: &Path,
    inherited: &dyn Fn(&str) -> Option<OsString>,
) -> Vec<(&'static str, OsString)> {
    let own = [ALONE, release.environment].concat();
    let own = own.iter().filter(|(name, _)| inherited(name).is_none());
    let value = |text: &str| match text {
        STACK => stack.into(),
        _ => text.into(),
    };
    let mut variables: Vec<_> = own.map(|(name, text)| (*name, value(text))).collect();
    let cache = engine.cache();
    variables.extend(CACHES.iter().map(|(name, folder)| (*name, cache.join(folder).into())));
    let path = in_front(&stack::programs(stack), inherited("PATH").as_deref());
    variables.push(("PATH", in_front(&engine.environment().join("bin"), Some(&path))));
    variables.push(("VIRTUAL_ENV", engine.environment().into()));
    variables
}

/// A list of folders with one more in front.
pub fn in_front(folder: &Path, folders: Option<&OsStr>) -> OsString {
    let mut list = folder.as_os_str().to_owned();
    if let Some(folders) = folders.filter(|folders| !folders.is_empty()) {
        list.push(":");
        list.push(folders);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::catalog::Wanted;
    use crate::engines::installed::Manifest;
    use std::collections::BTreeMap;

    fn of(inherited: &[(&str, &str)]) -> BTreeMap<&'static str, OsString> {
        of_engine("vllm==0.20.0", inherited)
    }

    fn of_engine(name: &str, inherited: &[(&str, &str)]) -> BTreeMap<&'static str, OsString> {
        let wanted: Wanted = name.parse().unwrap();
        let manifest = Manifest {
            package: wanted.like.package.to_owned(),
            version: wanted.version.clone(),
            python: "3.12.1".to_owned(),
        };
        let engine = Engine { folder: "/e".into(), manifest };
        let inherited: BTreeMap<_, _> = inherited.iter().copied().collect();
        let inherited = |name: &str| inherited.get(name).map(OsString::from);
        environment(&engine, wanted.like, Path::new("/e/stack/1"), &inherited).into_iter().collect()
    }

    #[test]
    fn programs_of_the_engine_come_first_and_its_caches_are_its_own() {
        let environment = of(&[("PATH", "/usr/bin"), ("TRITON_CACHE_DIR", "/mine")]);
        assert_eq!(environment["PATH"], "/e/venv/bin:/e/stack/1/bin:/usr/bin");
        assert_eq!(environment["TRITON_CACHE_DIR"], "/e/cache/triton");
        assert_eq!(environment["VLLM_USE_DEEP_GEMM"], "0");
        assert_eq!(of(&[])["PATH"], "/e/venv/bin:/e/stack/1/bin");
    }

    #[test]
    fn an_engine_that_looks_for_cuda_finds_the_simulated_libraries() {
        assert_eq!(of_engine("sglang==0.5.5", &[])["CUDA_HOME"], "/e/stack/1");
    }

    #[test]
    fn what_the_user_has_set_stands() {
        let environment = of(&[("HF_HUB_OFFLINE", "0"), ("VLLM_USE_DEEP_GEMM", "1")]);
        assert!(!environment.contains_key("HF_HUB_OFFLINE"));
        assert!(!environment.contains_key("VLLM_USE_DEEP_GEMM"));
    }
}
