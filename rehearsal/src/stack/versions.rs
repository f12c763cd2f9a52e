//! The versions that PyTorch was built for: what the simulated libraries say they are.

use anyhow::{Context, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// As the libraries themselves write them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Versions {
    /// 12040 for 12.4.
    pub(super) cuda: u32,
    /// 90100 for 9.1.0.
    pub(super) cudnn: u32,
    /// 22105 for 2.21.5.
    pub(super) nccl: u32,
}

impl Versions {
    /// Of the PyTorch in `site_packages`.
    pub(super) fn of(site_packages: &Path) -> anyhow::Result<Self> {
        let read = |path: &Path| {
            fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
        };
        let version = site_packages.join("torch/version.py");
        let cuda = cuda(&read(&version)?)
            .with_context(|| format!("{} names no version of CUDA", version.display()))?;
        let metadata = read(&metadata(site_packages)?)?;
        Ok(Self {
            cuda,
            cudnn: required(&metadata, "nvidia-cudnn-cu").unwrap_or(90100),
            nccl: required(&metadata, "nvidia-nccl-cu").unwrap_or(22105),
        })
    }
}

fn metadata(site_packages: &Path) -> anyhow::Result<PathBuf> {
    let entries = fs::read_dir(site_packages)
        .with_context(|| format!("{} cannot be read", site_packages.display()))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("torch-") && name.ends_with(".dist-info") {
            return Ok(entry.path().join("METADATA"));
        }
    }
    bail!("there is no PyTorch in {}", site_packages.display())
}

/// From a line such as `cuda: Optional[str] = '12.4'`.
fn cuda(version_py: &str) -> Option<u32> {
    let line = version_py.lines().find(|line| line.starts_with("cuda"))?;
    let (_, value) = line.split_once('=')?;
    let parts = numbers(value.trim().trim_matches(['\'', '"']));
    Some(parts.first()? * 1000 + parts.get(1)? * 10)
}

/// From a line such as `Requires-Dist: nvidia-nccl-cu12 (==2.21.5) ; platform_system == "Linux"`.
fn required(metadata: &str, package: &str) -> Option<u32> {
    let line = metadata
        .lines()
        .filter_map(|line| line.strip_prefix("Requires-Dist: "))
        .find(|line| line.starts_with(package))?;
    let (_, version) = line.split_once("==")?;
    let version = version.split([';', ' ', ',', ')']).next()?;
    let parts = numbers(version);
    Some(parts.first()? * 10000 + parts.get(1)? * 100 + parts.get(2).unwrap_or(&0))
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map_while(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_that_pytorch_was_built_for() {
        assert_eq!(cuda("debug = False\ncuda: Optional[str] = '12.4'\n"), Some(12040));
        assert_eq!(cuda("cuda = '13.0'"), Some(13000));
        assert_eq!(cuda("cuda: Optional[str] = None"), None);
        let metadata = "Requires-Dist: nvidia-cudnn-cu12==9.1.0.70; platform_system == \"Linux\"\n\
                        Requires-Dist: nvidia-nccl-cu12 (==2.21.5) ; platform_system == \"Linux\"\n";
        assert_eq!(required(metadata, "nvidia-cudnn-cu"), Some(90100));
        assert_eq!(required(metadata, "nvidia-nccl-cu"), Some(22105));
        assert_eq!(required(metadata, "nvidia-cublas-cu"), None);
    }
}
