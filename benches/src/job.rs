//! The job of `peers/job.toml` in this process, a stage at a time.

use clap::Parser;
use dataflows::engine::Input;
use dataflows::{Position, Tick};
use headwater::collections::place::SourceIndex;
use headwater::config::{Overrides, parse};
use headwater::generate::generate;
use headwater::generate::workload::Workload;
use headwater::plan::Plan;
use headwater::source::{Chunk, Chunking, Chunks, Next, Part};
use headwater::text::progress::ProgressMode;
use headwater_decode::interpret::{Batch, Range};
use headwater_decode::spec::Format;
use headwater_decode::{Block, Decoder};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A log, and how often it is read.
#[derive(Parser)]
pub struct Arguments {
    /// Events of `headwater generate --clean`; by default they are generated.
    #[arg(long)]
    input: Option<PathBuf>,
    #[arg(long, default_value_t = 500_000)]
    events: u32,
    #[arg(long, default_value_t = 5)]
    pub runs: usize,
}

/// The command line of `headwater generate`.
#[derive(Parser)]
struct Generate {
    #[command(flatten)]
    workload: Workload,
}

/// The input: the given file, or a generated one that goes with `_folder`.
pub struct Log {
    pub path: PathBuf,
    _folder: Option<tempfile::TempDir>,
}

impl Log {
    pub fn new(arguments: &Arguments) -> Log {
        if let Some(path) = &arguments.input {
            return Log { path: path.clone(), _folder: None };
        }
        let folder = tempfile::tempdir().unwrap();
        let (events, out) = (arguments.events.to_string(), folder.path().to_str().unwrap());
        let Generate { workload } =
            Generate::parse_from(["headwater generate", "--clean", "--events", &events, "--out", out]);
        generate(&workload, ProgressMode::Silent).unwrap();
        Log { path: folder.path().join(workload.events_file()), _folder: Some(folder) }
    }

    pub fn plan(&self, workers: usize) -> Arc<Plan> {
        let files = vec![std::path::absolute(&self.path).unwrap()];
        let overrides = Overrides { workers: Some(workers), files, ..Overrides::default() };
        Arc::new(parse("job.toml", include_str!("../peers/job.toml"), Path::new("."), &overrides).unwrap())
    }

    /// Calls `each` for every chunk, as a worker gets them.
    pub fn chunks(&self, mut each: impl FnMut(&Chunk)) {
        let part = Part {
            source: SourceIndex(0),
            path: self.path.clone(),
            format: Some(Format::Json),
            syntax: Arc::default(),
            member: None,
        };
        let chunks = Chunks::open(vec![part], Chunking::default()).unwrap();
        let mut chunk = Chunk::default();
        while chunks.next(Tick::MAX, &mut chunk).unwrap() == Next::Chunk {
            each(&chunk);
        }
    }

    /// Everything decoded, by tick and chunk.
    pub fn decoded(&self) -> BTreeMap<Tick, Vec<Input>> {
        let mut decoder = Decoder::new(self.plan(1).spec(), Range::default());
        let mut decoded = BTreeMap::<Tick, Vec<Input>>::new();
        self.chunks(|chunk| {
            let mut batch = Batch::default();
            decoder.read(&block(chunk), &mut batch);
            assert!(batch.dead_letters.is_empty(), "every generated record is an event");
            decoded.entry(chunk.tick).or_default().push(batch.input);
        });
        decoded
    }
}

pub fn block(chunk: &Chunk) -> Block<'_> {
    let position = Position { source: chunk.source.0, part: chunk.part as u32, offset: chunk.offset };
    let Chunk { format, framing, header, bytes, .. } = chunk;
    Block { position, format: *format, framing: *framing, header: header.as_ref(), received: None, bytes }
}
