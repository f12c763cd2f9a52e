//! `nvidia-smi`, as far as engines ask it: `nvidia-smi --query-gpu=FIELD,... --format=csv,...`.

use crate::SWITCH;
use crate::gpus::PROFILES;
use std::fmt::Write;

/// The program, a script for `sh`. It reads the variables of `common/environment.h` that the libraries read.
pub(super) fn script() -> String {
    let mut gpus = String::new();
    for gpu in PROFILES {
        let (major, minor) = gpu.compute_capability;
        let _ = writeln!(
            gpus,
            "  {}) name='{}' memory={} capability={major}.{minor} ;;",
            gpu.key, gpu.name, gpu.memory_mib
        );
    }
    PROGRAM.replace("SWITCH", SWITCH.0).replace("GPUS\n", &gpus)
}

const PROGRAM: &str = r#"#!/bin/sh
# Made by nccltap: the simulated GPUs of a rehearsal.
if [ -z "$SWITCH" ]; then
  echo "nccltap rehearsal: this nvidia-smi is SIMULATED and works only under \`nccltap rehearse\`" >&2
  exit 78
fi
missing() {
  echo "nccltap rehearsal: \`$1\` of nvidia-smi is not simulated" >&2
  exit 70
}
case "${SWITCH_GPU:-h100}" in
GPUS
esac
memory=${SWITCH_MEMORY_MIB:-$memory}
fields= header=yes unit=' MiB'
for option; do
  case "$option" in
    --query-gpu=*) fields=$(echo "${option#*=}" | tr , ' ') ;;
    --format=csv*)
      case "$option" in *,noheader*) header= ;; esac
      case "$option" in *,nounits*) unit= ;; esac ;;
    *) missing "$option" ;;
  esac
done
[ -n "$fields" ] || missing 'no --query-gpu'
value() {
  case "$1" in
    index) echo "$2" ;;
    count) echo "$count" ;;
    name | gpu_name) echo "$name" ;;
    memory.total) echo "$memory$unit" ;;
    compute_cap) echo "$capability" ;;
    *) missing "$1" ;;
  esac
}
row() {
  row=
  for field in $fields; do
    if [ "$1" = header ]; then cell=$field; else cell=$(value "$field" "$1") || exit; fi
    row="${row:+$row, }$cell"
  done
  echo "$row"
}
count=${SWITCH_GPUS:-8} gpu=0
[ -z "$header" ] || row header
while [ "$gpu" -lt "$count" ]; do
  row "$gpu"
  gpu=$((gpu + 1))
done
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Output};

    fn smi(switch: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new("sh");
        command.args(["-c", &script(), "nvidia-smi"]).args(arguments).env(SWITCH.0, switch);
        command.env("NCCLTAP_REHEARSAL_GPU", "a100").env("NCCLTAP_REHEARSAL_GPUS", "2");
        command.output().unwrap()
    }

    fn said(output: Output) -> String {
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn every_gpu_has_a_line_of_what_was_asked() {
        let output = smi("1", &["--query-gpu=memory.total", "--format=csv,noheader,nounits"]);
        assert_eq!(said(output), "81920\n81920\n");
        let output = smi("1", &["--query-gpu=index,name,compute_cap", "--format=csv"]);
        let expected = "index, name, compute_cap\n0, NVIDIA A100-SXM4-80GB, 8.0\n1, NVIDIA \
                        A100-SXM4-80GB, 8.0\n";
        assert_eq!(said(output), expected);
        let output = smi("1", &["--query-gpu=memory.total", "--format=csv,noheader"]);
        assert_eq!(said(output), "81920 MiB\n81920 MiB\n");
    }

    #[test]
    fn what_is_not_simulated_is_named() {
        for arguments in [&["--query-gpu=name,fan.speed", "--format=csv,noheader"][..], &["-L"]] {
            let output = smi("1", arguments);
            assert_eq!(output.status.code(), Some(70), "{output:?}");
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(said.ends_with("` of nvidia-smi is not simulated\n"), "{said}");
        }
    }

    #[test]
    fn outside_of_a_rehearsal_it_says_so_and_ends() {
        let output = smi("", &["--query-gpu=name", "--format=csv"]);
        assert_eq!(output.status.code(), Some(78));
        assert!(String::from_utf8(output.stderr).unwrap().contains("SIMULATED"));
    }
}
