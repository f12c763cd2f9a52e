//! What is said before a rehearsal and after it.

use super::memory::Peak;
use crate::outputs::text::size;
use nccltap_rehearsal::engines::command_line::{MODEL, is_known, typed};
use nccltap_rehearsal::engines::installed::Engine;
use nccltap_rehearsal::gpus::GpuProfile;
use nccltap_rehearsal::models::Model;
use std::ffi::OsString;
use std::fmt;
use std::time::Duration;

/// Says what is about to run, and that nothing of it is real but the calls.
#[derive(Debug)]
pub(super) struct Announcement<'a> {
    pub(super) nodes: u32,
    pub(super) gpus_per_node: u32,
    pub(super) gpu: &'a GpuProfile,
    pub(super) engine: &'a Engine,
    pub(super) model: Option<&'a Model>,
    /// The command as the user gave it.
    pub(super) given: &'a [OsString],
    /// The command as it is run.
    pub(super) command: &'a [OsString],
}

impl fmt::Display for Announcement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let manifest = &self.engine.manifest;
        writeln!(
            f,
            "REHEARSAL: all {} GPUs ({}) are SIMULATED. Kernels compute nothing: answers\n           \
             and times mean nothing, the calls of NCCL are those of a real run.",
            self.nodes * self.gpus_per_node,
            self.gpu.name
        )?;
        if self.nodes > 1 {
            writeln!(
                f,
                "  nodes    {} of {} GPUs, all on this machine",
                self.nodes, self.gpus_per_node
            )?;
        }
        writeln!(
            f,
            "  engine   {} {}, in {}",
            manifest.package,
            manifest.version,
            self.engine.folder.display()
        )?;
        if let Some(model) = self.model {
            writeln!(f, "  model    {}, no weights, in {}", model.name, model.folder.display())?;
        }
        if self.given != self.command {
            writeln!(f, "  command  {}", typed(self.command))?;
        }
        let uses_model =
            self.given.iter().any(|argument| argument.to_string_lossy().contains(MODEL));
        if !is_known(self.command) && (self.model.is_none() || !uses_model) {
            writeln!(
                f,
                "  note     the command is run as it is: let it load its model with \
                 load_format=\"dummy\"; {MODEL} in an\n           argument stands for the folder \
                 that --model-config makes"
            )?;
        }
        writeln!(f)
    }
}

/// Says what a rehearsal took of this machine.
pub(super) fn closing(took: Duration, peak: Peak) -> String {
    format!(
        "REHEARSAL: {:.1} s, at most {} resident in {} processes; all GPUs were simulated.",
        took.as_secs_f64(),
        size(peak.bytes),
        peak.processes
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use nccltap_rehearsal::engines::installed::Manifest;
    use nccltap_rehearsal::gpus;

    fn engine() -> Engine {
        let manifest = Manifest {
            package: "vllm".to_owned(),
            version: "0.8.5.post1".to_owned(),
            python: "3.11.7".to_owned(),
        };
        Engine { folder: "/data/engines/vllm-0.8.5.post1".into(), manifest }
    }

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn a_server_is_announced_with_its_model_and_what_was_added() {
        let model = Model { folder: "/data/models/l".into(), name: "meta/L".to_owned() };
        let text = Announcement {
            nodes: 1,
            gpus_per_node: 8,
            gpu: gpus::find("h100").unwrap(),
            engine: &engine(),
            model: Some(&model),
            given: &words("vllm serve meta/L"),
            command: &words("vllm serve /data/models/l --load-format dummy"),
        };
        let expected = "\
REHEARSAL: all 8 GPUs (NVIDIA H100 80GB HBM3) are SIMULATED. Kernels compute nothing: answers
           and times mean nothing, the calls of NCCL are those of a real run.
  engine   vllm 0.8.5.post1, in /data/engines/vllm-0.8.5.post1
  model    meta/L, no weights, in /data/models/l
  command  vllm serve /data/models/l --load-format dummy

";
        assert_eq!(text.to_string(), expected);
    }

    #[test]
    fn a_script_is_told_how_to_do_without_weights() {
        let command = words("python run.py");
        let text = Announcement {
            nodes: 2,
            gpus_per_node: 4,
            gpu: gpus::find("a100").unwrap(),
            engine: &engine(),
            model: None,
            given: &command,
            command: &command,
        }
        .to_string();
        assert!(text.contains("load_format=\"dummy\""), "{text}");
        assert!(!text.contains("  command  "), "{text}");
        assert!(text.starts_with("REHEARSAL: all 8 GPUs (NVIDIA A100"), "{text}");
        assert!(text.contains("  nodes    2 of 4 GPUs, all on this machine\n"), "{text}");
    }

    #[test]
    fn the_end_says_what_it_took() {
        let peak = Peak { bytes: 3 << 30, processes: 9 };
        assert_eq!(
            closing(Duration::from_millis(31_240), peak),
            "REHEARSAL: 31.2 s, at most 3.00 GiB resident in 9 processes; all GPUs were simulated."
        );
    }
}
