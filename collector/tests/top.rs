//! `nccltap top`: its pictures word for word, and the program in a real terminal. Without tmux here, tests of the
//! latter say that they are skipped. `NCCLTAP_BLESS=1 cargo test -p nccltap --test top` writes the pictures.
#![allow(missing_docs)]

mod support;

use nccltap_collector::outputs::live::view::Live;
use nccltap_collector::outputs::top::screen::Screen;
use nccltap_collector::outputs::top::{Next, Top};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;
use support::engine::Shape;
use support::job::Job;
use support::*;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// A snapshot of eight ranks, one of them stuck, one gone, one late.
fn snapshot() -> Live {
    serde_json::from_str(&std::fs::read_to_string(golden("live.json")).unwrap()).unwrap()
}

fn typed(key: KeyCode) -> Event {
    Event::Key(KeyEvent::new(key, KeyModifiers::NONE))
}

/// The text on a screen of this size.
fn drawn(top: &mut Top, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| top.draw(frame, Duration::from_millis(300))).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let line = |y: u16| -> String {
        let cells = (0..width).map(|x| buffer[(x, y)].symbol().to_owned());
        cells.collect::<String>().trim_end().to_owned()
    };
    (0..height).map(|y| line(y) + "\n").collect()
}

#[test]
fn every_view_at_80_by_24_and_wider_and_narrower() {
    let mut all = String::new();
    for (width, height) in [(80, 24), (140, 50), (40, 12)] {
        for number in '1'..='7' {
            let mut top = Top::new("unix:/run/nccltap.sock");
            top.take(snapshot());
            assert_eq!(top.event(&typed(KeyCode::Char(number))), Next::Draw);
            let picture = drawn(&mut top, width, height);
            all.push_str(&format!("--- {width} x {height}, {number}\n{picture}"));
        }
    }
    let kept = golden("top.txt");
    if std::env::var_os("NCCLTAP_BLESS").is_some() {
        std::fs::write(&kept, &all).unwrap();
    }
    let text = std::fs::read_to_string(&kept).unwrap_or_default();
    assert!(text == all, "{} differs from:\n{all}", kept.display());
}

#[test]
fn keys_choose_scroll_sort_and_quit() {
    let mut top = Top::new("here");
    assert!(drawn(&mut top, 80, 24).contains("asking here"));
    top.take(snapshot());
    for (key, word) in [
        (KeyCode::Tab, "By phase and collective"),
        (KeyCode::Right, "rank  place"),
        (KeyCode::BackTab, "By phase and collective"),
        (KeyCode::Char('3'), "s sort (by rank)"),
        (KeyCode::Char('s'), "s sort (latest first)"),
    ] {
        assert_eq!(top.event(&typed(key)), Next::Draw);
        let picture = drawn(&mut top, 80, 24);
        assert!(picture.contains(word), "{key:?}: {picture}");
    }
    // The rank that stands comes first, and the heading stays when lines scroll away.
    let ranks = drawn(&mut top, 80, 12);
    assert!(ranks.lines().nth(3).unwrap().trim_start().starts_with("5 "), "{ranks}");
    for _ in 0..100 {
        top.event(&typed(KeyCode::PageDown));
    }
    let end = drawn(&mut top, 80, 12);
    assert!(end.contains("rank  place") && end.contains("(0 below)"), "{end}");
    top.event(&typed(KeyCode::Home));
    assert_eq!(drawn(&mut top, 80, 12), ranks);
    assert_eq!(top.event(&typed(KeyCode::Char('x'))), Next::Nothing);
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    for quits in [typed(KeyCode::Char('q')), typed(KeyCode::Esc), Event::Key(control_c)] {
        assert_eq!(top.event(&quits), Next::Quit);
    }
}

