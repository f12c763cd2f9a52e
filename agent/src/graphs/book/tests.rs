//! What a book says of graphs, captures and executables.

use super::super::manifest::tests::all_reduce;
use super::*;

const STREAM: u64 = 0x5;

/// Captures these counts into `graph`.
fn capture(book: &mut Book, id: Capture, graph: Graph, counts: &[u64]) {
    let origin = Origin { capture: id, replaces: None };
    book.begin(STREAM, origin).unwrap();
    for count in counts {
        book.captured(id, all_reduce(*count), 0).unwrap();
    }
    let origin = book.take_origin(STREAM).unwrap();
    book.end(origin, Some(graph)).unwrap();
}

/// What an executable holds once one of its nodes has been given another graph.
fn set(book: &mut Book, executable: Executable, node: Node, child: Graph) -> Manifest {
    match book.set_child(executable, node, child) {
        Set::Holds(manifest) => manifest,
        Set::Unknown { .. } => panic!("the node is known"),
    }
}

/// Count, times and conditional of each entry.
fn held(manifest: &Manifest) -> Vec<(u64, u32, bool)> {
    assert!(manifest.is_complete());
    manifest.entries().iter().map(|e| (e.count, e.times, e.conditional != 0)).collect()
}

#[test]
fn an_executable_holds_what_its_graph_held_when_it_was_made() {
    let mut book = Book::default();
    capture(&mut book, 1, 10, &[8, 8, 16]);
    assert_eq!(held(&book.instantiate(20, 10)), [(8, 2, false), (16, 1, false)]);
    book.destroy(10);
    // The handle is another graph's now, and that holds nothing.
    assert!(book.instantiate(21, 10).is_empty());
}

#[test]
fn a_capture_that_fails_leaves_nothing() {
    let mut book = Book::default();
    let origin = Origin { capture: 1, replaces: None };
    book.begin(STREAM, origin).unwrap();
    book.captured(1, all_reduce(8), 0).unwrap();
    let origin = book.take_origin(STREAM).unwrap();
    book.end(origin, None).unwrap();
    capture(&mut book, 2, 10, &[4]);
    assert_eq!(held(&book.instantiate(20, 10)), [(4, 1, false)]);
    assert_eq!(book.captures.len() + book.origins.len(), 0);
}

#[test]
fn captures_of_several_threads_do_not_mix() {
    let mut book = Book::default();
    book.begin(1, Origin { capture: 1, replaces: None }).unwrap();
    book.begin(2, Origin { capture: 2, replaces: None }).unwrap();
    for (id, count) in [(1, 8), (2, 16), (1, 8)] {
        book.captured(id, all_reduce(count), 0).unwrap();
    }
    for (stream, graph) in [(2, 11), (1, 10)] {
        let origin = book.take_origin(stream).unwrap();
        book.end(origin, Some(graph)).unwrap();
    }
    assert_eq!(held(&book.instantiate(20, 10)), [(8, 2, false)]);
    assert_eq!(held(&book.instantiate(21, 11)), [(16, 1, false)]);
}

#[test]
fn a_group_becomes_part_of_its_captures_when_it_is_launched() {
    let mut book = Book::default();
    for (capture, group) in [(1, 7), (2, 7), (1, 8)] {
        book.captured(capture, all_reduce(8), group).unwrap();
    }
    book.captured(1, all_reduce(9), 7).unwrap();
    book.group_ended(7, true).unwrap();
    book.group_ended(8, false).unwrap();
    for capture in [1, 2] {
        book.end(Origin { capture, replaces: None }, Some(capture + 10)).unwrap();
    }
    let one = book.instantiate(20, 11).entries();
    assert_eq!(one.iter().map(|e| (e.count, e.group)).collect::<Vec<_>>(), [(8, 1), (9, 1)]);
    assert_eq!(held(&book.instantiate(21, 12)), [(8, 1, false)]);
}

#[test]
fn a_child_counts_as_often_as_it_is_a_node_and_as_it_stood_then() {
    let mut book = Book::default();
    capture(&mut book, 1, 10, &[8]);
    capture(&mut book, 2, 11, &[3]);
    book.add_copy(10, 100, 11).unwrap();
    book.add_copy(10, 101, 11).unwrap();
    capture(&mut book, 3, 11, &[5]);
    assert_eq!(held(&book.instantiate(20, 10)), [(8, 1, false), (3, 2, false)]);
    book.destroy_node(100);
    assert_eq!(held(&book.instantiate(20, 10)), [(8, 1, false), (3, 1, false)]);
    assert_eq!(held(&set(&mut book, 20, 101, 11)), [(8, 1, false), (3, 1, false), (5, 1, false)]);
    assert!(matches!(book.set_child(20, 999, 11), Set::Unknown { child_is_empty: false }));
    assert!(matches!(book.set_child(20, 999, 77), Set::Unknown { child_is_empty: true }));
}

#[test]
fn what_a_condition_holds_is_told_apart_and_may_come_later() {
    let mut book = Book::default();
    capture(&mut book, 1, 10, &[8]);
    book.add_condition(10, 100, vec![50, 51]).unwrap();
    capture(&mut book, 2, 50, &[4, 4]);
    capture(&mut book, 3, 51, &[2]);
    let all = [(8, 1, false), (4, 2, true), (2, 1, true)];
    assert_eq!(held(&book.instantiate(20, 10)), all);
    book.clone_graph(12, 10).unwrap();
    book.destroy(10);
    assert_eq!(held(&book.instantiate(21, 12)), all);
    assert!(book.instantiate(22, 50).is_empty(), "the bodies ended with their graph");
}

