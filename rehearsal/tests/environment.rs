//! The table of the simulator's environment in the README is the one in the sources.
#![allow(missing_docs)]

/// The rows of `common/environment.h`, as the README writes them.
fn rows(header: &str) -> Vec<String> {
    let (_, table) = header.split_once("#define FOR_EACH_SETTING(X)").unwrap();
    let (table, _) = table.split_once("#define SETTING_NUMBER").unwrap();
    let entries = table.split("X(").skip(1);
    entries
        .map(|entry| {
            let texts: Vec<_> = entry.split('"').skip(1).step_by(2).collect();
            let [suffix, unset, meaning] = texts.as_slice() else { panic!("not a row: {entry}") };
            format!("| `NCCLTAP_REHEARSAL{suffix}` | {unset} | {meaning} |")
        })
        .collect()
}

#[test]
fn every_variable_of_the_simulator_stands_in_the_readme_and_no_other() {
    let expected = rows(include_str!("../common/environment.h"));
    assert!(expected.len() > 10, "{expected:?}");
    let readme = include_str!("../README.md");
    let found: Vec<_> =
        readme.lines().filter(|line| line.starts_with("| `NCCLTAP_REHEARSAL")).collect();
    assert_eq!(found, expected);
}