#[test]
fn any_size_and_any_snapshot_can_be_drawn() {
    let mut odd = snapshot();
    odd.jobs = vec!["\u{1b}[2J\u{1b}]0;title\u{7}".to_owned() + &"job".repeat(500)];
    odd.ranks[0].host = "\r\n\u{202e}中文".repeat(90);
    odd.ranks[1].volume.bus_rate = f64::NAN;
    odd.traffic[0].volume.bus_rate = f64::INFINITY;
    odd.attention[0].sentence = "x".repeat(5000);
    odd.second = u64::MAX;
    odd.at_ms = u64::MAX;
    for live in [snapshot(), odd, Live::default()] {
        let mut top = Top::new("here");
        top.take(live);
        for view in '1'..='7' {
            top.event(&typed(KeyCode::Char(view)));
            for (width, height) in [(1, 1), (2, 5), (20, 3), (80, 24), (400, 100)] {
                let picture = drawn(&mut top, width, height);
                assert!(!picture.contains(['\u{1b}', '\u{7}', '\r', '\u{202e}']), "{picture}");
            }
        }
        top.lose("gone\u{1b}[2J");
        assert!(drawn(&mut top, 80, 24).contains("gone?[2J"));
    }
}

/// A terminal of its own.
struct Tmux {
    folder: tempfile::TempDir,
}

