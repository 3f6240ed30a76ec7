//! Changes -> resolved rows: what leaves the graph, with names in the place of identities.
//!
//! ```text
//! changes of a tick ─┐
//! views ─────────────┼─▶ Resolver ─ one row at a time ─▶ TakeRows
//! classes ───────────┘
//! ```
//!
//! A running graph is resolved tick by tick ([`Resolver::tick`]). A replay, of which the end alone is read, is resolved
//! when it is read ([`rows`]). Both make a row by the same function,
//! [`SessionResolver::row`].
//!
//! Deliberately absent: a stream of resolved rows. A renamed class changes the rows of millions of sessions in one tick.
//! In a stream they would all be in memory before the first one is taken. So rows are borrowed, one at a time, and the
//! views are where they are read from.

mod classes;
mod session;

pub use classes::Classes;
pub use session::{SessionResolver, SessionRow};

use crate::changes::Changes;
use crate::classify::{Class, Label};
use crate::close::Closing;
use crate::counts::ClassHour;
use crate::group::{GroupKey, Totals};
use crate::identity::{ShapeId, SignatureId, UserKey};
use crate::sequence::{Activity, Counts, FunnelKey, Track};
use crate::sessionize::{Late, Lineage, Session};
use crate::shapes::ShapeTotals;
use crate::state;
use crate::stitch::{Identity, Moved};
use crate::time::Tick;
use crate::users::UserTotals;
use crate::views::Views;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Rows or sessions after which [`TakeRows::alive`] is called.
const BEAT: usize = 1 << 14;

