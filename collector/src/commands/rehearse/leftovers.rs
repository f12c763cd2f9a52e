//! Processes that a rehearsed command leaves behind. Workers of an engine that was killed go on waiting for it, and on
//! simulated GPUs each of them takes a whole processor for that.

use crate::doctor::procfs;
use rustix::process::{Pid, Signal, kill_process, set_child_subreaper};

/// Makes this process the parent of all that is left behind, so that it is found. Where the kernel refuses that, nothing is.
pub(super) fn adopt() {
    let _ = set_child_subreaper(Pid::from_raw(1));
}

/// Ends what descends from this process and still runs, and says how many that were. It has had its time: the report
/// waits for processes with the tap to end by themselves.
pub(super) fn end() -> usize {
    let own = std::process::id();
    ended(procfs::descendants(own).into_iter().filter(|pid| *pid != own))
}

fn ended(processes: impl Iterator<Item = u32>) -> usize {
    let running = processes.filter(|pid| procfs::runs(*pid));
    let pids = running.filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    pids.filter(|pid| kill_process(*pid, Signal::KILL).is_ok()).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::process::{Command, Stdio};

    #[test]
    fn what_a_command_has_started_is_ended_and_what_has_ended_is_not_counted() {
        let mut shell = Command::new("sh")
            .args(["-c", "sleep 1000 & echo; wait"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        shell.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let all = procfs::descendants(shell.id());
        assert_eq!(all.len(), 2, "the shell and what it has started");
        assert_eq!(ended(all.iter().copied().filter(|pid| *pid != shell.id())), 1);
        assert!(shell.wait().unwrap().code().is_some(), "nothing to wait for is left");
        assert_eq!(ended(all.into_iter()), 0);
    }
}
