//! The partitions that a source reads, each with the next record that may have events.

use super::client::{Consumer, Context, Looker, Place};
use crate::observe::sources::SourceStatus;
use headwater_decode::messages::HeadersWriter;
use rdkafka::consumer::Consumer as _;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of key and headers together. Those of a record that has more are left out, and counted.
const BESIDE_BYTES: usize = 512 << 10;
/// For so long, the others wait for a partition that is behind and has nothing at hand.
const PATIENCE: Duration = Duration::from_secs(1);

/// A client, and the partitions that it reads.
pub struct Connected {
    pub consumer: Arc<Consumer>,
    pub looker: Looker,
    /// When a look was asked for.
    pub asked: Option<Instant>,
    pub parts: Vec<Part>,
}

pub struct Part {
    pub place: Place,
    queue: PartitionQueue<Context>,
    /// That came before the queue was split off.
    early: VecDeque<Head>,
    /// What came first in the queue.
    first: Option<Head>,
    /// Everything that came before the queue was split off is in `early`, or was taken.
    is_settled: bool,
    pub head: Option<Head>,
    /// The offset behind everything that was taken.
    pub position: i64,
    pub gaps: u32,
    /// The latest time of a record.
    pub latest: i64,
    /// It was read to its end, and did not fall far behind since.
    pub caught_up: bool,
    /// Since when it has nothing.
    pub silent: Instant,
    pub end: i64,
    /// The brokers do not have its position.
    pub out_of_range: bool,
    /// No record was read since the process began.
    pub is_fresh: bool,
}

/// A record that was read, and is not in a delivery yet.
pub struct Head {
    pub offset: i64,
    pub time_ms: Option<i64>,
    pub key: Option<Vec<u8>>,
    pub headers: Vec<u8>,
    pub value: Vec<u8>,
}

impl Connected {
    /// Begins to read partitions, each from an offset.
    ///
    /// # Errors
    /// What librdkafka says. Then none of them is read, and they are still new.
    pub fn assign(&mut self, fresh: &[(Place, i64, u32)]) -> Result<(), String> {
        if fresh.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        for (place, offset, _) in fresh {
            let added = list.add_partition_offset(&place.topic, place.partition, Offset::Offset(*offset));
            added.map_err(|error| error.to_string())?;
        }
        self.consumer.incremental_assign(&list).map_err(|error| format!("cannot begin to read: {error}"))?;
        for (place, offset, gaps) in fresh {
            let split = self.consumer.split_partition_queue(&place.topic, place.partition);
            let Some(mut queue) = split else { return Err(format!("cannot read {place}: it has no queue")) };
            let thread = thread::current();
            queue.set_nonempty_callback(move || thread.unpark());
            tracing::info!(partition = %place, offset, "a partition is read");
            self.parts.push(Part {
                place: place.clone(),
                queue,
                early: VecDeque::new(),
                first: None,
                is_settled: false,
                head: None,
                position: *offset,
                gaps: *gaps,
                latest: i64::MIN,
                caught_up: false,
                silent: Instant::now(),
                end: *offset,
                out_of_range: false,
                is_fresh: true,
            });
        }
        Ok(())
    }
}

/// Records may come before the queue of a partition is split off. They lie in the queue of the client then, and are older
/// than all that is in the partition's own. So nothing is taken from that before the client's was emptied. One thread of
/// librdkafka fills both: when something is in the own one, what is older is already in the other.
impl Part {
    /// Looks for the first record in its own queue. Between this and [`Part::settle`], the queue of the client has to be
    /// emptied.
    pub fn begin_to_settle(&mut self, event_bytes: usize, status: &SourceStatus) {
        if !self.is_settled && self.first.is_none() {
            self.first = self.poll(event_bytes, status);
        }
    }

    /// Takes a record that was in the queue of the client.
    pub fn came_early(&mut self, head: Head) {
        self.early.push_back(head);
    }

    /// What is older than the first record is in `early` now.
    pub fn settle(&mut self) {
        if let Some(first) = self.first.take() {
            self.early.push_back(first);
            self.is_settled = true;
        }
    }

    /// Notes that the brokers may not have its position, if that may have been said in the queue of the client.
    pub fn may_be_out_of_range(&mut self) {
        self.out_of_range |= !self.is_settled;
    }

    /// Returns the next record of its own queue.
    fn poll(&mut self, event_bytes: usize, status: &SourceStatus) -> Option<Head> {
        while !self.out_of_range {
            match self.queue.poll(Duration::ZERO)? {
                Ok(message) => return Some(Head::of(&message, event_bytes, status)),
                Err(KafkaError::PartitionEOF(_)) => self.caught_up = true,
                Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) => {
                    self.out_of_range = true;
                }
                Err(error) => tracing::debug!(partition = %self.place, %error, "a partition cannot be read for now"),
            }
        }
        None
    }

    /// Fetches the next record that may have events, if it is there.
    pub fn refill(&mut self, event_bytes: usize, status: &SourceStatus) {
        /// Records that are passed at once.
        const AT_ONCE: usize = 10_000;
        for _ in 0..AT_ONCE {
            if self.head.is_some() || self.out_of_range {
                return;
            }
            let head = match self.early.pop_front() {
                Some(head) => head,
                None if !self.is_settled => return,
                None => match self.poll(event_bytes, status) {
                    Some(head) => head,
                    None => return,
                },
            };
            (self.silent, self.is_fresh) = (Instant::now(), false);
            // Of an earlier assignment.
            if head.offset < self.position {
                continue;
            }
            if head.value.trim_ascii().is_empty() {
                self.position = head.offset + 1;
                continue;
            }
            self.head = Some(head);
        }
    }

    /// Returns whether the other partitions wait for a record of this one, which has none at hand.
    pub fn is_awaited(&self) -> bool {
        !self.caught_up && !self.out_of_range && self.silent.elapsed() < PATIENCE
    }
}

impl Head {
    /// Copies a record. Of a value that is too large, enough to see that. Counts what will not become an event.
    pub fn of(message: &BorrowedMessage<'_>, event_bytes: usize, status: &SourceStatus) -> Head {
        let value = message.payload();
        match value {
            None => status.metrics.passed("tombstone"),
            Some(value) if value.trim_ascii().is_empty() => status.metrics.passed("blank"),
            Some(_) => {}
        }
        let value = value.unwrap_or_default();
        let mut headers = HeadersWriter::default();
        let all = message.headers().into_iter().flat_map(|headers| headers.iter());
        all.for_each(|header| headers.push(header.key, header.value));
        let (mut key, mut headers) = (message.key().map(<[u8]>::to_vec), headers.finish());
        if key.as_ref().map_or(0, Vec::len) + headers.len() > BESIDE_BYTES {
            status.metrics.passed("large_key_or_headers");
            (key, headers) = (None, HeadersWriter::default().finish());
        }
        Head {
            offset: message.offset(),
            time_ms: message.timestamp().to_millis(),
            key,
            headers,
            value: value[..value.len().min(event_bytes + 1)].to_vec(),
        }
    }

    /// Returns about how many bytes it has in a delivery.
    pub fn bytes(&self) -> usize {
        self.value.len() + self.headers.len() + self.key.as_ref().map_or(0, Vec::len) + 32
    }
}
