//! The settings: environment variables `NCCLTAP_*`, read once when the tap comes to life.
//!
//! The table below is the only place where a setting stands; `docs/settings.md` is made from it. A
//! value that cannot be used is reported to the collector, once, and the default is used.

use nccltap_proto::address::Address;
use nccltap_proto::ringfile::{MAX_RING_RECORDS, MAX_RINGS};
use nccltap_proto::v1;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// When the tap comes to life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// With the first communicator.
    Communicator,
    /// With the first call of any wrapped function.
    Call,
}

macro_rules! settings {
    ($($field:ident: $type:ty = $name:literal, $default:literal, $read:path, $meaning:literal;)*) => {
        /// The values in force.
        #[derive(Clone, Debug)]
        pub(crate) struct Settings {
            $(#[doc = $meaning] pub(crate) $field: $type,)*
            /// Every setting with its value, as the collector is told.
            pub(crate) shown: Vec<v1::Setting>,
        }

        impl Settings {
            /// Reads all settings through `lookup`, which gives the value of a variable.
            pub(crate) fn read(lookup: &dyn Fn(&str) -> Option<String>) -> Self {
                let mut shown = Vec::new();
                $(let $field = take($name, $default, $read, lookup, &mut shown);)*
                Self { $($field,)* shown }
            }
        }

        /// Name, default and meaning of every setting.
        #[cfg(test)]
        const TABLE: &[(&str, &str, &str)] = &[$(($name, $default, $meaning)),*];

    };
}

settings! {
    off: bool = "NCCLTAP_OFF", "0", read::switch,
        "1 turns the tap off: it passes every call on and does nothing else.";
    collector: Address = "NCCLTAP_COLLECTOR", "", read::address,
        "Where the collector listens: unix:/PATH or tcp:HOST:PORT. Default: the socket that `nccltap serve` makes for this user.";
    job: String = "NCCLTAP_JOB", "", read::text,
        "A name for the job this process belongs to; it becomes the label `job_name` of the metrics.";
    token: String = "NCCLTAP_TOKEN", "", read::secret,
        "The shared secret that a collector on TCP asks for.";
    start: Start = "NCCLTAP_START", "communicator", read::start,
        "When the tap comes to life: `communicator`, with the first communicator, or `call`, with the first call of any wrapped function.";
    ring_dir: PathBuf = "NCCLTAP_RING_DIR", "/dev/shm", read::directory,
        "Directory for the ring file; memory-backed, or every call is written to a disk.";
    ring_records: u64 = "NCCLTAP_RING_RECORDS", "65536", read::ring_records,
        "Records per ring, rounded up to a power of two, 64 bytes each; fewer where the directory has little room. A ring must hold what a thread records while the collector is away.";
    rings: u32 = "NCCLTAP_RINGS", "64", read::rings,
        "Most threads that can call NCCL at the same time and be recorded. Only rings that are used take memory.";
    exit_wait: Duration = "NCCLTAP_EXIT_WAIT_MS", "500", read::milliseconds,
        "Longest time, in milliseconds, that an exiting process waits for the collector to take the last records.";
}

impl Settings {
    /// Reads all settings from the environment of this process.
    pub(crate) fn from_environment() -> Self {
        Self::read(&|name| std::env::var_os(name).map(|v| v.to_string_lossy().into_owned()))
    }

    /// How many settings had a value that could not be used.
    pub(crate) fn refused(&self) -> usize {
        self.shown.iter().filter(|setting| !setting.problem.is_empty()).count()
    }
}

/// A value, and how it is shown.
type Taken<T> = (T, String);

/// Reads one setting; falls back to its default, which always can be read.
fn take<T>(
    name: &str,
    default: &str,
    read: fn(&str) -> Result<Taken<T>, Refusal>,
    lookup: &dyn Fn(&str) -> Option<String>,
    shown: &mut Vec<v1::Setting>,
) -> T
where
    T: Fallback,
{
    let given = lookup(name).filter(|value| !value.is_empty());
    let (outcome, problem) = match given.as_deref().map(read) {
        Some(Ok(taken)) => (Some(taken), String::new()),
        Some(Err(Refusal(expected))) => {
            (None, format!("the value is not {expected}; the default is used"))
        }
        None => (None, String::new()),
    };
    let (value, text) =
        outcome.or_else(|| read(default).ok()).unwrap_or_else(|| (T::fallback(), String::new()));
    shown.push(v1::Setting { name: name.to_owned(), value: text, problem });
    value
}

/// What was expected of a value that was refused.
struct Refusal(&'static str);

/// A value for a default that does not parse; a test shows that none is ever needed.
trait Fallback {
    fn fallback() -> Self;
}

macro_rules! fallback {
    ($($type:ty => $value:expr;)*) => {
        $(impl Fallback for $type { fn fallback() -> Self { $value } })*
    };
}
fallback! {
    bool => false;
    u64 => 1;
    u32 => 1;
    String => String::new();
    PathBuf => PathBuf::from("/tmp");
    Duration => Duration::ZERO;
    Start => Start::Communicator;
    Address => Address::default_for(0, None);
}

mod read {
    use super::*;

    pub(super) fn switch(text: &str) -> Result<Taken<bool>, Refusal> {
        match text {
            "1" => Ok((true, "1".into())),
            "0" => Ok((false, "0".into())),
            _ => Err(Refusal("0 or 1")),
        }
    }

    pub(super) fn text(text: &str) -> Result<Taken<String>, Refusal> {
        let text: String = text.chars().filter(|c| !c.is_control()).take(63).collect();
        Ok((text.clone(), text))
    }

    pub(super) fn secret(text: &str) -> Result<Taken<String>, Refusal> {
        let shown = if text.is_empty() { "" } else { "(set)" };
        Ok((text.to_owned(), shown.to_owned()))
    }

    pub(super) fn address(text: &str) -> Result<Taken<Address>, Refusal> {
        let address = match text {
            "" => default_address(),
            _ => text.parse().map_err(|_| Refusal("unix:/PATH or tcp:HOST:PORT"))?,
        };
        let shown = address.to_string();
        Ok((address, shown))
    }

    fn default_address() -> Address {
        let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        Address::default_for(crate::ffi::user_id(), runtime_dir.as_deref())
    }

    pub(super) fn start(text: &str) -> Result<Taken<Start>, Refusal> {
        let start = match text {
            "communicator" => Start::Communicator,
            "call" => Start::Call,
            _ => return Err(Refusal("`communicator` or `call`")),
        };
        Ok((start, text.to_owned()))
    }

    pub(super) fn directory(text: &str) -> Result<Taken<PathBuf>, Refusal> {
        match Path::new(text).is_absolute() {
            true => Ok((text.into(), text.to_owned())),
            false => Err(Refusal("an absolute path")),
        }
    }

    pub(super) fn ring_records(text: &str) -> Result<Taken<u64>, Refusal> {
        let records = text.parse().ok().filter(|n| (64..=MAX_RING_RECORDS).contains(n));
        let records: u64 = records.ok_or(Refusal("a number from 64 to 1048576"))?;
        let records = records.next_power_of_two();
        Ok((records, records.to_string()))
    }

    pub(super) fn rings(text: &str) -> Result<Taken<u32>, Refusal> {
        let rings = text.parse().ok().filter(|n| (1..=MAX_RINGS).contains(n));
        let rings: u32 = rings.ok_or(Refusal("a number from 1 to 1024"))?;
        Ok((rings, rings.to_string()))
    }

    pub(super) fn milliseconds(text: &str) -> Result<Taken<Duration>, Refusal> {
        let number: u64 = text
            .parse()
            .ok()
            .filter(|n| *n <= 60_000)
            .ok_or(Refusal("a number of milliseconds up to 60000"))?;
        Ok((Duration::from_millis(number), number.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, value: &'static str) -> Settings {
        Settings::read(&move |asked| (asked == name).then(|| value.to_owned()))
    }

    fn problem(settings: &Settings, name: &str) -> String {
        settings.shown.iter().find(|s| s.name == name).unwrap().problem.clone()
    }

    #[test]
    fn every_default_can_be_read() {
        let settings = Settings::read(&|_| None);
        assert_eq!(settings.refused(), 0);
        assert_eq!(settings.ring_records, 65536);
        assert_eq!(settings.rings, 64);
        assert_eq!(settings.ring_dir, Path::new("/dev/shm"));
        assert_eq!(settings.exit_wait, Duration::from_millis(500));
        assert_eq!(settings.start, Start::Communicator);
        assert!(!settings.off);
    }

    #[test]
    fn a_bad_value_is_named_and_the_default_used() {
        for (name, value) in [
            ("NCCLTAP_OFF", "yes"),
            ("NCCLTAP_COLLECTOR", "nowhere"),
            ("NCCLTAP_START", "now"),
            ("NCCLTAP_RING_DIR", "rings"),
            ("NCCLTAP_RING_RECORDS", "10"),
            ("NCCLTAP_RINGS", "0"),
            ("NCCLTAP_EXIT_WAIT_MS", "-1"),
        ] {
            let settings = with(name, value);
            assert_eq!(settings.refused(), 1, "{name}");
            assert!(problem(&settings, name).ends_with("the default is used"), "{name}");
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        let settings = with("NCCLTAP_TOKEN", "hush");
        assert_eq!(settings.token, "hush");
        assert!(settings.shown.iter().all(|setting| !setting.value.contains("hush")));
    }

    #[test]
    fn ring_records_are_rounded_up_to_a_power_of_two() {
        assert_eq!(with("NCCLTAP_RING_RECORDS", "1000").ring_records, 1024);
    }

    /// `NCCLTAP_BLESS=1 cargo test -p nccltap-agent` writes the document.
    #[test]
    fn the_document_has_every_setting() {
        let mut text = String::from(
            "# Settings of the tap\n\n\
             Environment variables of the tapped process, read once when the tap comes to life.\n\
             Made from the table in `agent/src/settings.rs`.\n\n\
             | variable | default | meaning |\n| --- | --- | --- |\n",
        );
        for (name, default, meaning) in TABLE {
            let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
            text += &format!("| `{name}` | {default} | {meaning} |\n");
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/settings.md");
        if std::env::var_os("NCCLTAP_BLESS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), text);
    }
}
