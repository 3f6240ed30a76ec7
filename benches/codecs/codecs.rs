//! Measures the cost of encoding and reading the rows that workers exchange: bincode as timely uses it between
//! processes, columnar, and abomonation, which timely used until 2024.
#![allow(clippy::unwrap_used, reason = "a bench that fails has to stop")]

use clap::Parser;
use columnar::bytes::indexed::{DecodedStore, encode};
use columnar::{Borrow, BorrowedOf, Columnar, ContainerOf, FromBytes, Index, Len, Push};
use dataflows::sessionize::Visit;
use dataflows::{Event, Identity, Position, Record, UserKey};
use harness::clock::repeat;
use harness::table::{Table, number, thousands};
use harness::visits::Workload;
use headwater_codecs::{self as abomonated, Encoded, Plain};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

#[derive(Parser)]
struct Arguments {
    /// Rows in all; they are encoded as they are exchanged, in batches of 4096.
    #[arg(long, default_value_t = 1_000_000)]
    rows: usize,
    #[arg(long, default_value_t = 5)]
    runs: usize,
}

const BATCH: usize = 4096;

struct Bench {
    table: Table,
    runs: usize,
}

fn main() {
    let Arguments { rows, runs } = harness::arguments();
    let title = format!("{} rows in batches of {}:", thousands(rows), thousands(BATCH));
    let columns = ["rows, codec", "encode, ns CPU/row", "decode and read, ns CPU/row", "bytes/row"];
    let bench = Bench { table: Table::new(&title, &columns), runs };

    let visits = Workload::new(rows, false).visits(0..rows);
    bench.bincode("`Record`", visits.iter().map(record).collect(), |record| micros(&record.event));
    bench.bincode("`Record` with an identity", visits.iter().map(identified).collect(), |record| {
        micros(&record.event) + record.identity.as_ref().map_or(0, |identity| identity.payload[0] as usize)
    });
    bench.bincode("`Visit`", visits.clone(), |visit: &Visit| visit.time.micros() as usize);
    let plain: Vec<_> = visits.iter().map(plain).collect();
    bench.abomonation("visit", plain.clone(), |visit| visit.time as usize);
    let tuple = |visit: &abomonated::Visit| (halves(visit.user), visit.time, visit.signature);
    bench.columnar("visit", plain.iter().map(tuple).collect(), |(_, time, _)| *time as usize);

    let visits = Workload::new(rows, true).visits(0..rows);
    let read = |visit: &Visit| {
        let details = visit.details.as_ref().unwrap();
        details.sums[0].numbers as usize + details.carried[0].as_ref().map_or(0, |text| text.len())
    };
    bench.bincode("`Visit` with a sum and a carried text", visits.clone(), read);
    let detailed: Vec<_> = visits.iter().map(detailed).collect();
    let read = |visit: &abomonated::DetailedVisit| visit.sum[2] as usize + visit.carried.len();
    bench.abomonation("visit with a sum and a carried text", detailed.clone(), read);
    let tuple = |row: &abomonated::DetailedVisit| {
        let [low, high, numbers, others] = row.sum;
        let visit = &row.visit;
        (halves(visit.user), visit.time, visit.signature, (low, high, numbers, others), row.carried.clone())
    };
    let rows_of = detailed.iter().map(tuple).collect();
    bench.columnar("visit with a sum and a carried text", rows_of, |row: (_, _, _, (_, _, &u64, _), &[u8])| {
        *row.3.2 as usize + row.4.len()
    });

    let text = |row: usize| format!("00000000-0000-4000-8000-{row:012}");
    let name = |row| (UserKey::of(&text(row)), Arc::<str>::from(text(row)));
    bench.bincode("name (36 bytes)", (0..rows).map(name).collect(), |(_, name): &(UserKey, Arc<str>)| name.len());
    let name = |row| abomonated::Name { user: key(UserKey::of(&text(row))), name: text(row) };
    bench.abomonation("name (36 bytes)", (0..rows).map(name).collect(), |name| name.name.len());
    let name = |row| (halves(key(UserKey::of(&text(row)))), text(row));
    bench.columnar("name (36 bytes)", (0..rows).map(name).collect(), |(_, name): (_, &[u8])| name.len());
}

impl Bench {
    fn row(&self, rows: &str, codec: &str, encoded: f64, decoded: f64, bytes: f64) {
        self.table.row(&[format!("{rows}, {codec}"), number(encoded), number(decoded), number(bytes)]);
    }

