//! The terminal, for as long as it is ours.

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{Event, read};
use std::io;
use tokio::sync::mpsc;

/// The terminal in its other screen. It is given back when this is dropped, and before a panic is
/// told.
#[derive(Debug)]
pub struct Screen {
    /// To draw on.
    pub terminal: DefaultTerminal,
}

impl Screen {
    /// Takes the terminal.
    pub fn open() -> io::Result<Self> {
        Ok(Self { terminal: ratatui::try_init()? })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// What is typed. The thread that reads ends with the process.
pub fn events() -> io::Result<mpsc::Receiver<Event>> {
    let (typed, events) = mpsc::channel(64);
    std::thread::Builder::new().name("keys".to_owned()).spawn(move || {
        while let Ok(event) = read() {
            if typed.blocking_send(event).is_err() {
                return;
            }
        }
    })?;
    Ok(events)
}
