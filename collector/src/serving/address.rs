//! Where the engine that a command starts answers HTTP.

use crate::client::Target;
use std::ffi::OsString;
use std::path::Path;

/// Commands that serve over HTTP: words that stand in them, and their usual port.
const SERVERS: [(&[&str], u16); 3] = [
    (&["vllm", "serve"], 8000),
    (&["vllm.entrypoints.openai.api_server"], 8000),
    (&["sglang.launch_server"], 30_000),
];

/// The address of the server that `command` starts, `None` when it is no server that is known.
pub fn of_command(command: &[OsString]) -> Option<Target> {
    let words: Vec<&str> = command.iter().filter_map(|word| word.to_str()).collect();
    let is_there = |wanted: &[&str]| {
        words.windows(wanted.len()).any(|words| {
            words.iter().zip(wanted).all(|(word, wanted)| {
                word == wanted || Path::new(word).file_name().is_some_and(|name| name == *wanted)
            })
        })
    };
    let (_, usual) = SERVERS.iter().find(|(wanted, _)| is_there(wanted))?;
    let port = option(&words, "--port").and_then(|port| port.parse().ok()).unwrap_or(*usual);
    // What listens on every address listens on this one.
    let host = match option(&words, "--host") {
        None | Some("" | "0.0.0.0" | "::" | "localhost") => "127.0.0.1",
        Some(host) => host,
    };
    Some(Target::Http(match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }))
}

/// The value of an option, as `--name value` or `--name=value`.
fn option<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    words.iter().zip(words.iter().skip(1).chain([&""])).find_map(|(word, next)| match word {
        word if *word == name => Some(*next),
        word => word.strip_prefix(name)?.strip_prefix('='),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(command: &str) -> Option<String> {
        let words: Vec<OsString> = command.split(' ').map(OsString::from).collect();
        of_command(&words).map(|target| target.to_string())
    }

    #[test]
    fn servers_are_known_by_their_command_and_answer_where_it_says() {
        for (command, address) in [
            ("vllm serve m", "http://127.0.0.1:8000"),
            ("/opt/bin/vllm serve m --host 0.0.0.0 --port 9", "http://127.0.0.1:9"),
            ("python -m vllm.entrypoints.openai.api_server --port=9", "http://127.0.0.1:9"),
            ("python -m sglang.launch_server --host ::1", "http://[::1]:30000"),
            ("env A=1 vllm serve m --host 10.0.0.7", "http://10.0.0.7:8000"),
        ] {
            assert_eq!(of(command).as_deref(), Some(address), "{command}");
        }
        for command in ["vllm bench serve", "python serve.py --port 9", "serve vllm"] {
            assert_eq!(of(command), None, "{command}");
        }
    }
}