/// A row of a collection, with names in the place of identities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row<'r> {
    /// A session of a user.
    Session(&'r SessionRow<'r>),
    /// Events of a class and an hour: how many there are.
    Count(&'r ClassHour, u64),
    /// A shape, and what there is of it; `None`: of all shapes that are not kept apart.
    Shape(Option<ShapeId>, &'r ShapeTotals),
    /// The name of a user, and what there is of the user.
    User(&'r str, &'r UserTotals),
    /// A session that is closed, and the name of its user.
    Closing(&'r str, &'r Closing),
    /// An activity of a sequence, and the string behind its key.
    Activity(Track, &'r str, &'r Activity),
    /// How many activities have come how far.
    Funnel(&'r FunnelKey, &'r Counts),
    /// A group of a count.
    Group(&'r GroupKey, &'r Totals),
    /// What is known of an alias.
    Identity(&'r Identity),
    /// An alias that is of another person.
    Moved(&'r Moved),
    /// The row of a state by its index, and the name of the entity.
    State(u16, &'r str, &'r [state::Value<'r>]),
    /// An event that came late, with the names of its user and its class.
    Late(&'r str, &'r str, &'r Late),
    /// A session that goes on under another id, and the name of its user.
    Lineage(&'r str, &'r Lineage),
}

/// Calls `row` with the rows of the views by user, in the order of users: the sessions of a user in the order of time, and
/// behind them the user's totals. For views of which all is done.
pub fn rows(views: &mut Views, row: &mut dyn FnMut(Row<'_>)) {
    let classes = Classes::before(views, Tick::MAX);
    let (mut scan, mut resolver) = (views.scan(Tick::MAX), SessionResolver::default());
    let mut of = String::new();
    loop {
        let mut totals = None;
        let user = scan.step(&mut |user, name, session| {
            if totals.is_none() {
                name.clone_into(&mut of);
            }
            totals = Some(UserTotals::with(totals, session));
            resolver.row(user, name, session, &classes, |session| row(Row::Session(session)));
        });
        totals.iter().for_each(|totals| row(Row::User(&of, totals)));
        if user.is_none() {
            break;
        }
    }
}

/// Takes the resolved rows of a tick.
pub trait TakeRows {
    /// Takes a row that goes (`diff` is negative) or comes. After `Break` no other row of the tick is given.
    fn row(&mut self, row: Row<'_>, diff: isize) -> ControlFlow<()>;

    /// Is called again and again while a large tick is resolved, also when its sessions are only looked at.
    fn alive(&mut self) {}
}

/// What one worker knows in order to resolve changes: the classes after the last tick.
#[derive(Default)]
pub struct Resolver {
    classes: Arc<Classes>,
    /// The last tick that changed them.
    labelled: Option<Tick>,
    /// Sessions that had an event of another class, in the last tick.
    moved: u64,
    sessions: SessionResolver,
}

impl Resolver {
    /// Goes on from the views as they were before `tick`: their rows are not given.
    pub fn resume(&mut self, views: &mut Views, tick: Tick) {
        self.classes = Arc::new(Classes::before(views, tick));
    }

    /// Returns how many sessions were given again in the last tick, as events of theirs got another class.
    pub fn moved(&self) -> u64 {
        self.moved
    }

    /// Returns the classes after `tick`, which has not been compacted away.
    pub fn classes(&self, views: &mut Views, tick: Tick) -> Arc<Classes> {
        if self.labelled.is_some_and(|labelled| labelled > tick) {
            Arc::new(Classes::before(views, tick + 1))
        } else {
            Arc::clone(&self.classes)
        }
    }

    /// Gives the rows that a tick changes, resolved. Ticks come in order and are settled, and the sessions before the tick
    /// have not been compacted away.
    ///
    /// Where a signature has another class, all sessions with it go and come: by the views before the tick, as no event
    /// is read again. Then come the sessions that the tick itself changes, all under their new classes. So a row may go
    /// and come again within a tick.
    pub fn tick(
        &mut self,
        views: &mut Views,
        tick: Tick,
        changes: Changes,
        take: &mut dyn TakeRows,
    ) -> ControlFlow<()> {
        let Changes { mut sessions, classes, counts, shapes, mut users, mut closings, .. } = changes;
        let Changes { mut activities, funnels, groups, mut late, mut lineage, .. } = changes;
        let Changes { identities, identity_changes, .. } = changes;
        self.relabel(views, tick, classes, take)?;
        let Resolver { classes, sessions: resolver, .. } = self;
        named(
            views,
            take,
            &mut sessions,
            |((user, _), _)| *user,
            |take, name, ((user, session), diff)| {
                resolver.row(*user, name, session, classes, |row| take.row(Row::Session(row), *diff))
            },
        )?;
        counts.iter().try_for_each(|((row, events), diff)| take.row(Row::Count(row, *events), *diff))?;
        shapes.iter().try_for_each(|((shape, totals), diff)| take.row(Row::Shape(*shape, totals), *diff))?;
        named(
            views,
            take,
            &mut users,
            |((user, _), _)| *user,
            |take, name, ((_, totals), diff)| take.row(Row::User(name, totals), *diff),
        )?;
        named(
            views,
            take,
            &mut closings,
            |(closing, _)| closing.user,
            |take, name, (closing, diff)| take.row(Row::Closing(name, closing), *diff),
        )?;
        named(
            views,
            take,
            &mut activities,
            |((track, _), _)| track.key,
            |take, name, ((track, activity), diff)| take.row(Row::Activity(*track, name, activity), *diff),
        )?;
        funnels.iter().try_for_each(|((key, counts), diff)| take.row(Row::Funnel(key, counts), *diff))?;
        groups.iter().try_for_each(|((key, totals), diff)| take.row(Row::Group(key, totals), *diff))?;
        identities.iter().try_for_each(|(identity, diff)| take.row(Row::Identity(identity), *diff))?;
        identity_changes.iter().try_for_each(|moved| take.row(Row::Moved(moved), 1))?;
        named(
            views,
            take,
            &mut late,
            |late| late.user,
            |take, name, late: &Late| take.row(Row::Late(name, classes.name(late.signature), late), 1),
        )?;
        named(
            views,
            take,
            &mut lineage,
            |lineage| lineage.user,
            |take, name, lineage: &Lineage| take.row(Row::Lineage(name, lineage), 1),
        )
    }

    /// Gives the totals of all users after `tick`, as rows that come: for the tick at which the view begins to be said.
    /// Those of the tick's changes are then not to be given.
    pub fn begin_users(&mut self, views: &mut Views, tick: Tick, take: &mut dyn TakeRows) -> ControlFlow<()> {
        let Some(mut scan) = views.scan_users(tick + 1) else { return ControlFlow::Continue(()) };
        let (mut seen, mut taken) = (0, ControlFlow::Continue(()));
        let mut totals = |_, name: &str, totals: &UserTotals| {
            seen += 1;
            if taken.is_continue() {
                taken = take.row(Row::User(name, totals), 1);
            }
            if seen % BEAT == 0 {
                take.alive();
            }
        };
        while scan.step(&mut totals).is_some() {}
        taken
    }

    /// Takes new classes. Of signatures that had another one, every session is given again; no event is read again.
    fn relabel(
        &mut self,
        views: &mut Views,
        tick: Tick,
        changes: Vec<((SignatureId, Label), isize)>,
        take: &mut dyn TakeRows,
    ) -> ControlFlow<()> {
        self.moved = 0;
        if changes.is_empty() {
            return ControlFlow::Continue(());
        }
        self.labelled = Some(tick);
        let come = changes.into_iter().filter(|(_, diff)| *diff > 0);
        let changes: Vec<(SignatureId, Class)> = come.map(|((signature, label), _)| (signature, label.class)).collect();
        // The label of a signature may change where its class does not.
        let has_another = |(signature, class): &&(SignatureId, Class)| {
            self.classes.of(*signature).is_some_and(|before| before != &**class)
        };
        let moved: BTreeSet<SignatureId> =
            changes.iter().filter(has_another).map(|(signature, _)| *signature).collect();
        let before = Arc::clone(&self.classes);
        Arc::make_mut(&mut self.classes).add(changes);
        if moved.is_empty() {
            return ControlFlow::Continue(());
        }
        let Resolver { classes, sessions: resolver, moved: sessions, .. } = self;
        let (mut seen, mut taken) = (0, ControlFlow::Continue(()));
        let mut scan = views.scan(tick);
        let mut session = |user, name: &str, session: &Session| {
            seen += 1;
            if taken.is_continue() && session.counts().any(|(signature, _)| moved.contains(&signature)) {
                *sessions += 1;
                let mut row = |classes: &Classes, diff| {
                    resolver.row(user, name, session, classes, |row| take.row(Row::Session(row), diff))
                };
                taken = match row(&before, -1) {
                    ControlFlow::Continue(()) => row(classes, 1),
                    broken => broken,
                };
            }
            if seen % BEAT == 0 {
                take.alive();
            }
        };
        while scan.step(&mut session).is_some() {}
        taken
    }
}

/// Calls `give` with every row and the name of its user, in the order of users.
fn named<R>(
    views: &mut Views,
    take: &mut dyn TakeRows,
    rows: &mut [R],
    user: impl Fn(&R) -> UserKey,
    mut give: impl FnMut(&mut dyn TakeRows, &str, &R) -> ControlFlow<()>,
) -> ControlFlow<()> {
    if rows.is_empty() {
        return ControlFlow::Continue(());
    }
    let mut given = 0;
    let mut each = |name: &str, row: &R| {
        given += 1;
        if given % BEAT == 0 {
            take.alive();
        }
        give(take, name, row)
    };
    rows.sort_unstable_by_key(&user);
    let (mut rest, mut taken) = (&*rows, ControlFlow::Continue(()));
    let users = rows.chunk_by(|one, other| user(one) == user(other)).map(|own| user(&own[0]));
    views.names_of(users, |named, name| {
        let before = rest.partition_point(|row| user(row) < named);
        let end = before + rest[before..].partition_point(|row| user(row) == named);
        // Readers send the name of a user in the tick of the user's first event, or before: none comes without.
        if taken.is_continue() {
            taken =
                rest[..end].iter().enumerate().try_for_each(|(at, row)| each(if at < before { "" } else { name }, row));
        }
        rest = &rest[end..];
    });
    taken?;
    rest.iter().try_for_each(|row| each("", row))
}