#[test]
fn a_capture_into_a_graph_adds_and_one_that_replaces_replaces() {
    let mut book = Book::default();
    capture(&mut book, 1, 10, &[8]);
    capture(&mut book, 2, 10, &[4]);
    assert_eq!(held(&book.instantiate(20, 10)), [(8, 1, false), (4, 1, false)]);
    book.captured(3, all_reduce(2), 0).unwrap();
    book.end(Origin { capture: 3, replaces: Some(10) }, Some(10)).unwrap();
    assert_eq!(held(&book.instantiate(20, 10)), [(2, 1, false)]);
}

#[test]
fn a_graph_launched_into_a_capture_is_part_of_it() {
    let mut book = Book::default();
    capture(&mut book, 1, 10, &[8]);
    let manifest = book.instantiate(20, 10);
    book.launched_into(2, Some(&manifest)).unwrap();
    book.launched_into(2, Some(&manifest)).unwrap();
    book.end(Origin { capture: 2, replaces: None }, Some(11)).unwrap();
    assert_eq!(held(&book.instantiate(21, 11)), [(8, 2, false)]);
    book.launched_into(3, None).unwrap();
    book.end(Origin { capture: 3, replaces: None }, Some(12)).unwrap();
    assert!(!book.instantiate(22, 12).is_complete());
}

#[test]
fn graphs_that_hold_each_other_come_to_an_end() {
    let mut book = Book::default();
    book.add_owned(10, 100, 11).unwrap();
    book.add_owned(11, 101, 10).unwrap();
    assert!(!book.instantiate(20, 10).is_complete());
    book.destroy(10);
    assert!(book.graphs.is_empty());
}

#[test]
fn once_something_had_no_room_an_unknown_graph_is_not_called_empty() {
    let mut book = Book::default();
    for graph in 0..MOST as u64 {
        capture(&mut book, graph, graph, &[1]);
    }
    book.captured(1, all_reduce(8), 0).unwrap();
    assert_eq!(book.end(Origin { capture: 1, replaces: None }, Some(u64::MAX)), Err(Full));
    assert!(!book.instantiate(1, u64::MAX).is_complete());
    assert!(book.instantiate(1, 5).is_complete());
}

#[test]
fn a_node_of_a_clone_is_known_once_somebody_has_asked_for_it() {
    let mut book = Book::default();
    capture(&mut book, 1, 10, &[8]);
    capture(&mut book, 2, 11, &[16]);
    capture(&mut book, 3, 12, &[]);
    book.add_copy(12, 100, 10).unwrap();
    for (clone, executable) in [(13, 20), (14, 21)] {
        book.clone_graph(clone, 12).unwrap();
        assert_eq!(held(&book.instantiate(executable, clone)), [(8, 1, false)]);
    }
    // The executable was made before, and its node is the clone's.
    assert!(matches!(book.set_child(20, 200, 11), Set::Unknown { .. }));
    book.found_in_clone(13, 200, 100).unwrap();
    assert_eq!(held(&set(&mut book, 20, 200, 11)), [(16, 1, false)]);
    // The other clone's node is another one, and so is the original.
    assert!(book.set_copy(200, 11));
    assert_eq!(held(&book.instantiate(22, 13)), [(16, 1, false)]);
    assert_eq!(held(&book.instantiate(23, 14)), [(8, 1, false)]);
    assert_eq!(held(&book.instantiate(24, 12)), [(8, 1, false)]);
    book.destroy_node(200);
    assert!(book.instantiate(25, 13).is_empty());
}

#[test]
fn a_node_of_a_graph_holds_what_it_was_given_last() {
    let mut book = Book::default();
    capture(&mut book, 1, 10, &[8, 8]);
    capture(&mut book, 2, 11, &[16]);
    book.add_copy(12, 100, 10).unwrap();
    assert!(book.set_copy(100, 11));
    assert_eq!(held(&book.instantiate(20, 12)), [(16, 1, false)]);
    assert!(book.set_owned(100, 10));
    assert_eq!(held(&book.instantiate(20, 12)), [(8, 2, false)]);
    // The graph belonged to the node, and is gone with what it was before.
    assert!(book.set_copy(100, 11));
    assert!(book.instantiate(21, 10).is_empty());
    // In a graph that nobody knows it matters only when something comes in.
    assert!(!book.set_copy(999, 11));
    assert!(book.set_copy(999, 77));
}

#[test]
fn a_graph_inside_a_node_counts_as_it_stands_once_somebody_can_change_it() {
    let mut book = Book::default();
    capture(&mut book, 1, 10, &[8]);
    book.add_copy(12, 100, 10).unwrap();
    book.open(100, 13).unwrap();
    assert_eq!(held(&book.instantiate(20, 12)), [(8, 1, false)]);
    capture(&mut book, 2, 13, &[16]);
    assert_eq!(held(&book.instantiate(20, 12)), [(8, 1, false), (16, 1, false)]);
    // To ask again changes nothing.
    book.open(100, 13).unwrap();
    assert_eq!(held(&book.instantiate(20, 12)), [(8, 1, false), (16, 1, false)]);
    // The graph that was put in has not changed.
    assert_eq!(held(&book.instantiate(21, 10)), [(8, 1, false)]);
}
