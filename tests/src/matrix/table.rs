//! Verdicts as a table, and its place in the documentation.

use super::verdict::Verdict;
use std::fmt::Write;

const BEGIN: &str = "<!-- matrix -->\n";
const END: &str = "<!-- end of matrix -->\n";

/// A table in Markdown.
pub fn markdown(verdicts: &[Verdict]) -> String {
    let mut text = "| row | report against simulator | as predicted | operations | processes | \
                    communicators | time | resident |\n\
                    | --- | --- | --- | ---: | ---: | ---: | ---: | ---: |\n"
        .to_owned();
    for verdict in verdicts {
        let Verdict { row, seconds, resident, operations, processes, communicators, .. } = verdict;
        let outcome = match verdict.differences.lines().next() {
            None => "equal",
            Some(first) => first,
        };
        let _ = writeln!(
            text,
            "| {row} | {outcome} | {} | {operations} | {processes} | {communicators} | {seconds} s | \
             {resident} |",
            verdict.prediction_in_words()
        );
    }
    text
}

/// A document with its table replaced, or `None` when it has no place for one.
pub fn replaced(document: &str, table: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{table}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_takes_the_place_of_the_old_one() {
        let document = format!("above\n{BEGIN}old\n{END}below\n");
        let expected = format!("above\n{BEGIN}new\n{END}below\n");
        assert_eq!(replaced(&document, "new\n").as_deref(), Some(expected.as_str()));
        assert_eq!(replaced("nothing", "new\n"), None);
    }

    #[test]
    fn a_row_that_differs_says_how() {
        let verdict = Verdict::failed("r".to_owned(), 3, "no\nmore".to_owned());
        assert!(markdown(&[verdict]).ends_with("| r | no |  | 0 | 0 | 0 | 3 s |  |\n"));
    }
}
