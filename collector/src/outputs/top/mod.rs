//! `nccltap top`: what the page shows, in a terminal.
//!
//! - `views`: the lines of each view, from a [`Live`];
//! - `columns` and `bars`: what they are made of;
//! - [`screen`]: the terminal, which is given back however the program ends.
//!
//! [`Top`] is pure: snapshots and keys go in, a picture comes out.

mod bars;
mod columns;
pub mod screen;
mod views;

use super::live::view::Live;
use ratatui::Frame;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use std::time::Duration;
use views::{Order, Panel, View};

/// What is dimmed: explanations.
const QUIET: Style = Style::new().fg(Color::DarkGray);
const GOOD: Style = Style::new().fg(Color::Green);
const BAD: Style = Style::new().fg(Color::Red);
const DOUBT: Style = Style::new().fg(Color::Yellow);

/// Everything that is on the screen.
#[derive(Debug, Default)]
pub struct Top {
    /// Where the collector is, in words.
    target: String,
    live: Option<Live>,
    lost: Option<String>,
    view: View,
    order: Order,
    scrolled: usize,
}

/// What is to be done after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Draw, and go on.
    Draw,
    /// Nothing has changed.
    Nothing,
    /// Give the terminal back.
    Quit,
}

impl Top {
    /// An empty screen, that waits for the collector at `target`.
    pub fn new(target: impl ToString) -> Self {
        Self { target: target.to_string(), ..Self::default() }
    }

    /// Takes a snapshot in.
    pub fn take(&mut self, live: Live) {
        self.live = Some(live);
        self.lost = None;
    }

    /// The collector did not answer, and why. What it said last stays on the screen.
    pub fn lose(&mut self, why: impl ToString) {
        self.lost = Some(why.to_string());
    }

    /// Takes in what was typed, or that the terminal has another size.
    pub fn event(&mut self, event: &Event) -> Next {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => self.key(key),
            Event::Resize(..) => Next::Draw,
            _ => Next::Nothing,
        }
    }

    fn key(&mut self, key: &KeyEvent) -> Next {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let scrolled =
            |by: usize| (self.scrolled.saturating_add(by), self.scrolled.saturating_sub(by));
        match key.code {
            KeyCode::Char('c') if control => return Next::Quit,
            KeyCode::Char('q') | KeyCode::Esc => return Next::Quit,
            KeyCode::Char(digit @ '1'..='9') => {
                let at = digit as usize - '1' as usize;
                let Some(view) = View::ALL.get(at) else { return Next::Nothing };
                self.go(*view);
            }
            KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => self.go(self.view.beside(1)),
            KeyCode::BackTab | KeyCode::Left | KeyCode::Char('h') => {
                self.go(self.view.beside(View::ALL.len() - 1));
            }
            KeyCode::Char('s') => self.order = self.order.next(),
            KeyCode::Down | KeyCode::Char('j') => self.scrolled = scrolled(1).0,
            KeyCode::Up | KeyCode::Char('k') => self.scrolled = scrolled(1).1,
            KeyCode::PageDown | KeyCode::Char(' ') => self.scrolled = scrolled(10).0,
            KeyCode::PageUp => self.scrolled = scrolled(10).1,
            KeyCode::Home => self.scrolled = 0,
            _ => return Next::Nothing,
        }
        Next::Draw
    }

    fn go(&mut self, view: View) {
        self.view = view;
        self.scrolled = 0;
    }

    /// Draws everything, `old` after the snapshot came.
    pub fn draw(&mut self, frame: &mut Frame<'_>, old: Duration) {
        let rows = [
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Min(1),
            Constraint::Length(1),
        ];
        let [title, tabs, body, keys] = Layout::vertical(rows).areas(frame.area());
        frame.render_widget(self.title(title.width as usize, old), title);
        frame.render_widget(self.tabs(tabs.width as usize), tabs);
        let Panel { fixed, lines } = match &self.live {
            Some(live) => self.view.panel(live, self.order, body.width as usize),
            None => Panel::of(vec![Line::styled("No snapshot yet.", QUIET)]),
        };
        let head = (fixed.len() as u16).min(body.height.saturating_sub(1));
        let [top, rest] =
            Layout::vertical([Constraint::Length(head), Constraint::Min(1)]).areas(body);
        // The last line stays on the screen.
        let most = lines.len().saturating_sub(rest.height as usize);
        self.scrolled = self.scrolled.min(most);
        let below = most - self.scrolled;
        let shown: Vec<Line<'_>> =
            lines.into_iter().skip(self.scrolled).take(rest.height as usize).collect();
        frame.render_widget(Paragraph::new(fixed), top);
        frame.render_widget(Paragraph::new(shown), rest);
        frame.render_widget(self.keys(below), keys);
    }

    fn title(&self, width: usize, old: Duration) -> Line<'static> {
        let state = match (&self.lost, &self.live) {
            (Some(why), _) => Span::styled(columns::clean(why), BAD),
            (None, Some(live)) => {
                let old = old.as_secs_f64();
                let words = match old < 2.0 {
                    true => format!("live {}", columns::clock(live.at_ms)),
                    false => {
                        format!("{} old {}", columns::seconds(old), columns::clock(live.at_ms))
                    }
                };
                Span::styled(words, if old < 2.0 { GOOD } else { BAD })
            }
            (None, None) => Span::styled(format!("asking {}", self.target), QUIET),
        };
        let name = Span::styled("nccltap  ", Style::new().bold());
        let room = width.saturating_sub(name.width() + state.width() + 2);
        let subject = self.live.as_ref().map(views::subject).unwrap_or_default();
        let subject = Span::raw(columns::fitted(&subject, room));
        let gap = width.saturating_sub(name.width() + subject.width() + state.width());
        Line::from(vec![name, subject, Span::raw(" ".repeat(gap.max(1))), state])
    }

    fn tabs(&self, width: usize) -> Line<'static> {
        let named: usize = View::ALL.iter().map(|view| view.name().len() + 4).sum();
        let words = View::ALL.iter().zip(1..).flat_map(|(view, number)| {
            let here = *view == self.view;
            let name = match here || named <= width {
                true => format!(" {number} {} ", view.name()),
                false => format!(" {number} "),
            };
            let style = if here { Style::new().reversed() } else { QUIET };
            [Span::styled(name, style), Span::raw(" ")]
        });
        Line::from(words.collect::<Vec<_>>())
    }

    fn keys(&self, below: usize) -> Line<'static> {
        let mut words = String::from("q quit  1-7 tab view");
        if below > 0 || self.scrolled > 0 {
            words.push_str(&format!("  up down scroll ({below} below)"));
        }
        if self.view == View::Ranks {
            words.push_str(&format!("  s sort ({})", self.order.name()));
        }
        Line::styled(words, QUIET)
    }
}
