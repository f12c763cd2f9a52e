//! The Prometheus text format, as far as samples go.
//!
//! Own code, since no crate fits: `prometheus-parse` takes no colon in a name, and every name of vLLM has one;
//! `openmetrics-parser` is under the LGPL.

use std::borrow::Cow;

/// Labels, each with its value.
pub type Labels<'a> = Vec<(&'a str, Cow<'a, str>)>;

/// One sample: `name{label="value",...} value`, a timestamp left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'a> {
    /// The metric, `_bucket`, `_sum`, `_count` and `_total` included.
    pub name: &'a str,
    /// Labels in their order.
    pub labels: Labels<'a>,
    /// The value.
    pub value: f64,
}

impl Sample<'_> {
    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| *label == name).map(|(_, value)| &**value)
    }
}

/// The samples of an exposition. Comments, and lines that are no samples, are left out.
pub fn samples(text: &str) -> impl Iterator<Item = Sample<'_>> {
    text.lines().filter_map(sample)
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let line = line.trim();
    let (name, rest) = split_name(line)?;
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name, labels, value })
}

/// A name of a metric or a label, and what follows it.
fn split_name(text: &str) -> Option<(&str, &str)> {
    let part_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    let end = text.find(|c| !part_of_name(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end)?;
    (!name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit())).then_some((name, rest))
}

/// Labels up to the closing brace, and what follows it.
fn labels(mut text: &str) -> Option<(Labels<'_>, &str)> {
    let mut labels = Vec::new();
    loop {
        text = text.trim_start_matches([' ', ',']);
        if let Some(rest) = text.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, rest) = split_name(text)?;
        let (value, rest) = quoted(rest.trim_start().strip_prefix('=')?.trim_start())?;
        labels.push((name, value));
        text = rest;
    }
}

/// A text in quotes, its escapes resolved, and what follows it.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let text = text.strip_prefix('"')?;
    let mut escaped = false;
    let end = text.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    })?;
    let (value, rest) = text.split_at_checked(end)?;
    Some((unescaped(value), rest.strip_prefix('"')?))
}

fn unescaped(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return Cow::Borrowed(value);
    }
    let mut plain = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(c) = characters.next() {
        match (c, c == '\\') {
            (_, false) => plain.push(c),
            _ => match characters.next() {
                Some('n') => plain.push('\n'),
                Some(other) => plain.push(other),
                None => plain.push('\\'),
            },
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn samples_are_read_and_comments_are_not() {
        let text = "# HELP vllm:x Help.\n# TYPE vllm:x histogram\n\
                    vllm:x_bucket{engine=\"0\",le=\"+Inf\",model_name=\"a, \\\"b\\\" {c}\"} 64.0\n\
                    process_start_time_seconds 1.7e9 1700000000000\n\nnot a sample\n1x 3\nx{a=b} 1\nx{a=\"b} 1\n";
        let all: Vec<_> = samples(text).collect();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].name, all[0].value), ("vllm:x_bucket", 64.0));
        assert_eq!(all[0].label("le"), Some("+Inf"));
        assert_eq!(all[0].label("model_name"), Some("a, \"b\" {c}"));
        assert_eq!((all[1].value, all[1].labels.len()), (1.7e9, 0));
    }

    proptest! {
        #[test]
        fn whatever_a_label_says_it_comes_back(value: String, number: f64) {
            let written = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            prop_assume!(!written.contains(['\r', '\u{85}']));
            let text = format!("name{{label=\"{written}\"}} {number}");
            let all: Vec<_> = samples(&text).collect();
            prop_assert_eq!(all.len(), 1);
            prop_assert_eq!(all[0].label("label"), Some(value.as_str()));
            prop_assert!(all[0].value == number || number.is_nan());
        }

        #[test]
        fn no_text_is_too_strange(text: String) {
            let _ = samples(&text).count();
        }
    }
}
