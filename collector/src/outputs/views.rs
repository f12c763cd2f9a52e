//! What a report tells, and as what it is printed: one list for the command and for HTTP.

use super::processes::overview;
use super::report::{Report, render, summary::summary};
use super::rows::{Row, View, json, rows};
use super::text;
use crate::collector::Collector;
use serde::{Deserialize, Serialize};

/// What rows are printed as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Tables for people.
    #[default]
    Text,
    /// Rows for programs.
    Json,
}

impl Format {
    /// The name in commands and addresses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// What a report is printed as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum PageFormat {
    /// Tables for people.
    #[default]
    Text,
    /// The same for programs.
    Json,
    /// One page with tables and plots, that needs nothing else.
    Html,
}

impl PageFormat {
    /// The name in commands and addresses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Html => "html",
        }
    }

    /// The media type, for HTTP.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=utf-8",
            Self::Json => "application/json",
            Self::Html => "text/html; charset=utf-8",
        }
    }
}

/// What a report tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ReportView {
    /// What NCCL was told, row by row.
    #[default]
    Operations,
    /// The collectives that this amounts to, row by row.
    Collectives,
    /// Sums over ranks, the tables of the paper, sizes, peers.
    Summary,
    /// Who is tapped, process by process: where its calls have gone, its engine steps.
    Processes,
}

impl ReportView {
    /// The name in commands and addresses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Operations => View::Operations.name(),
            Self::Collectives => View::Collectives.name(),
            Self::Summary => "summary",
            Self::Processes => "processes",
        }
    }
}

/// What `collector` has counted, in the view and the format that are asked for.
pub fn told(
    collector: &Collector,
    source: String,
    view: ReportView,
    format: PageFormat,
) -> serde_json::Result<String> {
    let of_rows = |view: View| {
        let rows: Vec<Row> = rows(collector, view);
        match format {
            PageFormat::Json => json(&rows),
            PageFormat::Text | PageFormat::Html => {
                Ok(text::report(&rows, &overview(collector), view))
            }
        }
    };
    match view {
        ReportView::Operations => of_rows(View::Operations),
        ReportView::Collectives => of_rows(View::Collectives),
        ReportView::Summary => render(
            &Report { source, summary: summary(collector), compared: None, serving: None },
            format,
        ),
        ReportView::Processes => match format {
            PageFormat::Json => {
                serde_json::to_string_pretty(&overview(collector)).map(|text| text + "\n")
            }
            PageFormat::Text | PageFormat::Html => Ok(text::processes(&overview(collector))),
        },
    }
}
