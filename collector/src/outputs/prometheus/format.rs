//! The formats in which metrics are exposed, and which of them a client wants.

use super::table::{Kind, Metric};

/// A format that Prometheus reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The text format 0.0.4, which everything reads that reads metrics at all.
    Text,
    /// OpenMetrics 1.0.0: the text format with units and a last line.
    OpenMetrics,
    /// Prometheus' own protobuf format, the only one with native histograms.
    Protobuf,
}

/// What is preferred where the client likes several equally.
const PREFERRED: [Format; 3] = [Format::Protobuf, Format::OpenMetrics, Format::Text];

impl Format {
    /// The media type of an answer.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    /// The format that a client with this `Accept` header is given: of those with the highest quality the
    /// preferred one, and text where nothing is asked for that there is.
    pub fn wanted(accept: &str) -> Self {
        let quality = |format: Self| {
            accept.split(',').filter_map(|range| format.quality(range)).max().unwrap_or(0)
        };
        let mut best = (Self::Text, 0);
        for (format, quality) in PREFERRED.map(|format| (format, quality(format))) {
            if quality > best.1 {
                best = (format, quality);
            }
        }
        best.0
    }

    /// How much a media range of an `Accept` header wants this format, in thousandths; `None` when it is of
    /// another one.
    fn quality(self, range: &str) -> Option<u32> {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next()?.to_ascii_lowercase();
        let parameters: Vec<(String, &str)> = parts
            .filter_map(|part| part.split_once('='))
            .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"')))
            .collect();
        let is = |name: &str, value: &str| {
            parameters.iter().find(|(known, _)| known == name).is_none_or(|(_, of)| *of == value)
        };
        let mine = match self {
            Self::Text => {
                matches!(media.as_str(), "text/plain" | "text/*" | "*/*") && is("version", "0.0.4")
            }
            // 0.0.1 is what Prometheus calls the draft that became 1.0.0.
            Self::OpenMetrics => {
                media == "application/openmetrics-text"
                    && (is("version", "1.0.0") || is("version", "0.0.1"))
            }
            Self::Protobuf => {
                media == "application/vnd.google.protobuf"
                    && is("proto", "io.prometheus.client.MetricFamily")
                    && is("encoding", "delimited")
            }
        };
        if !mine {
            return None;
        }
        let quality = parameters.iter().find(|(name, _)| name == "q");
        let quality = quality.map_or(Some(1.0), |(_, value)| value.parse::<f32>().ok())?;
        Some((quality.clamp(0.0, 1.0) * 1000.0) as u32)
    }
}

/// OpenMetrics as the text format 0.0.4: a counter's family has the name of its samples, and there is neither a
/// unit nor a last line.
pub(super) fn plain(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines() {
        let about = line.strip_prefix("# ").and_then(|rest| {
            let mut words = rest.splitn(3, ' ');
            Some((words.next()?, words.next().unwrap_or(""), words.next().unwrap_or("")))
        });
        match about {
            None => text.push_str(line),
            Some(("HELP" | "TYPE", name, rest)) => {
                let keyword = &line[..6];
                let is_counter = Metric::ALL
                    .iter()
                    .any(|metric| metric.kind() == Kind::Counter && metric.name() == name);
                let total = if is_counter { "_total" } else { "" };
                text.extend([keyword, " ", name, total, " ", rest]);
            }
            Some(_) => continue,
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_gets_the_format_it_wants_most() {
        // What Prometheus 2.42 sends, without native histograms and with them.
        let usual = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let native = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        // What Prometheus 3 sends.
        let third = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        for (accept, format) in [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/plain", Format::Text),
            (browser, Format::Text),
            (usual, Format::OpenMetrics),
            (native, Format::Protobuf),
            (third, Format::OpenMetrics),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("application/openmetrics-text; version=2.0.0, text/plain;q=0.1", Format::Text),
            ("application/openmetrics-text;q=0, text/plain", Format::Text),
            ("application/vnd.google.protobuf; proto=other; encoding=delimited", Format::Text),
            ("text/plain;q=0.9, application/openmetrics-text;q=0.9", Format::OpenMetrics),
            ("nonsense;;=,;q=x", Format::Text),
        ] {
            assert_eq!(Format::wanted(accept), format, "{accept}");
        }
    }

    #[test]
    fn the_text_format_names_the_family_of_a_counter_as_its_samples() {
        let openmetrics = "# HELP nccltap_operations Operations. Of \"NCCL\".\n\
             # TYPE nccltap_operations counter\n\
             nccltap_operations_total{op=\"Send\"} 3\n\
             # HELP nccltap_recording_bytes Length.\n\
             # TYPE nccltap_recording_bytes gauge\n\
             # UNIT nccltap_recording_bytes bytes\n\
             nccltap_recording_bytes 7\n\
             # EOF\n";
        let text = "# HELP nccltap_operations_total Operations. Of \"NCCL\".\n\
             # TYPE nccltap_operations_total counter\n\
             nccltap_operations_total{op=\"Send\"} 3\n\
             # HELP nccltap_recording_bytes Length.\n\
             # TYPE nccltap_recording_bytes gauge\n\
             nccltap_recording_bytes 7\n";
        assert_eq!(plain(openmetrics), text);
    }
}
