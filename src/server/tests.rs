//! A real server on a port of its own, over a real log in a folder of its own. The client sends exactly the bytes of a
//! test.

use super::{Bounds, Server, Services, start_within};
use crate::config::{self, Overrides};
use crate::observe::metrics::Metrics;
use crate::observe::status::{Phase, Status};
use crate::patience::PATIENCE;
use crate::plan::Plan;
use crate::queue::backfills::Backfills;
use crate::queue::cursor::Cursors;
use crate::queue::definitions::Definitions;
use crate::queue::delivery::Delivery;
use crate::queue::intake::{Intake, Ticket};
use crate::queue::labels::Labelbook;
use crate::queue::numbers::{Numbers, SourceNumber};
use crate::queue::rulebook::Rulebook;
use crate::queue::versions::Versions;
use crate::read::reads::Reads;
use crate::read::subscribe::hub::Hub;
use crate::read::subscribe::subscriber::Subscriptions;
use crate::read::subscribe::token::ResumeTokens;
use crate::server::token::IngestTokens;
use headwater_log::histories::{Histories, Place, StartId};
use headwater_log::partition::Limits;
use headwater_log::reserve::Reserve;
use headwater_log::segment::LogId;
use headwater_log::vfs::{RealFs, Vfs};
use headwater_log::{Log, Settings};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

mod access;
mod bounds;
mod collect;
mod disk;
mod hosts;

const LOG: LogId = LogId([7; 16]);
/// The first number of the plan's sources in deliveries.
const NUMBER: u16 = 40;

/// One source that is posted to.
const ONE: &str = "source = [{ name = 'app', kind = 'http' }]";

struct World {
    server: Server,
    intake: Arc<Intake>,
    metrics: Arc<Metrics>,
    status: Arc<Status>,
    plan: Arc<Plan>,
    log: Log,
    _folder: TempDir,
}

impl World {
    /// Ready, with this configuration but for the address.
    fn new(config: &str) -> World {
        World::within(config, Bounds::default())
    }

    fn within(config: &str, bounds: Bounds) -> World {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("data");
        World::on(config, bounds, folder, Arc::new(RealFs), &root)
    }

    /// With the log at `root` of another file system; `folder` is where the configuration lies.
    fn on(config: &str, bounds: Bounds, folder: TempDir, vfs: Arc<dyn Vfs>, root: &Path) -> World {
        let overrides = Overrides { without_files: true, ..Overrides::default() };
        let mut plan = config::parse("headwater.toml", config, folder.path(), &overrides).unwrap();
        plan.http.listen = "127.0.0.1:0".into();
        let plan = Arc::new(plan);
        let (log, intake) = open(vfs, root, 1);
        let intake = Arc::new(intake);
        let (metrics, status) = (Arc::new(Metrics::new()), Arc::new(Status::default()));
        status.enter(Phase::Ready);
        let (reads, subscriptions) = reading(&plan, &log);
        let services = Services {
            reads,
            subscriptions,
            plan: Arc::clone(&plan),
            intake: Arc::clone(&intake),
            metrics: Arc::clone(&metrics),
            status: Arc::clone(&status),
            epoch: 3,
            labels: Labelbook::new(&[]),
            rules: Rulebook::new(&plan, &plan, &Definitions::default(), Versions::default()),
            backfills: Backfills::new(&Cursors::default(), 3),
            sources: Arc::new(Numbers::new((NUMBER..).map(SourceNumber).take(plan.sources.len()).collect())),
        };
        let server = start_within(services, bounds).unwrap();
        World { server, intake, metrics, status, plan, log, _folder: folder }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.server.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// `head`: the request line and further lines, without those that frame the body.
    fn send(&self, head: &str, body: &[u8]) -> Answer {
        let mut stream = self.connect();
        let lines = head.replace('\n', "\r\n");
        let head = format!("{lines}\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).unwrap();
        // A server that has heard enough may have closed already.
        let _ = stream.write_all(body);
        Answer::read(&mut stream)
    }

    fn post(&self, body: impl AsRef<[u8]>) -> Answer {
        self.send("POST /v1/events HTTP/1.1", body.as_ref())
    }

    fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1"), b"")
    }

    /// The bytes of what lies at a token.
    fn stored(&self, token: &str) -> Vec<u8> {
        let ticket = ingest_tokens().decode(token).unwrap();
        self.records().into_iter().find(|(at, _)| *at == ticket).unwrap().1
    }

    fn records(&self) -> Vec<(Ticket, Vec<u8>)> {
        records(&self.intake)
    }

    fn events(&self) -> Vec<Vec<u8>> {
        events(&self.intake)
    }
}

/// Nothing is published.
fn reading(plan: &Plan, log: &Log) -> (Arc<Reads>, Arc<Subscriptions>) {
    let schemas = Arc::new(plan.schemas());
    let tokens = Arc::new(ResumeTokens::of(LOG, [0; 32]));
    let (hub, _) = Hub::spawn(Arc::clone(&schemas), Arc::clone(&tokens), 0);
    let subscriptions = Subscriptions::new(hub, Arc::clone(&log.outputs), schemas, tokens);
    (Reads::new(1, None, vec![0; log.queue.len()], Box::new(|_, _| {})), Arc::new(subscriptions))
}

fn open(vfs: Arc<dyn Vfs>, root: &Path, epoch: u64) -> (Log, Intake) {
    let settings = Settings { id: LOG, epoch, parts: 2, workers: 2, limits: Limits::default() };
    let mut log = Log::open(vfs, root, &settings).unwrap();
    let intake = Intake::new(std::mem::take(&mut log.queue), 2, Arc::new(Reserve::none()));
    (log, intake)
}

/// Every delivery in the log.
fn records(intake: &Intake) -> Vec<(Ticket, Vec<u8>)> {
    let mut records = Vec::new();
    for (mut reader, part) in intake.readers().into_iter().zip(0..) {
        let read = reader.read(0, reader.durable(), |record| {
            records.push((Ticket { part, offset: record.offset }, record.payload.to_vec()));
        });
        read.unwrap();
    }
    records
}

/// The events of every delivery in the log, in no order.
fn events(intake: &Intake) -> Vec<Vec<u8>> {
    records(intake).iter().map(|(_, payload)| Delivery::decode(payload).unwrap().events.to_vec()).collect()
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    /// To the end of the connection.
    fn read(stream: &mut TcpStream) -> Answer {
        let mut bytes = Vec::new();
        // What came before a reset counts.
        let _ = stream.read_to_end(&mut bytes);
        Answer::of(&String::from_utf8(bytes).unwrap())
    }

    fn of(text: &str) -> Answer {
        let text = text.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(text);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer but `{text}`"));
        Answer { status: head[9..12].parse().unwrap(), head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Status and code of an error.
    fn error(&self) -> (u16, String) {
        let error = &self.json()["error"];
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{self:?}");
        (self.status, error["code"].as_str().unwrap().to_owned())
    }

    fn token(&self) -> String {
        assert_eq!(self.status, 202, "{self:?}");
        self.json()["token"].as_str().unwrap().to_owned()
    }
}

/// An error as [`Answer::error`] gives it.
fn error(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// Those of the server: its log has had one start.
fn ingest_tokens() -> IngestTokens {
    IngestTokens::new(LOG, Arc::new(Histories::first(LOG, StartId([1; 8]), 1, Place::default())))
}
