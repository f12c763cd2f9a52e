//! `nccltap demo`: the whole chain on this machine in seconds.

use super::runtime;
use super::say;
use super::signals::Signals;
use crate::outputs::rows::{Row, View};
use crate::outputs::text::{grouped, size};
use crate::preload::{find_library, uplink_problem};
use crate::private::PrivateCollector;
use anyhow::{Context, bail};
use nccltap_proto::{Datatype, Function};
use nccltap_rehearsal::counts::Counts;
use nccltap_rehearsal::{COUNTS_DIRECTORY, SWITCH};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::io::IsTerminal;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};

/// How often the counts on the screen are renewed.
const REDRAW_EVERY: Duration = Duration::from_millis(200);

/// How often they are printed where there is no screen.
const PRINT_EVERY: Duration = Duration::from_secs(1);

const SETTLE_WITHIN: Duration = Duration::from_secs(10);

/// Shows the whole chain on this machine, in seconds and without a GPU
///
/// Several processes issue the NCCL calls of vLLM serving one request to Llama-3.1-8B, on a
/// simulated NCCL, with the real tap in them and a real collector beside them. At the end the
/// collector's counts are compared with the simulator's own. Exits with 1 when they differ.
#[derive(Debug, clap::Args)]
pub(super) struct Demo {
    /// Tensor-parallel ranks, a process each
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(2..=8))]
    tp: u32,

    /// Tokens of the prompt
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    prompt: u32,

    /// Tokens to generate
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    output: u32,

    /// Milliseconds per generated token; 0 for as fast as possible
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pace: u32,
}

