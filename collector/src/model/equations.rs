//! The paper's equations 1 to 7 and the counts behind its tables, with the paper's conventions.
//!
//! "Characterizing Communication Patterns in Distributed Large Language Model Inference" (Xu, Suresh,
//! Anthony, Alnaasan, Panda). The symbols are those of its Table I. What the conventions are:
//!
//! - volumes are bytes of bus traffic: an all-reduce counts 2(d-1)/d of its message, an all-gather
//!   (d-1)/d of its result, a gather and a point-to-point transfer count their message once;
//! - an all-reduce is counted once per group, in equation 4 for the first pipeline stage alone;
//! - the gather of the logits counts one rank's slice, not those of all t-1 senders;
//! - point-to-point traffic and all-gathers are summed over the p-1 boundaries, the former for one
//!   tensor-parallel rank;
//! - a prompt takes one step, and so does each further token: Sp+Sd-1 rows in all.
//!
//! What an engine really does is in `schedule`; `docs/model.md` says where the two differ.

use super::Model;
use nccltap_proto::Operation;

/// The symbols of Table I.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbols {
    /// Hidden size.
    pub h: u64,
    /// Number of transformer layers.
    pub l: u64,
    /// Bytes per element.
    pub b: u64,
    /// Vocabulary size.
    pub v: u64,
    /// Tensor-parallel size.
    pub t: u64,
    /// Pipeline-parallel size.
    pub p: u64,
    /// Prefill (prompt) tokens.
    pub sp: u64,
    /// Decode (generated) tokens.
    pub sd: u64,
}

impl Symbols {
    /// The symbols for one request to `model`.
    pub fn new(model: &Model, t: u64, p: u64, sp: u64, sd: u64) -> Self {
        let (h, l, v) = (model.hidden_size, model.layers, model.vocab_size);
        Self { h, l, b: model.activations.size(), v, t, p, sp, sd }
    }

    /// Sp + Sd - 1: rows that pass through the model.
    fn rows(&self) -> f64 {
        (self.sp + self.sd - 1) as f64
    }

    /// Bytes of the hidden states of all rows.
    fn hidden_bytes(&self) -> f64 {
        self.rows() * (self.h * self.b) as f64
    }

    /// 2(t-1)/t: what an all-reduce of t ranks sends of its message.
    fn all_reduce_factor(&self) -> f64 {
        2.0 * (self.t - 1) as f64 / self.t as f64
    }
}

/// Volumes in bytes, by operation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Volumes {
    /// Equation 4, and the first term of equation 1.
    pub all_reduce: f64,
    /// Equation 5.
    pub all_gather: f64,
    /// Equation 6, and the second term of equation 1.
    pub gather: f64,
    /// Equation 7, and equation 2.
    pub point_to_point: f64,
}

impl Volumes {
    /// Equation 3: V = V_allreduce + V_allgather + V_gather + V_p2p.
    pub fn total(&self) -> f64 {
        self.all_reduce + self.all_gather + self.gather + self.point_to_point
    }
}

/// Equation 1, pure tensor parallelism: (2L+1)(Sp+Sd-1) h b x 2(t-1)/t + Sd (v/t) b.
pub fn tensor_parallel(s: &Symbols) -> Volumes {
    let all_reduces = (2 * s.l + 1) as f64;
    Volumes {
        all_reduce: all_reduces * s.hidden_bytes() * s.all_reduce_factor(),
        gather: gather(s),
        ..Volumes::default()
    }
}

/// Equation 2, pure pipeline parallelism: (p-1) x 2 x (Sp+Sd-1) h b.
pub fn pipeline_parallel(s: &Symbols) -> Volumes {
    let point_to_point = (s.p - 1) as f64 * 2.0 * s.hidden_bytes();
    Volumes { point_to_point, ..Volumes::default() }
}

/// Equations 3 to 7, tensor parallelism inside pipeline stages.
pub fn hybrid(s: &Symbols) -> Volumes {
    Volumes {
        all_reduce: all_reduce(s),
        all_gather: all_gather(s),
        gather: gather(s),
        point_to_point: point_to_point(s),
    }
}

/// Equation 4: (2L/p)(Sp+Sd-1) h b x 2(t-1)/t, and on the first stage one more per step for the
/// embedding, which is what is given here.
pub fn all_reduce(s: &Symbols) -> f64 {
    let all_reduces = 2.0 * s.l as f64 / s.p as f64 + 1.0;
    all_reduces * s.hidden_bytes() * s.all_reduce_factor()
}

/// Equation 5: 2(p-1)(Sp+Sd-1) h b x (t-1)/t.
pub fn all_gather(s: &Symbols) -> f64 {
    2.0 * (s.p - 1) as f64 * s.hidden_bytes() * (s.t - 1) as f64 / s.t as f64
}

/// Equation 6: Sd (v/t) b.
pub fn gather(s: &Symbols) -> f64 {
    s.sd as f64 * s.v as f64 / s.t as f64 * s.b as f64
}

/// Equation 7: (p-1) x 2 x (Sp+Sd-1) (h/t) b.
pub fn point_to_point(s: &Symbols) -> f64 {
    (s.p - 1) as f64 * 2.0 * s.hidden_bytes() / s.t as f64
}

/// The equation that the paper uses for a layout: 1 when there is one stage, 2 when there is no
/// tensor parallelism, 3 otherwise. One rank alone sends nothing.
pub fn volumes(s: &Symbols) -> Volumes {
    match (s.t, s.p) {
        (1, 1) => Volumes::default(),
        (_, 1) => tensor_parallel(s),
        (1, _) => pipeline_parallel(s),
        _ => hybrid(s),
    }
}

/// One row of the Tables III, V and VI: an operation, how often, and of which shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRow {
    /// Prefill, or decode.
    pub prefill: bool,
    /// `Send` stands for `Send` and `Recv`, which occur alike.
    pub operation: Operation,
    /// How often, over the phase: all-reduces and gathers of one rank of the first and the last
    /// stage; all-gathers and transfers over all boundaries.
    pub count: u64,
    /// Dimensions; those of an all-gather are of its result.
    pub shape: Vec<u64>,
}

/// The rows that the paper's tables have for a layout: Table III when p = 1, Table V when t = 1,
/// Table VI otherwise.
pub fn table(s: &Symbols) -> Vec<TableRow> {
    let mut rows = Vec::new();
    for prefill in [true, false] {
        let (steps, tokens) = if prefill { (1, s.sp) } else { (s.sd - 1, 1) };
        let mut row = |operation, per_step: u64, shape| {
            rows.push(TableRow { prefill, operation, count: per_step * steps, shape });
        };
        if s.t > 1 {
            row(Operation::AllReduce, 2 * s.l / s.p + 1, vec![tokens, s.h]);
            row(Operation::Gather, 1, vec![s.v / s.t]);
        }
        if s.t > 1 && s.p > 1 {
            row(Operation::AllGather, 2 * (s.p - 1), vec![tokens, s.h]);
        }
        if s.p > 1 {
            row(Operation::Send, 2 * (s.p - 1), vec![tokens, s.h / s.t]);
        }
    }
    rows
}

#[cfg(test)]
#[path = "equations_tests.rs"]
mod tests;
