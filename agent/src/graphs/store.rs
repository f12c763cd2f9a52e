//! The manifests of this process, as they stand in the ring file: each once.

use super::executables::Holds;
use super::manifest::Manifest;
use crate::faults::{self, Fault};
use crate::mapping::RingFile;
use nccltap_proto::ringfile::{MANIFEST_OPERATIONS, MANIFESTS, ManifestEntry, ManifestOperation};
use std::collections::HashMap;

/// What stands in the ring file, so that graphs which carry out the same share one manifest.
#[derive(Default)]
pub(super) struct Store {
    numbers: HashMap<(Vec<ManifestOperation>, bool), u16>,
    operations: usize,
}

impl Store {
    /// The number of a manifest, which is described by then. Where it cannot be, a launch is told to
    /// carry out what is not known.
    pub(super) fn enter(
        &mut self,
        file: &RingFile,
        manifest: &Manifest,
        device_launch: bool,
    ) -> Holds {
        if !manifest.is_complete() {
            faults::count(Fault::TooManyManifests);
            return Holds::Unknown;
        }
        if manifest.is_empty() {
            return Holds::Nothing;
        }
        let key = (manifest.entries(), device_launch);
        if let Some(number) = self.numbers.get(&key) {
            return Holds::Manifest(*number);
        }
        let (index, operations) = (self.numbers.len(), &key.0);
        let entry = ManifestEntry {
            first: self.operations as u32,
            operations: operations.len() as u32,
            device_launch: u32::from(device_launch),
            ready: 1,
        };
        let room = index < MANIFESTS
            && self.operations + operations.len() <= MANIFEST_OPERATIONS
            && file.write_manifest(index, entry, operations);
        if !room {
            faults::count(Fault::TooManyManifests);
            return Holds::Unknown;
        }
        file.publish_manifests(index as u32 + 1);
        self.operations += operations.len();
        let number = index as u16 + 1;
        self.numbers.insert(key, number);
        Holds::Manifest(number)
    }
}
