//! Says what events *mean*: pure graphs on timely and differential dataflow.
//!
//! This crate owns the nouns (below) and the stages that turn one into the next. It knows no file, socket, clock or
//! source of randomness: its manifest names no crate of that kind beyond timely itself, and `clippy.toml` refuses the
//! rest. The crate `headwater` feeds it and reads from it; it can also be used alone.
//!
//! # The graph
//!
//! A stage is a function from streams to streams, named by a verb; [`pipeline`] alone knows their order. A box is one
//! operator. Every arrow and every box is tracked tick by tick by all workers, so there are as few as can be.
//!
//! ```text
//!                     Parcel: records, facts, clock of one tick
//!                                      │
//!                                 ┌────┴────┐
//!                  ┌──────────────┤ unpack  ├────────────────────────┐
//!              facts│             └────┬────┘                   clock│
//!         (to workers)                 │records                      │
//!             ┌────┴─────┐        ┌────┴────┐                        │
//!             │ describe │        │ ingest  │  by event id; only     │
//!             │ names ▣  │        └─┬──┬────┘  with de-duplication   │
//!             │ classes ▣│   entries│  │records that count           │
//!             └────┬─────┘        ◀─┘  │                             │
//!           classes│              ┌────┴────┐                        │
//!                  ├─────────────▶│  tally  ├────────┐ visits         │
//!                  │              └─┬──┬────┘        │ (by user)      │
//!                  │            sums│  │by label  ┌──┴─────────┐      │
//!                  │                │  │(exchange)│ sessionize │      │
//!                  │                │ ┌┴───────┐  │ sessions ▣ │      │
//!                  │                │ │count ▣ │  └──┬───┬─────┘      │
//!                  │  (and leaves)  │ │shapes ▣│     │   │            │
//!                  │                │ └┬───────┘ sessions│  │entries  │
//!                  │                │  │     ┌────────┤  └──▶│       │
//!                  │                │  │ ┌──┴─────┐┌──┴────┐ │       │
//!                  │                │  │ │ users ▣││ close │◀┼───────┘
//!                  │                │  │ └───┬────┘└──┬────┘ │
//!                  ▼                ▼  ▼     ▼        ▼      ▼
//!                ┌──────────────────────────────────────────────┐
//!                │ watch: changes of each settled tick          │
//!                └──────────────────────┬───────────────────────┘
//!                         ▣ ───────────▶ resolve ─▶ rows: names in the place of identities
//!
//!                ▣ an arrangement: read as of a tick, by key
//! ```
//! With states, one more operator takes what events contribute ([`state::accumulate`]): `tally` passes it on, and the
//! entities lie in tables of their own, which readers look into as of a tick.
//!
//! With counts ([`group_by`]), two operators for each level of them follow the views and `tally`, and `watch` takes the groups.
//!
//! With actions on events, `tally` passes on the calls too. [`look_up`] answers what they look up of states, as of the tick,
//! and `watch` takes the answers.
//!
//! # Glossary
//!
//! - **Tick** ([`Tick`]): when headwater learned of something; the dataflow timestamp. **Event time** ([`EventTime`]): when
//!   it happened; data. A late event has an old event time and a new tick.
//! - **Position** ([`Position`]): where a record lies (source, part, offset). **Record** ([`Record`]): a decoded record,
//!   reduced to fixed-size identities. **Event** ([`Event`]): a record that counts, once per event id. **Dead letter**
//!   ([`DeadLetter`]): what could not become an event, and why.
//! - **Visit** ([`sessionize::Visit`]): an event with a user and a time. **Session** ([`sessionize::Session`]): visits of a
//!   user of whom neighbours are at most the gap apart. **Closing** ([`close::Closing`]): a session whose gap has passed.
//! - **Step event** ([`sequence::StepEvent`]): an event that is a step of a sequence or breaks one off. **Track**
//!   ([`sequence::Track`]): one key of one sequence. **Activity** ([`sequence::Activity`]): a match of a sequence, or an attempt at
//!   it that was given up. **Funnel** ([`sequence::Funnel`]): the activities counted by step. They are in
//!   the graph if the settings have sequences.
//! - **State** ([`state`]): what is known of an **entity**, which is a user or a value of a field: folds over its **items**.
//!   **Contribution** ([`state::Contribution`]): an item of one event for one entity. **Hop** ([`state::Window`]): the
//!   step by which a window slides.
//! - **Count** ([`group::Definition`]): what is counted by keys of the configuration. **Group** ([`group::Group`]): a row of it.
//! - **Alias** ([`link::Alias`]): an id of a person. **Link** ([`link::Link`]): two aliases that an event names together.
//!   **Identity** ([`stitch::Identity`]): which aliases are one person. They are in the graph if the settings have rules for them.
//! - **Call** ([`record::Call`]): an event that fits an action, before the action decides.
//! - **Identities** ([`UserKey`], [`ShapeId`], [`SignatureId`], [`EventId`], [`SessionId`]): hashes that are kept on disk; all
//!   are made in [`identity`]. **Fact** ([`describe::Fact`]): what such an identity stands for.
//! - **Signature** ([`SignatureId`]): what the rules may look at of an event, spelt out by its **descriptor**
//!   ([`Descriptor`]). **Class** ([`classify::Class`]): the name that rules give to a signature. **Rule** ([`Rule`]): a declared
//!   class.
//! - **Row** ([`resolve::Row`]): what leaves, with names in the place of identities.
//! - **View**: rows that are a function of the set of inputs. It changes by retraction: a row that is no more goes with
//!   multiplicity -1, its successor comes with 1. **Journal**: rows that say what was seen when; they only come.
//! - **Arrangement**: a view that is kept by key, to be read as of a tick. **Trace**: its batches. **Batch**: the changes of
//!   some ticks. **Seal**: to say that no change before a tick comes any more. **Compact**: to forget the ticks of changes
//!   before one.
//! - **Fold** ([`operators::Fold`]): what a stateful operator does with a complete tick. **Capability**: timely's permit to
//!   send at a tick; while one is held, the tick is in flight. **Frontier**: the ticks that may still come.
//!
//! # Time
//!
//! Stages and the scaffold below them are generic in a totally ordered time ([`TotalTime`]) at no cost: rows carry their time,
//! and for `u64` the code is the same. [`engine`], [`views`], [`changes`] and [`scan`] run on [`Tick`] alone: they say "before tick 7"
//! to a world that has numbers. Partially ordered times would cost: a tick would have to be compared with each one before.
//!
//! # Example
//!
//! Events in, sessions out; one that comes late joins two sessions to one, and exactly these two are taken back:
//!
//! ```
//! use dataflows::engine::{Engine, Input};
//! use dataflows::pipeline::Settings;
//! use dataflows::{Event, EventTime, Record, SignatureId, UserKey};
//!
//! const MINUTE: i64 = 60_000_000;
//!
//! fn click(minute: i64) -> Record {
//!     let time = EventTime::from_micros(minute * MINUTE).expect("in range");
//!     let user = Some(UserKey::of("ann"));
//!     let (steps, contributions, calls, counted, links) = (None, None, None, None, None);
//!     let signature = SignatureId(1);
//!     let event = Event { user, time: Ok(time), signature, details: None, steps, contributions, calls, counted, links };
//!     Record { event, identity: None }
//! }
//!
//! timely::execute_directly(|worker| {
//!     let mut engine = Engine::new(worker, Settings { gap: 30 * MINUTE, clock: true, ..Settings::default() });
//!     // Each tick's changes: start and end in minutes, number of events, multiplicity.
//!     let mut tick = |tick: u64, minutes: &[i64]| {
//!         let records = minutes.iter().map(|minute| click(*minute)).collect();
//!         engine.send(&mut Input { records, ..Input::default() });
//!         engine.advance_to(tick + 1);
//!         while engine.settled() <= tick {
//!             Engine::wait(worker);
//!         }
//!         let changes = engine.changes(tick + 1).remove(&tick).unwrap_or_default();
//!         let minutes = |time: EventTime| time.micros() / MINUTE;
//!         let row = |((_, session), diff): &((UserKey, dataflows::sessionize::Session), isize)| {
//!             (minutes(session.start), minutes(session.end), session.events, *diff)
//!         };
//!         changes.sessions.iter().map(row).collect::<Vec<_>>()
//!     };
//!     // More than half an hour lies between two of them: two sessions.
//!     assert_eq!(tick(0, &[0, 10, 65]), [(0, 10, 2, 1), (65, 65, 1, 1)]);
//!     // One extends the second session.
//!     assert_eq!(tick(1, &[70]), [(65, 65, 1, -1), (65, 70, 2, 1)]);
//!     // A late one lies within reach of both.
//!     assert_eq!(tick(2, &[38]), [(0, 10, 2, -1), (0, 70, 5, 1), (65, 70, 2, -1)]);
//! });
//! ```

#![warn(missing_docs)]

pub mod changes;
pub mod classify;
pub mod close;
pub mod counts;
pub mod dead_letter;
pub mod decimal;
pub mod describe;
pub mod engine;
pub mod facts;
pub mod forget;
pub mod group;
pub mod group_by;
mod hashed;
pub mod identity;
pub mod ingest;
pub mod learn;
pub mod leaves;
pub mod link;
pub mod look_up;
pub mod operators;
mod parcel;
pub mod pipeline;
pub mod record;
pub mod resolve;
pub mod rules;
pub mod scan;
pub mod sequence;
pub mod sessionize;
pub mod shapes;
pub mod state;
pub mod step;
pub mod stitch;
pub mod time;
pub mod users;
pub mod views;
pub mod weigh;

pub use dead_letter::{DeadLetter, Reason};
pub use decimal::Decimal;
pub use identity::{EventId, PathHash, SessionId, ShapeId, SignatureId, UserKey, ValueKind};
pub use record::{Details, Event, Identity, Measure, NoTime, Position, Record, Sessionless};
pub use rules::{Condition, Conditions, Descriptor, Rule};
pub use time::{EventTime, Tick, TotalTime};
