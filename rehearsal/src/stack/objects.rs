//! What is simulated, as objects to be linked: built by `build.rs`, one per library.

use object::{Object as _, ObjectSymbol, SymbolScope};
use std::collections::BTreeSet;

/// One object.
#[derive(Debug, Hash, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) name: &'static str,
    pub(super) bytes: &'static [u8],
}

macro_rules! object {
    ($name:literal) => {
        Object { name: $name, bytes: include_bytes!(concat!(env!("OUT_DIR"), "/", $name)) }
    };
}

pub(super) const RUNTIME_12: Object = object!("cudart12.o");
pub(super) const RUNTIME_13: Object = object!("cudart13.o");
pub(super) const DRIVER: Object = object!("cuda.o");
pub(super) const NVML: Object = object!("nvml.o");
pub(super) const NCCL: Object = object!("nccl.o");
pub(super) const MATHEMATICS: Object = object!("mathematics.o");

pub(super) const ALL: [Object; 6] = [RUNTIME_12, RUNTIME_13, DRIVER, NVML, NCCL, MATHEMATICS];

impl Object {
    /// The functions that it has for others.
    pub(super) fn functions(&self) -> BTreeSet<String> {
        let file = object::File::parse(self.bytes);
        file.iter()
            .flat_map(|file| file.symbols())
            .filter(|symbol| symbol.is_definition() && symbol.scope() == SymbolScope::Dynamic)
            .filter_map(|symbol| symbol.name().ok().map(str::to_owned))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_has_functions_for_others_and_keeps_its_own_to_itself() {
        for object in ALL {
            let functions = object.functions();
            assert!(functions.len() > 20, "{}: {}", object.name, functions.len());
            let foreign = functions.iter().find(|name| name.starts_with("sim_"));
            assert_eq!(foreign, None, "{}", object.name);
        }
        assert!(RUNTIME_12.functions().contains("cudaStreamGetCaptureInfo_v2"));
        assert!(!RUNTIME_13.functions().contains("cudaStreamGetCaptureInfo_v2"));
    }
}
