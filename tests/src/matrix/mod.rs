//! Unmodified engines on simulated GPUs, row by row: does the tap's report equal the simulator's
//! own account, call by call? And is that account what was to be expected?
//!
//! - [`rows`]: what is run;
//! - [`run`](mod@run): runs a row under `nccltap rehearse`;
//! - [`verdict`]: what came of it;
//! - [`observed`]: the simulator's account as the rows of a report;
//! - [`prediction`]: that account against `nccltap check`;
//! - [`stopped`]: ranks that wait for one that is stopped;
//! - [`paper`]: the tables of the paper, cell by cell;
//! - [`table`]: verdicts as a table.

pub mod observed;
pub mod paper;
pub mod prediction;
pub mod rows;
pub mod run;
pub mod stopped;
pub mod table;
pub mod verdict;
