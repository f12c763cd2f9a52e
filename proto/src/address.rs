//! Where a collector listens.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Address of a collector: a Unix socket on this host, or host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `unix:PATH`, or a plain path that starts with a slash.
    Unix(PathBuf),
    /// `tcp:HOST:PORT`, or `HOST:PORT`.
    Tcp {
        /// Name or address of the host, an IPv6 address in brackets.
        host: String,
        /// Port.
        port: u16,
    },
}

/// Port a collector listens on when asked to listen on TCP without one.
pub const DEFAULT_PORT: u16 = 9465;

impl Address {
    /// The address that agent and collector use when none is set: a socket in a directory that
    /// only this user can enter, `$XDG_RUNTIME_DIR` if there is one and `/tmp` otherwise.
    pub fn default_for(uid: u32, runtime_dir: Option<&Path>) -> Self {
        match runtime_dir {
            Some(dir) if dir.is_absolute() => {
                Self::Unix(dir.join("nccltap").join("collector.sock"))
            }
            _ => Self::Unix(format!("/tmp/nccltap-{uid}/collector.sock").into()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { host, port } => write!(f, "tcp:{host}:{port}"),
        }
    }
}

/// Why a text is not an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError(String);

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is not an address of a collector; write unix:/PATH or tcp:HOST:PORT",
            self.0
        )
    }
}

impl std::error::Error for AddressError {}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let refuse = || AddressError(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:").or(text.starts_with('/').then_some(text)) {
            // The address of a Unix socket holds 108 bytes, the last of them a zero.
            return match path.starts_with('/') && path.len() < 108 {
                true => Ok(Self::Unix(path.into())),
                false => Err(refuse()),
            };
        }
        let (host, port) =
            text.strip_prefix("tcp:").unwrap_or(text).rsplit_once(':').ok_or_else(refuse)?;
        let port = port.parse().map_err(|_| refuse())?;
        let bare_ipv6 = host.contains(':') && !host.starts_with('[');
        if host.is_empty() || host.contains(['/', ' ']) || bare_ipv6 {
            return Err(refuse());
        }
        Ok(Self::Tcp { host: host.to_owned(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_alike() {
        for (text, written) in [
            ("unix:/run/a.sock", "unix:/run/a.sock"),
            ("/run/a.sock", "unix:/run/a.sock"),
            ("tcp:node-1:9465", "tcp:node-1:9465"),
            ("127.0.0.1:80", "tcp:127.0.0.1:80"),
            ("[::1]:80", "tcp:[::1]:80"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), written);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_forms_that_are() {
        let long = format!("unix:/{}", "x".repeat(120));
        for text in
            ["", "unix:relative", "host", "host:port", ":80", "http://host:80", "::1:80", &long]
        {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains("unix:/PATH or tcp:HOST:PORT"), "{text}: {error}");
        }
    }

    #[test]
    fn the_default_is_private_to_the_user() {
        let run = Path::new("/run/user/7");
        assert_eq!(
            Address::default_for(7, Some(run)).to_string(),
            "unix:/run/user/7/nccltap/collector.sock"
        );
        assert_eq!(Address::default_for(7, None).to_string(), "unix:/tmp/nccltap-7/collector.sock");
    }
}
