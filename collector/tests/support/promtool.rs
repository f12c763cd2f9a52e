//! Prometheus' own tool, where it is installed.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// What `promtool` says to these arguments and this input, having found nothing wrong. `None`, and a line that
/// says so, where it is not installed.
pub fn say(arguments: &[&str], input: &[u8]) -> Option<String> {
    say_in(Path::new("."), arguments, input)
}

/// The same in a folder.
pub fn say_in(folder: &Path, arguments: &[&str], input: &[u8]) -> Option<String> {
    let started = Command::new("promtool")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match started {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("SKIPPED: no promtool here (Debian: apt-get install prometheus)");
            return None;
        }
        other => other.expect("promtool starts"),
    };
    child.stdin.take().expect("stdin").write_all(input).expect("promtool reads");
    let output = child.wait_with_output().expect("promtool ends");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
    Some(said.into_owned())
}
