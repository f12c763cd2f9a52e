//! Which paths are seen, and by which doors.

use super::view::{Coverage, LibrarySeen, PathSeen};
use super::{NAMES, Scene, traffic};
use crate::outputs::processes::LaunchesView;
use crate::outputs::report::paths::sentences;
use crate::steps::Phase;
use std::collections::BTreeMap;

pub(super) fn coverage(scene: &Scene<'_>) -> Coverage {
    let mut paths: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
    let mut launches = LaunchesView::default();
    let (mut unknown, mut serving) = (0u64, 0u64);
    let (mut engine_workers, mut marked_workers) = (0, 0);
    for seen in &scene.seen {
        let look = seen.look;
        for (path, launch, count, more) in traffic::by_path(seen) {
            let sums = paths.entry((path, launch)).or_default();
            sums.0 = sums.0.saturating_add(count);
            sums.1 = sums.1.saturating_add(more);
        }
        launches.with_operations += look.launches.with_operations;
        launches.without += look.launches.without;
        launches.unknown += look.launches.unknown;
        launches.captured += look.launches.captured;
        launches.manifests += look.manifests;
        marked_workers += u32::from(look.marked);
        if look.worker.is_engine {
            engine_workers += 1;
            for (phase, count) in traffic::done(look).by_phase() {
                serving += if phase == Phase::Startup { 0 } else { count };
                unknown += if phase == Phase::Unknown { count } else { 0 };
            }
        }
    }
    let paths = paths.into_iter().map(|((path, launch), (operations, more))| PathSeen {
        path: path.to_owned(),
        launch: launch.to_owned(),
        operations,
        rate: scene.rate(more.into()),
    });
    let mut libraries = libraries(scene);
    let libraries_left_out = libraries.len().saturating_sub(NAMES) as u64;
    libraries.truncate(NAMES);
    Coverage {
        paths: paths.collect(),
        ways: sentences(&traffic::ways(scene), None),
        libraries,
        libraries_left_out,
        launches,
        engine_workers,
        marked_workers,
        unknown_share: (serving > 0).then(|| unknown as f64 / serving as f64),
    }
}

/// Copies of one file are one, with the most functions that any of them is reached by.
fn libraries(scene: &Scene<'_>) -> Vec<LibrarySeen> {
    let mut all: BTreeMap<(nccltap_proto::Library, &str, u32), (u32, u32, u32)> = BTreeMap::new();
    for library in scene.seen.iter().flat_map(|seen| &seen.look.libraries) {
        let file = library.path.rsplit('/').next().unwrap_or_default();
        let sums = all.entry((library.kind, file, library.version)).or_default();
        *sums = (sums.0 + 1, sums.1.max(library.plt), sums.2.max(library.dlsym));
    }
    let seen =
        all.into_iter().map(|((kind, file, version), (processes, plt, dlsym))| LibrarySeen {
            kind: kind.name().to_owned(),
            file: file.to_owned(),
            version: (version != 0).then_some(version),
            processes,
            plt,
            dlsym,
        });
    seen.collect()
}
