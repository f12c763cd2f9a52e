//! What people and programs get to see of the counts.
//!
//! - [`rows`]: the rows that scripts rely on, in both views;
//! - [`processes`]: who is tapped, and where each process' calls have gone;
//! - [`backends`]: what engines say of their all-reduces, beside what was seen;
//! - [`text`]: all of it for people;
//! - [`report`][]: summary, tables of the paper and plots, in text, JSON and one HTML page;
//! - [`prediction`]: what should be seen, and [`comparison`]: what was, against it;
//! - [`advice`]: which layout to take;
//! - [`prometheus`][]: metrics;
//! - [`views`]: what a report tells, and as what it is printed;
//! - [`live`][]: what changes, twice a second, for the page and for `nccltap top`;
//! - [`web`][]: the page that shows it, and [`top`][], which shows it in a terminal;
//! - [`export`]: single operations, as Parquet or as a trace;
//! - [`otlp`]: the same metrics, pushed;
//! - [`http`]: all of it by HTTP.

pub mod advice;
pub mod backends;
pub mod comparison;
pub mod export;
pub mod http;
pub mod live;
pub mod otlp;
pub mod prediction;
pub mod processes;
pub mod prometheus;
pub mod report;
pub mod rows;
pub mod text;
pub mod top;
pub mod views;
pub mod web;
