//! The checks of a start before it opens a data folder.

use crate::config::tokens;
use crate::error::Error;
use crate::plan::{Plan, SinkTarget, SourceKind};
use crate::source::{follow, kafka};

/// Workers of all processes, at most.
const WORKERS: usize = 1024;

/// Makes the checks of a start that need no data folder. Touches nothing.
///
/// # Errors
/// What a start would refuse: too many workers, a file of tokens or a sink's file that cannot be used, records that fit
/// into no delivery.
pub fn check(plan: &Plan) -> Result<(), Error> {
    if plan.all_workers() > WORKERS {
        let (workers, processes) = (plan.workers, plan.processes);
        let message = format!("{processes} processes with {workers} workers each are more than {WORKERS} workers");
        return Err(Error::usage(message, "as many workers as the machine has cores are enough"));
    }
    if let Some(path) = &plan.http.tokens {
        tokens::load(path, &plan.sources)?;
    }
    for source in &plan.sources {
        let (limit, of) = match source.kind {
            SourceKind::File { .. } => (follow::EVENT_BYTES, "files"),
            SourceKind::Kafka => (kafka::EVENT_BYTES, "topics"),
            SourceKind::Http => continue,
        };
        if source.events.limits.event_bytes > limit {
            let message = format!("a run takes at most {limit} bytes a record from the {of} of `{}`", source.name);
            return Err(Error::usage(message, "write `max_bytes` of at most \"15MiB\""));
        }
    }
    for sink in &plan.sinks {
        let SinkTarget::File(path) = &sink.target else { continue };
        if path.is_dir() || !path.parent().is_some_and(std::path::Path::is_dir) {
            let message = format!("the sink `{}` cannot write {}", sink.name, path.display());
            return Err(Error::usage(message, "name a file in a folder that exists"));
        }
    }
    Ok(())
}
