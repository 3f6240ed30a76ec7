//! What enters an engine: the input of a tick, and what a snapshot brings back.

use crate::classify::Class;
use crate::counts::SignatureHour;
use crate::forget::Forgotten;
use crate::group::Added;
use crate::identity::{ShapeId, SignatureId, UserKey};
use crate::ingest::IdRow;
use crate::leaves::Leaves;
use crate::pipeline::KeptRow;
use crate::record::{Record, Sessionless};
use crate::rules::{Descriptor, Rule};
use crate::sequence::StepRow;
use crate::sessionize::{MarkRow, Session};
use crate::state::RestoredEntity;
use crate::stitch::LinkRow;
use std::sync::Arc;

/// What a snapshot brings back, a part of it at a time.
#[derive(Debug, Default)]
pub struct Roots {
    /// Names of users, and how often each was said, in any order.
    pub names: Vec<((UserKey, Arc<str>), isize)>,
    /// Sessions, in any order.
    pub sessions: Vec<(UserKey, Session)>,
    /// Marks of events, in any order.
    pub marks: Vec<MarkRow>,
    /// Entities of states, in any order.
    pub entities: Vec<RestoredEntity>,
    /// Step events of sequences, in any order.
    pub steps: Vec<StepRow>,
    /// Links of identities, in any order.
    pub links: Vec<LinkRow>,
    /// What is known of ids, in any order.
    pub ids: Vec<IdRow>,
    /// Events by signature and hour.
    pub by_signature: Vec<(SignatureHour, isize)>,
    /// Events without a session by reason.
    pub by_reason: Vec<(Sessionless, isize)>,
    /// Groups of counts over events: those beyond the limit of a count come last.
    pub groups: Vec<Added>,
    /// What the caller keeps by key, in any order: see [`Engine::kept`](super::Engine::kept).
    pub kept: Vec<KeptRow>,
}

/// What enters the graph together, taken out of its vectors.
#[derive(Debug, Default)]
pub struct Input {
    /// Decoded records, in any order.
    pub records: Vec<Record>,
    /// The strings behind the user keys of the records; repeats are fine.
    pub names: Vec<(UserKey, Arc<str>)>,
    /// What the signatures of the records stand for; repeats are fine.
    pub signatures: Vec<(SignatureId, Descriptor)>,
    /// The leaves of the shapes of the records; repeats are fine.
    pub shapes: Vec<(ShapeId, Arc<Leaves>)>,
    /// Rules that hold from this tick on.
    pub rules: Vec<Rule>,
    /// Rules that came in before and do not hold any more.
    pub rules_gone: Vec<Rule>,
    /// Classes that a person has given to shapes, from this tick on.
    pub labels: Vec<(ShapeId, Class)>,
    /// Those that came in before and do not hold any more.
    pub labels_gone: Vec<(ShapeId, Class)>,
    /// Classes are learned from this tick on (1), or not any more (-1).
    pub learns: isize,
    /// Sequences that are not followed any more from this tick on, by index: to be said on each worker.
    pub ended: Vec<u16>,
    /// Users who are about to be forgotten: their events are noted from this tick on. To be said on each worker.
    pub noted: Vec<UserKey>,
    /// Of these, the users who are not forgotten after all. To be said on each worker.
    pub kept: Vec<UserKey>,
    /// Of these, the users who are forgotten at this tick ([`crate::forget`]). To be said on each worker.
    pub forgotten: Vec<Forgotten>,
}
