//! The releases that were tried, and what each needs to be told.

use anyhow::{Context, bail};
use std::fmt;
use std::str::FromStr;

/// A release of an engine, and what it needs in a rehearsal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// The package on PyPI.
    pub package: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What it asks of others is met by packages that were there on this day, as it was when the
    /// release was made. Where no day is given, by the newest.
    pub before: Option<&'static str>,
    /// Minor versions of Python 3 that it runs on.
    pub python: (u32, u32),
    /// What its environment takes on disk, in MB.
    pub disk: u64,
    /// Settings that turn off what no simulation can carry: kernels that are compiled or fetched for
    /// the GPU at run time. [`STACK`] in a value stands for the folder of the simulated libraries.
    pub environment: &'static [(&'static str, &'static str)],
    /// Options of its server that spare memory of this machine or do without such kernels, and change no
    /// traffic.
    pub options: &'static [(&'static str, &'static str)],
}

/// Stands for the folder of the simulated libraries.
pub const STACK: &str = "{stack}";

/// The V0 engine keeps 4 GiB of pinned memory per rank for requests that it sets aside.
const NO_SWAP: &[(&str, &str)] = &[("--swap-space", "0")];

const NO_DEEP_GEMM: &[(&str, &str)] = &[("VLLM_USE_DEEP_GEMM", "0")];

const NO_JUST_IN_TIME: &[(&str, &str)] = &[
    ("VLLM_ALLREDUCE_USE_FLASHINFER", "0"),
    ("VLLM_USE_DEEP_GEMM", "0"),
    ("VLLM_USE_FLASHINFER_SAMPLER", "0"),
];

/// SGLang loads DeepGEMM and looks for CUDA's runtime below CUDA_HOME before it asks what it needs; TVM's
/// interface would be compiled with the headers of CUDA.
const SGLANG: &[(&str, &str)] = &[
    ("CUDA_HOME", STACK),
    ("SGLANG_ENABLE_JIT_DEEPGEMM", "0"),
    ("TVM_FFI_DISABLE_TORCH_C_DLPACK", "1"),
];

const NO_FLASHINFER: &[(&str, &str)] = &[("--sampling-backend", "pytorch")];

/// Newest last, per package. What is between two rows is taken for like the older one.
pub const RELEASES: &[Release] = &[
    Release {
        package: "vllm",
        version: "0.8.5.post1",
        before: Some("2025-05-15"),
        python: (9, 12),
        disk: 4700,
        environment: &[],
        options: NO_SWAP,
    },
    Release {
        package: "vllm",
        version: "0.11.0",
        before: Some("2025-10-10"),
        python: (9, 13),
        disk: 5000,
        environment: &[],
        options: NO_SWAP,
    },
    Release {
        package: "vllm",
        version: "0.20.0",
        before: None,
        python: (10, 13),
        disk: 4000,
        environment: NO_DEEP_GEMM,
        options: &[],
    },
    Release {
        package: "vllm",
        version: "0.32.0",
        before: None,
        python: (10, 13),
        disk: 5000,
        environment: NO_JUST_IN_TIME,
        options: &[],
    },
    Release {
        package: "sglang",
        version: "0.5.5",
        before: Some("2025-11-15"),
        python: (10, 12),
        disk: 6000,
        environment: SGLANG,
        options: NO_FLASHINFER,
    },
];

/// The engine that is installed when none is named: the one the paper measured.
pub const DEFAULT: &str = "vllm==0.8.5.post1";

/// What was asked for: a package of the catalog, and a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The version, as PyPI has it.
    pub version: String,
    /// The row of the catalog that applies.
    pub like: &'static Release,
}

impl Wanted {
    /// Whether this very version is in the catalog.
    pub fn is_tried(&self) -> bool {
        self.like.version == self.version
    }

    /// The name of its folder.
    pub fn folder(&self) -> String {
        format!("{}-{}", self.like.package, self.version)
    }

    /// The day by which packages must have been there.
    pub fn before(&self) -> Option<&'static str> {
        self.like.before.filter(|_| self.is_tried())
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=={}", self.like.package, self.version)
    }
}

impl FromStr for Wanted {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (package, version) = match text.split_once("==") {
            Some((package, version)) => (package.trim(), Some(version.trim())),
            None => (text.trim(), None),
        };
        let mut releases = RELEASES.iter().filter(|release| release.package == package).peekable();
        let Some(oldest) = releases.peek().copied() else {
            bail!("`{package}` is no engine that is known here; known: {}", known());
        };
        let newest = releases.clone().next_back().unwrap_or(oldest);
        let version = version.unwrap_or(newest.version);
        let number = numbers(version)
            .with_context(|| format!("`{version}` is no version; give it as {DEFAULT}"))?;
        let like = releases
            .rfind(|release| numbers(release.version).is_some_and(|known| known <= number))
            .unwrap_or(oldest);
        Ok(Self { version: version.to_owned(), like })
    }
}

/// The releases of the catalog, as they are asked for.
pub fn known() -> String {
    let names: Vec<_> = RELEASES
        .iter()
        .map(|release| format!("{}=={}", release.package, release.version))
        .collect();
    names.join(", ")
}

/// The numbers at the beginning of a version.
fn numbers(version: &str) -> Option<Vec<u32>> {
    let numbers: Vec<u32> = version.split('.').map_while(|part| part.parse().ok()).collect();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+');
    (!numbers.is_empty() && version.chars().all(plain)).then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(text: &str) -> Wanted {
        text.parse().unwrap()
    }

    #[test]
    fn a_release_of_the_catalog_is_itself() {
        let asked = wanted("vllm==0.8.5.post1");
        assert!(asked.is_tried());
        assert_eq!(asked.to_string(), "vllm==0.8.5.post1");
        assert_eq!(asked.folder(), "vllm-0.8.5.post1");
        assert_eq!(asked.before(), Some("2025-05-15"));
    }

    #[test]
    fn a_release_in_between_is_like_the_older_one_but_takes_the_packages_of_today() {
        let asked = wanted("vllm==0.12.1");
        assert_eq!(asked.like.version, "0.11.0");
        assert!(!asked.is_tried());
        assert_eq!(asked.before(), None);
        assert_eq!(wanted("vllm==0.1").like.version, "0.8.5.post1");
        assert_eq!(wanted("vllm==99.0").like.version, newest());
    }

    #[test]
    fn without_a_version_the_newest_that_was_tried_is_meant() {
        assert_eq!(wanted("vllm").version, newest());
    }

    fn newest() -> &'static str {
        RELEASES.iter().rfind(|release| release.package == "vllm").unwrap().version
    }

    #[test]
    fn what_is_no_engine_or_no_version_is_refused() {
        for (text, reason) in [
            ("torch==2.6", "`torch` is no engine that is known here; known: vllm==0.8.5.post1"),
            ("vllm==latest", "`latest` is no version"),
            ("vllm==1; rm", "`1; rm` is no version"),
        ] {
            let error = text.parse::<Wanted>().unwrap_err().to_string();
            assert!(error.starts_with(reason), "{error}");
        }
    }

    #[test]
    fn releases_of_a_package_stand_in_the_order_of_their_versions() {
        for pair in RELEASES.windows(2) {
            if pair[0].package == pair[1].package {
                assert!(numbers(pair[0].version) < numbers(pair[1].version));
            }
        }
        assert!(DEFAULT.parse::<Wanted>().unwrap().is_tried());
    }
}
