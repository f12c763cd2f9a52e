//! Reading a recording, as far as it is whole.

use bytes::Bytes;
use nccltap_proto::{MAX_MESSAGE_BYTES, RECORDING_MAGIC, v1};
use prost::Message;
use std::fmt;
use std::io::{self, Read};

/// Longest entry that is believed: a message and the identity of its process.
const LONGEST_ENTRY: u64 = MAX_MESSAGE_BYTES as u64 + 65_536;

/// Why bytes are not a recording.
#[derive(Debug)]
pub enum ReadError {
    /// The first bytes are not those of a recording.
    NotARecording,
    /// The bytes could not be read.
    Io(io::Error),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotARecording => write!(f, "it is not a recording of nccltap"),
            Self::Io(error) => write!(f, "it cannot be read: {error}"),
        }
    }
}

impl std::error::Error for ReadError {}

/// How a recording ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tail {
    /// With a whole entry.
    Whole,
    /// In the middle of an entry, as when the writer was killed.
    CutOff {
        /// Bytes that are whole.
        whole: u64,
    },
    /// With bytes that are no entry.
    Damaged {
        /// Bytes before them.
        whole: u64,
    },
}

impl fmt::Display for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => write!(f, "the recording is whole"),
            Self::CutOff { whole } => write!(
                f,
                "the recording is cut off after {whole} bytes, in the middle of an entry; \
                 everything before is used"
            ),
            Self::Damaged { whole } => {
                write!(f, "the recording is damaged after {whole} bytes; everything before is used")
            }
        }
    }
}

/// Reads the entries of a recording one after the other.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    whole: u64,
    tail: Tail,
}

impl<R: Read> Reader<R> {
    /// Checks the first bytes. `from` is best buffered.
    pub fn new(mut from: R) -> Result<Self, ReadError> {
        let mut magic = [0; RECORDING_MAGIC.len()];
        match from.read_exact(&mut magic) {
            Ok(()) if magic == RECORDING_MAGIC => {}
            Ok(()) => return Err(ReadError::NotARecording),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(ReadError::NotARecording);
            }
            Err(error) => return Err(ReadError::Io(error)),
        }
        Ok(Self { from, whole: magic.len() as u64, tail: Tail::Whole })
    }

    /// The next entry, or `None` where the whole part of the recording ends, see
    /// [`tail`](Self::tail).
    pub fn next_entry(&mut self) -> io::Result<Option<v1::RecordingEntry>> {
        if self.tail != Tail::Whole {
            return Ok(None);
        }
        let Some((length, prefix)) = self.length()? else { return Ok(None) };
        if length > LONGEST_ENTRY {
            self.tail = Tail::Damaged { whole: self.whole };
            return Ok(None);
        }
        let mut bytes = vec![0; length as usize];
        if let Err(error) = self.from.read_exact(&mut bytes) {
            return self.cut_off(error);
        }
        let Ok(entry) = v1::RecordingEntry::decode(Bytes::from(bytes)) else {
            self.tail = Tail::Damaged { whole: self.whole };
            return Ok(None);
        };
        self.whole += prefix + length;
        Ok(Some(entry))
    }

    /// The varint before an entry and how many bytes it has.
    fn length(&mut self) -> io::Result<Option<(u64, u64)>> {
        let mut length = 0u64;
        for index in 0..10 {
            let mut byte = [0];
            match self.from.read_exact(&mut byte) {
                Ok(()) => {}
                Err(error) if index == 0 && error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(None);
                }
                Err(error) => return self.cut_off(error),
            }
            length |= u64::from(byte[0] & 0x7f).checked_shl(7 * index).unwrap_or(0);
            if byte[0] < 0x80 {
                return Ok(Some((length, u64::from(index) + 1)));
            }
        }
        self.tail = Tail::Damaged { whole: self.whole };
        Ok(None)
    }

    fn cut_off<T>(&mut self, error: io::Error) -> io::Result<Option<T>> {
        if error.kind() != io::ErrorKind::UnexpectedEof {
            return Err(error);
        }
        self.tail = Tail::CutOff { whole: self.whole };
        Ok(None)
    }

    /// How the recording ends, once [`next_entry`](Self::next_entry) has given `None`.
    pub fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Bytes of the recording that were read and are whole.
    pub fn whole(&self) -> u64 {
        self.whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(pid: u32) -> v1::RecordingEntry {
        let process = v1::Process { host: "node".into(), pid, ..Default::default() };
        v1::RecordingEntry { received_ns: 1, process: Some(process), ..Default::default() }
    }

    fn recording(pids: std::ops::Range<u32>) -> Vec<u8> {
        let mut bytes = RECORDING_MAGIC.to_vec();
        for pid in pids {
            entry(pid).encode_length_delimited(&mut bytes).unwrap();
        }
        bytes
    }

    fn pids(bytes: &[u8]) -> (Vec<u32>, Tail) {
        let mut reader = Reader::new(bytes).unwrap();
        let mut pids = Vec::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            pids.push(entry.process.map_or(0, |process| process.pid));
        }
        (pids, reader.tail().clone())
    }

    #[test]
    fn entries_come_back_in_order() {
        assert_eq!(pids(&recording(1..4)), (vec![1, 2, 3], Tail::Whole));
    }

    #[test]
    fn a_recording_that_is_cut_off_gives_everything_before() {
        let whole = recording(1..3);
        let (got, tail) = pids(&recording(1..4)[..whole.len() + 5]);
        assert_eq!(got, [1, 2]);
        assert_eq!(tail, Tail::CutOff { whole: whole.len() as u64 });
    }

    #[test]
    fn a_length_that_cannot_be_ends_the_reading() {
        let mut bytes = recording(1..2);
        let whole = bytes.len() as u64;
        bytes.extend([0xff; 12]);
        assert_eq!(pids(&bytes), (vec![1], Tail::Damaged { whole }));
    }

    #[test]
    fn what_is_no_recording_is_refused() {
        assert!(matches!(Reader::new(&b"hello"[..]), Err(ReadError::NotARecording)));
        assert!(matches!(Reader::new(&b"hello, world"[..]), Err(ReadError::NotARecording)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(tail: Vec<u8>) {
            let mut bytes = recording(1..3);
            bytes.extend(tail);
            prop_assert!(pids(&bytes).0.len() >= 2);
        }
    }
}