    /// As timely does for vectors: the size is computed first; what is decoded is owned.
    fn bincode<T: Serialize + DeserializeOwned + Clone>(&self, name: &str, rows: Vec<T>, read: impl Fn(&T) -> usize) {
        let batches: Vec<Vec<T>> = rows.chunks(BATCH).map(<[T]>::to_vec).collect();
        let mut encoded: Vec<Vec<u8>> = batches.iter().map(|_| Vec::new()).collect();
        let (encoding, ()) = repeat(self.runs, || {
            for (batch, bytes) in batches.iter().zip(&mut encoded) {
                bytes.clear();
                bytes.reserve(bincode::serialized_size(batch).unwrap() as usize);
                bincode::serialize_into(bytes, batch).unwrap();
            }
        });
        let (decoding, total) = repeat(self.runs, || {
            let decode = |bytes: &Vec<u8>| {
                let rows: Vec<T> = bincode::deserialize(bytes).unwrap();
                sum(rows.iter().map(&read))
            };
            sum(encoded.iter().map(decode))
        });
        assert_eq!(total, sum(rows.iter().map(&read)));
        let bytes = encoded.iter().map(Vec::len).sum::<usize>() as f64 / rows.len() as f64;
        let each = 1e9 / rows.len() as f64;
        self.row(name, "bincode", encoding.cpu * each, decoding.cpu * each, bytes);
    }

    fn abomonation<T: Plain + Clone>(&self, name: &str, rows: Vec<T>, read: impl Fn(&T) -> usize) {
        let batches: Vec<Vec<T>> = rows.chunks(BATCH).map(<[T]>::to_vec).collect();
        let mut encoded: Vec<Encoded<T>> = batches.iter().map(|batch| Encoded::of(batch, Vec::new())).collect();
        let (encoding, ()) = repeat(self.runs, || {
            let spares: Vec<_> = encoded.drain(..).map(Encoded::into_spare).collect();
            encoded = batches.iter().zip(spares).map(|(batch, spare)| Encoded::of(batch, spare)).collect();
        });
        let (decoding, total) =
            repeat(self.runs, || sum(encoded.iter_mut().map(|batch| sum(batch.decode().iter().map(&read)))));
        assert_eq!(total, sum(rows.iter().map(&read)));
        let bytes = encoded.iter().map(Encoded::len).sum::<usize>() as f64 / rows.len() as f64;
        let each = 1e9 / rows.len() as f64;
        self.row(name, "abomonation", encoding.cpu * each, decoding.cpu * each, bytes);
    }

    /// From rows to columns to bytes, and reading in the bytes.
    fn columnar<T: Columnar>(&self, name: &str, rows: Vec<T>, read: impl for<'a> Fn(columnar::Ref<'a, T>) -> usize) {
        let batches: Vec<&[T]> = rows.chunks(BATCH).collect();
        let mut encoded: Vec<Vec<u64>> = batches.iter().map(|_| Vec::new()).collect();
        let mut columns = ContainerOf::<T>::default();
        let (encoding, ()) = repeat(self.runs, || {
            for (batch, words) in batches.iter().zip(&mut encoded) {
                columnar::Clear::clear(&mut columns);
                batch.iter().for_each(|row| columns.push(row));
                words.clear();
                encode(words, &columns.borrow());
            }
        });
        let (decoding, _) = repeat(self.runs, || {
            let decode = |words: &Vec<u64>| {
                let columns = BorrowedOf::<T>::from_store(&DecodedStore::new(words), &mut 0);
                sum((0..columns.len()).map(|row| read(columns.get(row))))
            };
            sum(encoded.iter().map(decode))
        });
        let bytes = 8.0 * encoded.iter().map(Vec::len).sum::<usize>() as f64 / rows.len() as f64;
        let each = 1e9 / rows.len() as f64;
        self.row(name, "columnar", encoding.cpu * each, decoding.cpu * each, bytes);
    }
}

fn sum(values: impl Iterator<Item = usize>) -> usize {
    values.fold(0, usize::wrapping_add)
}

fn micros(event: &Event) -> usize {
    event.time.map_or(0, |time| time.micros() as usize)
}

fn record(visit: &Visit) -> Record {
    let Visit { user, time, signature, details } = visit.clone();
    let event = Event {
        user: Some(user),
        time: Ok(time),
        signature,
        details,
        steps: None,
        contributions: None,
        calls: None,
        counted: None,
        links: None,
    };
    Record { event, identity: None }
}

fn identified(visit: &Visit) -> Record {
    let payload = key(visit.user);
    let id = dataflows::EventId::of(Some(visit.user), "id");
    let position = Position { source: 0, part: 0, offset: visit.time.micros() as u64 };
    let identity = Some(Box::new(Identity { id, payload, position, horizon: 1 }));
    Record { identity, ..record(visit) }
}

fn plain(visit: &Visit) -> abomonated::Visit {
    abomonated::Visit { user: key(visit.user), time: visit.time.micros(), signature: visit.signature.0 }
}

fn detailed(visit: &Visit) -> abomonated::DetailedVisit {
    let details = visit.details.as_ref().unwrap();
    let sum = details.sums[0];
    let millionths = sum.sum.millionths();
    let (low, high) = (millionths as u64, (millionths >> 64) as u64);
    let carried = details.carried[0].as_deref().unwrap_or_default().to_owned();
    abomonated::DetailedVisit { visit: plain(visit), sum: [low, high, sum.numbers, sum.others], carried }
}

fn key(user: UserKey) -> [u64; 2] {
    let bytes = user.bytes();
    [0, 8].map(|from| u64::from_be_bytes(std::array::from_fn(|byte| bytes[from + byte])))
}

fn halves([high, low]: [u64; 2]) -> (u64, u64) {
    (high, low)
}
