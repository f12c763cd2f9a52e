//! What is added to a command so that it needs no weights.
//!
//! Commands that start an engine are known by their words, wherever in the command line they stand.
//! To these a model's folder and a few options are given; what the user says stands. In any other
//! command only [`MODEL`] is replaced.

use super::catalog::Release;
use crate::models::Model;
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// Stands for the model's folder in any argument.
pub const MODEL: &str = "{model}";

/// Stands for the number of the node in any argument.
pub const NODE: &str = "{node}";

/// Loads a model without its weights.
const DUMMY: (&str, &str) = ("--load-format", "dummy");

/// What clients call the model, when the engine is told a folder.
const SERVED_NAME: &str = "--served-model-name";

/// A command that starts an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Launcher {
    /// The words it begins with; the first is the name of a program, or `-m`.
    words: &'static [&'static str],
    /// The option that names the model.
    model: &'static str,
    /// Whether the model may stand right behind the words.
    positional: bool,
    /// Whether clients ask it for a model by name.
    serves: bool,
    /// Of a server that spans nodes, what the nodes but the first are told.
    follows: Option<Follows>,
}

/// What a node is told that follows the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Follows {
    /// Only where this option says that there are several nodes.
    nodes: &'static str,
    /// What it is told.
    option: &'static str,
}

/// vLLM answers clients on its first node alone.
const HEADLESS: Option<Follows> = Some(Follows { nodes: "--nnodes", option: "--headless" });

const LAUNCHERS: &[Launcher] = &[
    Launcher {
        words: &["vllm", "serve"],
        model: "--model",
        positional: true,
        serves: true,
        follows: HEADLESS,
    },
    Launcher {
        words: &["-m", "vllm.entrypoints.openai.api_server"],
        model: "--model",
        positional: false,
        serves: true,
        follows: None,
    },
    Launcher {
        words: &["vllm", "bench", "latency"],
        model: "--model",
        positional: false,
        serves: false,
        follows: None,
    },
    Launcher {
        words: &["vllm", "bench", "throughput"],
        model: "--model",
        positional: false,
        serves: false,
        follows: None,
    },
    Launcher {
        words: &["-m", "sglang.launch_server"],
        model: "--model-path",
        positional: false,
        serves: true,
        follows: None,
    },
];

/// Where in a command the model's name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// Which argument.
    index: usize,
    /// How many of its bytes are the option and `=`.
    skip: usize,
}

/// Finds what starts an engine, and where its own arguments begin.
fn launcher(command: &[OsString]) -> Option<(&'static Launcher, usize)> {
    LAUNCHERS.iter().find_map(|launcher| {
        let count = launcher.words.len();
        let begins = command.windows(count).position(|words| {
            let program = Path::new(&words[0]).file_name().unwrap_or(&words[0]);
            program == launcher.words[0]
                && words[1..].iter().zip(&launcher.words[1..]).all(|(word, known)| word == known)
        });
        begins.map(|begins| (launcher, begins + count))
    })
}

fn place(command: &[OsString]) -> Option<Place> {
    let (launcher, begins) = launcher(command)?;
    let arguments = command.iter().enumerate().skip(begins);
    for (index, argument) in arguments {
        if argument == launcher.model && index + 1 < command.len() {
            return Some(Place { index: index + 1, skip: 0 });
        }
        let text = argument.to_string_lossy();
        if text.strip_prefix(launcher.model).is_some_and(|rest| rest.starts_with('=')) {
            return Some(Place { index, skip: launcher.model.len() + 1 });
        }
    }
    let first = command.get(begins)?;
    let stands = launcher.positional && !first.to_string_lossy().starts_with('-');
    stands.then_some(Place { index: begins, skip: 0 })
}

/// The model that a command names, when it is one that starts an engine.
pub fn named_model(command: &[OsString]) -> Option<String> {
    let place = place(command)?;
    command[place.index].to_str()?.get(place.skip..).map(str::to_owned)
}

/// Whether a command starts an engine that is known here.
pub fn is_known(command: &[OsString]) -> bool {
    launcher(command).is_some()
}

/// The command with the model's folder in its place, and with what spares weights and memory.
pub fn adapted(command: &[OsString], model: Option<&Model>, release: &Release) -> Vec<OsString> {
    let mut adapted = command.to_vec();
    if let Some(model) = model {
        let folder = model.folder.to_string_lossy();
        adapted = replaced(&adapted, MODEL, &folder);
        if let Some(place) = place(&adapted) {
            let argument = &mut adapted[place.index];
            let text = argument.to_string_lossy();
            *argument = format!("{}{folder}", text.get(..place.skip).unwrap_or_default()).into();
        }
    }
    let Some((launcher, _)) = launcher(command) else { return adapted };
    let mut add = |(name, value): (&str, &str)| {
        if !says(command, name) {
            adapted.extend([name, value].map(OsString::from));
        }
    };
    if let Some(model) = model.filter(|_| launcher.serves) {
        add((SERVED_NAME, &model.name));
    }
    add(DUMMY);
    release.options.iter().copied().for_each(add);
    adapted
}

