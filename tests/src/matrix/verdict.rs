//! What came of a row.

use super::prediction::Predicted;
use crate::tally::{Counter, Tally};
use nccltap_rehearsal::counts::Counts;
use nccltap_rehearsal::graphs::Graphs;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What came of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The name of the row.
    pub row: String,
    /// Seconds from start to end of the command, engine start included.
    pub seconds: u64,
    /// The most memory that was resident at one time, as `nccltap rehearse` says it.
    pub resident: String,
    /// Operations that the simulator carried out.
    pub operations: u64,
    /// Processes that made them.
    pub processes: usize,
    /// Communicators that they were made in, over all processes.
    pub communicators: usize,
    /// Every difference between the report and the simulator's account, or why the row did not
    /// come to its end. Empty when all is equal.
    pub differences: String,
    /// The simulator's account beside what was predicted, or why there is no prediction; `None` of a
    /// row that was not compared.
    #[serde(default)]
    pub prediction: Option<Result<Predicted, String>>,
}

impl Verdict {
    /// A row that did not come to its end.
    pub fn failed(row: String, seconds: u64, why: String) -> Self {
        Self {
            row,
            seconds,
            resident: String::new(),
            operations: 0,
            processes: 0,
            communicators: 0,
            differences: why,
            prediction: None,
        }
    }

    /// Holds a report against the simulator's account.
    pub fn of(row: String, seconds: u64, resident: String, report: &Tally, truth: &Tally) -> Self {
        let calls = || truth.0.keys();
        let mut differences = report.differences(truth);
        if truth.total() == 0 {
            differences = "the simulator was asked for nothing".to_owned();
        }
        Self {
            row,
            seconds,
            resident,
            operations: truth.total(),
            processes: calls().map(|call| call.pid).collect::<BTreeSet<_>>().len(),
            communicators: calls()
                .map(|call| (call.pid, call.group))
                .collect::<BTreeSet<_>>()
                .len(),
            differences,
            prediction: None,
        }
    }

    /// With what came of the comparison with the prediction.
    pub fn beside(self, prediction: Result<Predicted, String>) -> Self {
        Self { prediction: Some(prediction), ..self }
    }

    /// The same in a few words.
    pub fn prediction_in_words(&self) -> String {
        match &self.prediction {
            None => String::new(),
            Some(Ok(predicted)) => predicted.to_string(),
            Some(Err(why)) => why.lines().next().unwrap_or_default().to_owned(),
        }
    }

    /// Whether the report was equal to the simulator's account.
    pub fn is_equal(&self) -> bool {
        self.differences.is_empty()
    }

    /// Whether nothing contradicts the prediction, if there is one.
    pub fn is_as_predicted(&self) -> bool {
        !matches!(&self.prediction, Some(Ok(predicted)) if predicted.equal < predicted.kinds)
    }
}

/// What the simulator carried out, by its own account.
pub fn truth(counts: &Counts, cuda: &Graphs) -> Tally {
    let mut tally = Tally::of_simulator(counts, Counter::CarriedOut);
    tally.add_kernels(cuda);
    tally
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Call;

    fn tally(count: u64) -> Tally {
        let mut tally = Tally::default();
        let call = Call {
            pid: 7,
            op: "AllReduce".to_owned(),
            elements: Some(4096),
            path: "nccl".to_owned(),
            dtype: Some("bfloat16".to_owned()),
            peer: None,
            group: Some(1),
            ranks: Some(2),
            rank: Some(0),
            launch: "eager".to_owned(),
        };
        tally.add(call, count);
        tally
    }

    fn verdict(report: u64, truth: u64) -> Verdict {
        Verdict::of("r".to_owned(), 1, String::new(), &tally(report), &tally(truth))
    }

    #[test]
    fn a_report_is_equal_only_when_every_call_is() {
        assert!(verdict(3, 3).is_equal());
        assert!(verdict(2, 3).differences.starts_with("2 against 3: "));
        assert!(verdict(3, 2).differences.starts_with("3 against 2: "));
        assert_eq!(verdict(3, 3).communicators, 1);
    }

    #[test]
    fn a_run_that_asked_for_nothing_is_no_success() {
        assert!(!verdict(0, 0).is_equal());
    }
}
