//! The log of the peers' job without headwater's code: for the job by hand, and to compare parsers.

use serde::Deserialize;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The values that the job needs of an event.
#[derive(Deserialize)]
pub struct Event<'a> {
    /// Seconds since 1970, with nine digits after the point.
    pub time_utc: &'a str,
    pub user_id: &'a str,
    button_type: Option<&'a str>,
    #[serde(borrow)]
    event_details: Option<EventDetails<'a>>,
}

#[derive(Deserialize)]
struct EventDetails<'a> {
    button_type: Option<&'a str>,
}

impl<'a> Event<'a> {
    pub fn button(&self) -> Option<&'a str> {
        self.event_details.as_ref().and_then(|details| details.button_type).or(self.button_type)
    }
}

/// Reads a file through one buffer of 1 MiB. `each` gets what is there and returns how many bytes of it are done; the
/// others come again, with what follows them. Returns those that are left at the end.
pub fn read(path: &Path, mut each: impl FnMut(&[u8]) -> usize) -> Vec<u8> {
    let mut file = File::open(path).unwrap();
    let mut buffer = vec![0; 1 << 20];
    let mut filled = 0;
    loop {
        let length = file.read(&mut buffer[filled..]).unwrap();
        if length == 0 {
            buffer.truncate(filled);
            return buffer;
        }
        filled += length;
        let done = each(&buffer[..filled]);
        buffer.copy_within(done..filled, 0);
        filled -= done;
        assert!(filled < buffer.len(), "no record is as long as the buffer");
    }
}