/// The command as a node runs it.
pub fn on_node(command: &[OsString], node: u32) -> Vec<OsString> {
    let mut own = replaced(command, NODE, &node.to_string());
    let follows = launcher(command).and_then(|(launcher, _)| launcher.follows);
    if let Some(Follows { nodes, option }) = follows
        && node > 0
        && says(command, nodes)
        && !says(command, option)
    {
        own.push(option.into());
    }
    own
}

/// A command with every `{word}` replaced.
fn replaced(command: &[OsString], word: &str, by: &str) -> Vec<OsString> {
    let argument = |argument: &OsString| match argument.to_str() {
        Some(text) if text.contains(word) => text.replace(word, by).into(),
        _ => argument.clone(),
    };
    command.iter().map(argument).collect()
}

/// Whether an option stands in a command. vLLM takes `_` for `-` in names.
fn says(command: &[OsString], option: &str) -> bool {
    command.iter().any(|argument| {
        let text = argument.to_string_lossy();
        let name = text.split('=').next().unwrap_or_default();
        name.starts_with("--") && name.replace('_', "-") == option
    })
}

/// A command line as one would type it.
pub fn typed(command: &[OsString]) -> String {
    let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
    words.join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::catalog::Wanted;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    fn adapted_to(version: &str, text: &str, model: bool) -> String {
        let wanted: Wanted = version.parse().unwrap();
        let model = model.then(|| Model { folder: "/m".into(), name: "meta/L".to_owned() });
        typed(&adapted(&words(text), model.as_ref(), wanted.like))
    }

    #[test]
    fn the_model_of_a_server_becomes_a_folder_and_keeps_its_name() {
        for (command, expected) in [
            (
                "vllm serve meta/L --tensor-parallel-size 8",
                "vllm serve /m --tensor-parallel-size 8 --served-model-name meta/L --load-format dummy",
            ),
            (
                "timeout 9 /x/bin/vllm serve --port 1 --model meta/L",
                "timeout 9 /x/bin/vllm serve --port 1 --model /m --served-model-name meta/L --load-format dummy",
            ),
            (
                "python -m vllm.entrypoints.openai.api_server --model=meta/L",
                "python -m vllm.entrypoints.openai.api_server --model=/m --served-model-name meta/L --load-format dummy",
            ),
            (
                "vllm bench latency --model meta/L",
                "vllm bench latency --model /m --load-format dummy",
            ),
        ] {
            assert_eq!(named_model(&words(command)).as_deref(), Some("meta/L"), "{command}");
            assert_eq!(adapted_to("vllm==0.20.0", command, true), expected);
        }
    }

    #[test]
    fn what_the_user_says_stands() {
        let command = "vllm serve meta/L --load_format=auto --served-model-name x --swap-space 1";
        let expected = "vllm serve /m --load_format=auto --served-model-name x --swap-space 1";
        assert_eq!(adapted_to("vllm==0.8.5.post1", command, true), expected);
    }

    #[test]
    fn a_server_without_a_model_of_ours_still_needs_no_weights() {
        let expected = "vllm serve /models/x --load-format dummy --swap-space 0";
        assert_eq!(adapted_to("vllm==0.8.5.post1", "vllm serve /models/x", false), expected);
    }

    #[test]
    fn in_other_commands_only_the_placeholder_is_replaced() {
        assert_eq!(
            adapted_to("vllm==0.11.0", "python run.py --at={model}/config.json serve", true),
            "python run.py --at=/m/config.json serve"
        );
        assert!(!is_known(&words("python vllm serve.py")));
        assert_eq!(named_model(&words("python run.py --model x")), None);
    }

    #[test]
    fn a_placeholder_is_a_model_too() {
        let expected = "vllm serve /m --served-model-name meta/L --load-format dummy";
        assert_eq!(adapted_to("vllm==0.20.0", "vllm serve {model}", true), expected);
    }

    #[test]
    fn each_node_has_its_number() {
        let command = words("vllm serve m --node-rank {node}");
        assert_eq!(typed(&on_node(&command, 1)), "vllm serve m --node-rank 1");
    }

    #[test]
    fn of_a_server_that_spans_nodes_the_first_alone_answers_clients() {
        let command = words("vllm serve m --nnodes 2 --node-rank {node}");
        let first = "vllm serve m --nnodes 2 --node-rank 0";
        assert_eq!(typed(&on_node(&command, 0)), first);
        let second = "vllm serve m --nnodes 2 --node-rank 1 --headless";
        assert_eq!(typed(&on_node(&command, 1)), second);
        assert_eq!(typed(&on_node(&words(second), 1)), second);
    }

    #[test]
    fn a_command_line_can_be_typed() {
        let words = ["sh", "-c", "it's $1", ""].map(OsString::from);
        assert_eq!(typed(&words), r"sh -c 'it'\''s $1' ''");
    }
}
