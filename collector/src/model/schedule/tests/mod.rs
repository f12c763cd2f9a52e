//! What must hold of every schedule.

mod engines;
mod paper;
mod properties;

use super::*;
use crate::model::presets::preset;
use crate::model::{Engine, Prediction, Row, Settings, equations};
use crate::outputs::rows::View;

fn deployment(model: &str, tensor: u32, pipeline: u32, settings: Settings) -> Deployment {
    Deployment::new(preset(model).unwrap(), Layout::new(tensor, pipeline), settings).unwrap()
}

fn request(prompt: u64, output: u64) -> Request {
    Request { prompt, output, cached: 0, arrives: 0 }
}

fn predict(deployment: Deployment, requests: &[Request]) -> Prediction {
    Prediction::of_requests(deployment, requests).unwrap()
}

/// The paper's request, in its setting.
fn paper(model: &str, tensor: u32, pipeline: u32) -> Prediction {
    predict(deployment(model, tensor, pipeline, Settings::PAPER), &[request(128, 128)])
}

/// Rows of one collective after start-up, as (stage, phase, shape, count).
fn rows(prediction: &Prediction, collective: &str) -> Vec<(u32, &'static str, Vec<u64>, u64)> {
    let of = |row: &Row| row.collective == collective && row.phase != "startup";
    let rows = prediction.rows(View::Collectives).into_iter().filter(of);
    rows.map(|row| (row.stage, row.phase, row.shape, row.count)).collect()
}

/// The traffic that the paper counts: all but what V0 tells its ranks about a step.
fn of_the_paper(call: &Call) -> bool {
    call.operation != Operation::Broadcast
}

/// The bus bytes that equations 1 to 7 count: one rank of each group, gathers once.
fn as_the_equations_count(prediction: &Prediction) -> f64 {
    prediction
        .rows(View::Collectives)
        .iter()
        .filter(|row| row.phase != "startup")
        .filter(|row| match row.collective {
            "AllReduce" => row.stage == 0,
            "Broadcast" | "Recv" => false,
            _ => true,
        })
        .map(|row| row.bus_bytes as f64)
        .sum()
}
