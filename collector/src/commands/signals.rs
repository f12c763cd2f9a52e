//! Signals that come while a command runs, handed on to it.
//!
//! The command stays in this process group, so that it keeps the terminal. What is typed at the
//! terminal (SIGINT, SIGQUIT) reaches it without our doing; handing it on as well would be one
//! interrupt too many, which many programs take as "at once". So these two are handed on only where
//! no terminal can have sent them.

use rustix::process::{Pid, Signal};
use tokio::signal::unix::{self, SignalKind};

/// The signals that are caught, as long as this lives.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: unix::Signal,
    quit: unix::Signal,
    terminate: unix::Signal,
    hang_up: unix::Signal,
    user_1: unix::Signal,
    user_2: unix::Signal,
}

impl Signals {
    /// Catches signals from now on.
    pub(super) fn catch() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: unix::signal(SignalKind::interrupt())?,
            quit: unix::signal(SignalKind::quit())?,
            terminate: unix::signal(SignalKind::terminate())?,
            hang_up: unix::signal(SignalKind::hangup())?,
            user_1: unix::signal(SignalKind::user_defined1())?,
            user_2: unix::signal(SignalKind::user_defined2())?,
        })
    }

    /// The next signal.
    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.quit.recv() => Signal::QUIT,
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.hang_up.recv() => Signal::HUP,
            _ = self.user_1.recv() => Signal::USR1,
            _ = self.user_2.recv() => Signal::USR2,
        }
    }

    /// Asks a child that has not been waited for to end.
    pub(super) fn ask_to_end(child: u32) {
        if let Some(pid) = Pid::from_raw(child.cast_signed()) {
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
    }

    /// Hands a signal on to a child that has not been waited for.
    pub(super) fn hand_on(&self, signal: Signal, child: u32) {
        let typed = matches!(signal, Signal::INT | Signal::QUIT) && in_foreground();
        if let Some(pid) = Pid::from_raw(child.cast_signed()).filter(|_| !typed) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

/// Whether what is typed at the terminal reaches this process group.
fn in_foreground() -> bool {
    let terminal = std::fs::File::open("/dev/tty");
    let foreground = terminal.ok().and_then(|tty| rustix::termios::tcgetpgrp(tty).ok());
    foreground.is_some_and(|group| group == rustix::process::getpgrp())
}
