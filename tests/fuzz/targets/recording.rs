//! A file that somebody says is a recording; it begins well.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nccltap_collector::collector::Collector;
use nccltap_collector::recording::Reader;
use nccltap_fuzz::{hello, holds_together};
use nccltap_proto::{RECORDING_MAGIC, v1};
use prost::Message as _;
use v1::agent_message::Message;

fuzz_target!(|entries: &[u8]| {
    let hello = hello(7);
    let first = v1::RecordingEntry {
        process: hello.process.clone(),
        message: Some(v1::AgentMessage { message: Some(Message::Hello(hello)) }),
        ..Default::default()
    };
    let bytes = [&RECORDING_MAGIC[..], &first.encode_length_delimited_to_vec(), entries].concat();
    let Ok(mut reader) = Reader::new(bytes.as_slice()) else { panic!("it begins as one") };
    let collector = Collector::new(3);
    while let Ok(Some(entry)) = reader.next_entry() {
        let _ = collector.replay(entry);
    }
    assert!(reader.whole() <= bytes.len() as u64);
    holds_together(collector);
});