impl Demo {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let library = find_library()?;
        if let Some(problem) = uplink_problem(&library) {
            bail!("{problem}");
        }
        runtime()?.block_on(self.show(&library))
    }

    async fn show(&self, library: &Path) -> anyhow::Result<ExitCode> {
        let own = PrivateCollector::start(None, None).await?;
        let stage = own.directory().join("stage");
        let installed = nccltap_rehearsal::install(&stage)
            .context("the simulated NCCL cannot be written out")?;
        say(&format!(
            "{} processes issue the NCCL calls of Llama-3.1-8B under vLLM, tensor parallel over {} \
             ranks,\n{} prompt and {} generated tokens, on a simulated NCCL: no GPU moves a byte. \
             The tap and the\ncollector are the real ones.\n\n",
            self.tp, self.tp, self.prompt, self.output
        ))?;
        let environment = own.environment(library, std::env::var_os("LD_PRELOAD").as_deref())?;
        let mut ranks = Vec::new();
        for rank in 0..self.tp {
            let child = Command::new(&installed.llama_rank)
                .args(["--tp", &self.tp.to_string(), "--rank", &rank.to_string()])
                .args(["--prompt", &self.prompt.to_string(), "--output", &self.output.to_string()])
                .args(["--pace", &self.pace.to_string(), "--ids-file"])
                .arg(stage.join("ids"))
                .envs(environment.iter().map(|(name, value)| (name, value)))
                .env("NCCLTAP_JOB", "demo")
                .env(SWITCH.0, SWITCH.1)
                .env(COUNTS_DIRECTORY, &stage)
                .stdin(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .with_context(|| format!("{} cannot be run", installed.llama_rank.display()))?;
            ranks.push(child);
        }
        if !watch(&own, &mut ranks).await? {
            return Ok(ExitCode::from(130));
        }
        let running = own.settle(SETTLE_WITHIN).await;
        say(&own.report())?;
        if running > 0 {
            bail!("{running} ranks have not handed in all their calls");
        }
        let simulated = simulated(&Counts::read(&stage)?)?;
        let tapped = tapped(&own.rows(View::Operations))?;
        let verdict = compare(&simulated, &tapped);
        say(&format!("\n{}\n", verdict.text))?;
        own.stop().await?;
        Ok(if verdict.equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Shows counts until all ranks have ended. False when the user has had enough.
async fn watch(own: &PrivateCollector, ranks: &mut [Child]) -> anyhow::Result<bool> {
    let mut signals = Signals::catch()?;
    let screen = std::io::stdout().is_terminal();
    let mut tick = tokio::time::interval(if screen { REDRAW_EVERY } else { PRINT_EVERY });
    let mut drawn = 0;
    loop {
        let all = async {
            for rank in ranks.iter_mut() {
                let ended = rank.wait().await?;
                if !ended.success() {
                    bail!("a rank ended with {ended}");
                }
            }
            Ok(())
        };
        let done = tokio::select! {
            ended = all => { ended?; true }
            _ = tick.tick() => false,
            _ = signals.next() => return Ok(false),
        };
        let rows = own.rows(View::Operations);
        if screen {
            let text = live(&rows);
            // Back up over what was drawn before, and clear the screen from there.
            let up = if drawn > 0 { format!("\x1b[{drawn}A\x1b[J") } else { String::new() };
            say(&(up + &text))?;
            drawn = text.lines().count();
        } else if !done {
            let operations: u64 = rows.iter().map(|row| row.count).sum();
            let bytes = rows.iter().filter_map(|row| row.message_bytes).sum();
            say(&format!("{} operations, {} of messages\n", grouped(operations), size(bytes)))?;
        }
        if done {
            say("\n")?;
            return Ok(true);
        }
    }
}

/// Counts per rank and operation, while they grow.
fn live(rows: &[Row]) -> String {
    let mut sums: BTreeMap<(Option<i32>, &str), (u64, u64)> = BTreeMap::new();
    for row in rows {
        let op = row.op.as_deref().unwrap_or("?");
        let (count, bytes) = sums.entry((row.rank, op)).or_default();
        *count += row.count;
        *bytes += row.message_bytes.unwrap_or(0);
    }
    let mut text = format!("  {:>4}  {:<12} {:>10}  {:>12}\n", "rank", "op", "count", "message");
    for ((rank, op), (count, bytes)) in sums {
        let rank = rank.map(|rank| rank.to_string()).unwrap_or_default();
        let (count, bytes) = (grouped(count), size(bytes));
        let _ = writeln!(text, "  {rank:>4}  {op:<12} {count:>10}  {bytes:>12}");
    }
    text
}

/// What tells operations apart on both sides: pid, group, operation, elements, data type, peer.
type Asked = (u32, u64, &'static str, u64, Option<&'static str>, Option<i32>);

/// The simulator's own counts of operations that it carried out.
fn simulated(counts: &Counts) -> anyhow::Result<BTreeMap<Asked, u64>> {
    let mut all = BTreeMap::new();
    for (process, row) in counts.rows() {
        let function = Function::ALL.iter().find(|function| function.name() == row.function);
        let Some(operation) = function.and_then(|function| function.operation()) else { continue };
        let datatype = u8::try_from(row.datatype).ok().and_then(Datatype::from_code);
        let asked = (
            process.pid,
            row.communicator,
            operation.name(),
            row.count,
            datatype.map(Datatype::name),
            (row.peer >= 0).then_some(row.peer),
        );
        let carried_out = row.returned - row.failed - row.discarded;
        if carried_out > 0 {
            *all.entry(asked).or_default() += carried_out;
        }
    }
    if all.is_empty() {
        bail!("the simulated NCCL was never asked anything");
    }
    Ok(all)
}

/// The collector's counts.
fn tapped(rows: &[Row]) -> anyhow::Result<BTreeMap<Asked, u64>> {
    let mut all = BTreeMap::new();
    for row in rows {
        let op = row.op.as_deref().unwrap_or_default();
        let operation = nccltap_proto::Operation::ALL.iter().find(|known| known.name() == op);
        let operation = operation.with_context(|| format!("a row counts `{op}`"))?;
        let dtype = row.dtype.as_deref();
        let dtype = Datatype::ALL.iter().map(|d| d.name()).find(|name| Some(*name) == dtype);
        let group = row.communicator.as_deref().map(|hash| u64::from_str_radix(hash, 16));
        let group = group.transpose()?.unwrap_or(0);
        let elements = row.elements.context("a row has no exact size")?;
        *all.entry((row.pid, group, operation.name(), elements, dtype, row.peer)).or_default() +=
            row.count;
    }
    Ok(all)
}

struct Verdict {
    equal: bool,
    text: String,
}

/// Says whether the two sides agree, row by row.
fn compare(simulated: &BTreeMap<Asked, u64>, tapped: &BTreeMap<Asked, u64>) -> Verdict {
    let keys: BTreeSet<&Asked> = simulated.keys().chain(tapped.keys()).collect();
    let count = |side: &BTreeMap<Asked, u64>, key| side.get(key).copied().unwrap_or(0);
    let mut text = String::new();
    for key in &keys {
        let (asked, seen) = (count(simulated, key), count(tapped, key));
        if asked != seen {
            let (pid, group, op, elements, dtype, _) = key;
            let group = crate::groups::plain_name(*group);
            let dtype = dtype.unwrap_or("?");
            let _ = writeln!(
                text,
                "pid {pid}, group {group}, {op} of {elements} {dtype}: the simulator counts \
                 {asked}, the collector {seen}"
            );
        }
    }
    let equal = text.is_empty();
    let sum = |side: &BTreeMap<Asked, u64>| grouped(side.values().sum());
    let (all, asked, seen) = (keys.len(), sum(simulated), sum(tapped));
    if equal {
        let _ = write!(
            text,
            "The simulator counts {asked} operations by itself, the collector {seen}: equal in all \
             {all} rows."
        );
    } else {
        let _ = write!(
            text,
            "The simulator counts {asked} operations by itself, the collector {seen}: NOT EQUAL."
        );
    }
    Verdict { equal, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(count: u64) -> BTreeMap<Asked, u64> {
        BTreeMap::from([((7, 1, "Send", 8, Some("float16"), Some(1)), count)])
    }

    #[test]
    fn counts_are_equal_only_when_every_row_is() {
        assert!(compare(&one(3), &one(3)).equal);
        for (simulated, tapped) in
            [(one(3), one(2)), (one(3), BTreeMap::new()), (BTreeMap::new(), one(1))]
        {
            let verdict = compare(&simulated, &tapped);
            assert!(!verdict.equal);
            assert!(verdict.text.contains("pid 7") && verdict.text.contains("NOT EQUAL"));
        }
    }
}