impl Tmux {
    /// Starts a command in a shell, or says that there is no tmux.
    fn start(command: &str, width: u16, height: u16) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            eprintln!("SKIPPED: no terminal here to draw on (Debian: apt-get install tmux)");
            return None;
        }
        let tmux = Self { folder: tempfile::tempdir().unwrap() };
        let (width, height) = (width.to_string(), height.to_string());
        let session = ["new-session", "-d", "-x", &width, "-y", &height, "sh"];
        tmux.ask(&["-f", "/dev/null"], &session);
        // A shell in which the command runs, and which is there when it has ended.
        tmux.type_in(&format!("PS1=; {command}; echo ended with $?\n"));
        Some(tmux)
    }

    fn ask(&self, before: &[&str], arguments: &[&str]) -> Output {
        let socket = self.folder.path().join("tmux");
        let output = Command::new("tmux")
            .env("LC_ALL", "C.UTF-8")
            .env_remove("TMUX")
            .args(before)
            .args(["-u", "-S"])
            .arg(socket)
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        output
    }

    fn type_in(&self, text: &str) {
        self.ask(&[], &["send-keys", "-l", text]);
    }

    fn screen(&self) -> String {
        String::from_utf8(self.ask(&[], &["capture-pane", "-p"]).stdout).unwrap()
    }

    fn until(&self, what: &str, is: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while std::time::Instant::now() < deadline {
            last = self.screen();
            if is(&last) {
                return last;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("waited in vain until {what}:\n{last}");
    }

    /// The program is gone and the terminal is as it was: its first screen, echo, a cursor.
    fn is_given_back(&self, code: &str) -> String {
        let ended = format!("ended with {code}");
        let screen = self.until(&ended, |screen| screen.contains(&ended));
        let state = self.ask(&[], &["display-message", "-p", "#{alternate_on} #{cursor_flag}"]);
        assert_eq!(String::from_utf8(state.stdout).unwrap().trim(), "0 1");
        self.type_in("stty -a | tr ' ;' '\\n\\n' | grep -x -e echo -e icanon | tr '\\n' +; echo\n");
        self.until("the terminal echoes", |screen| screen.contains("icanon+echo+"));
        screen
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let socket = self.folder.path().join("tmux");
        let _ = Command::new("tmux").arg("-S").arg(socket).arg("kill-server").output();
    }
}

fn command(collector: &Collector) -> String {
    format!("{} top --to unix:{}", env!("CARGO_BIN_EXE_nccltap"), collector.socket.display())
}

#[tokio::test]
async fn in_a_terminal_it_draws_resizes_and_quits() {
    let collector = Collector::start();
    let mut job = Job::start(&collector.socket, Shape { tensor: 2, stages: 1 }).await;
    job.step(128, 0).await;
    let Some(tmux) = Tmux::start(&command(&collector), 80, 24) else { return };
    tmux.until("it draws", |screen| screen.contains("TP 2") && screen.contains("2 ranks report"));
    tmux.type_in("3");
    tmux.until("the ranks are there", |screen| screen.contains("node-1 pid 501"));
    tmux.ask(&[], &["resize-window", "-x", "44", "-y", "10"]);
    let narrow = tmux.until("it is narrow", |screen| {
        !screen.contains("node-1 pid 501") && screen.contains("state") && screen.contains("q quit")
    });
    assert!(narrow.lines().all(|line| line.chars().count() <= 44), "{narrow}");
    tmux.ask(&[], &["resize-window", "-x", "120", "-y", "30"]);
    tmux.until("it is wide again", |screen| screen.contains("node-1 pid 501"));
    tmux.type_in("q");
    tmux.is_given_back("0");
}

#[tokio::test]
async fn it_survives_a_restart_of_the_collector_and_ends_on_signals() {
    let collector = Collector::start();
    let job = Job::start(&collector.socket, Shape { tensor: 2, stages: 1 }).await;
    let Some(tmux) = Tmux::start(&command(&collector), 100, 24) else { return };
    tmux.until("it draws", |screen| screen.contains("2 ranks report"));
    drop(job);
    let dir = collector.kill();
    tmux.until("it says so", |screen| {
        screen.contains("no collector answers") && screen.contains("Overview")
    });
    let collector = Collector::start_in(dir, &[]);
    tmux.until("it is back", |screen| {
        screen.contains("live") && screen.contains("no rank has called NCCL yet")
    });
    let asked = tmux.ask(&[], &["list-panes", "-F", "#{pane_pid}"]);
    let shell = String::from_utf8(asked.stdout).unwrap();
    let children = format!("/proc/{0}/task/{0}/children", shell.trim());
    let child = std::fs::read_to_string(children).unwrap();
    let child: i32 = child.split_whitespace().next().unwrap().parse().unwrap();
    let child = rustix::process::Pid::from_raw(child).unwrap();
    rustix::process::kill_process(child, rustix::process::Signal::TERM).unwrap();
    tmux.is_given_back("0");
    tmux.type_in(&format!("clear; {}; echo ended with again $?\n", command(&collector)));
    tmux.until("it draws again", |screen| screen.contains("no rank has called NCCL yet"));
    tmux.ask(&[], &["send-keys", "C-c"]);
    tmux.is_given_back("again 0");
}

#[test]
fn after_a_panic_the_terminal_is_given_back_and_the_panic_is_read() {
    let itself = std::env::current_exe().unwrap();
    let itself = itself.display();
    // A backtrace would be longer than the screen.
    let command =
        format!("RUST_BACKTRACE=0 {itself} --ignored --exact a_panic_on_the_screen --nocapture");
    let Some(tmux) = Tmux::start(&command, 100, 24) else { return };
    let screen = tmux.is_given_back("101");
    assert!(screen.contains("a panic on purpose"), "{screen}");
}

/// What the test above runs in its terminal.
#[test]
#[ignore = "takes the terminal; the test above runs it in one of its own"]
fn a_panic_on_the_screen() {
    let mut screen = Screen::open().unwrap();
    screen.terminal.draw(|_| {}).unwrap();
    panic!("a panic on purpose");
}

#[test]
fn where_there_is_no_terminal_or_no_collector_it_says_so() {
    let output = nccltap().args(["top", "--to", "unix:/nowhere.sock"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("draws on a terminal"), "{said}");
    let command = format!("{} top --to unix:/nowhere.sock", env!("CARGO_BIN_EXE_nccltap"));
    let Some(tmux) = Tmux::start(&command, 100, 24) else { return };
    let screen = tmux.is_given_back("1");
    assert!(screen.contains("no collector answers at unix:/nowhere.sock"), "{screen}");
}
