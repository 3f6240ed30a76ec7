//! The events as numbers: user, kind, time and arrival. Texts come later, so an event takes 24 bytes here.

use super::random::{Random, Share, Zipf, mix};
use super::workload::Workload;

/// 2016-03-12T00:00:00Z, in microseconds since 1970.
pub const START: u64 = 1_457_740_800_000_000;

const SECOND: u64 = 1_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Visits that begin in each hour of the day, out of 240.
const RHYTHM: [u64; 24] = [4, 3, 2, 2, 2, 3, 5, 8, 10, 11, 11, 12, 13, 12, 11, 11, 12, 13, 15, 18, 21, 20, 13, 8];

/// Types of events with their weights, out of 100.
pub const KINDS: [(&str, u64); 10] = [
    ("page_view", 34),
    ("search", 12),
    ("button_pressed", 14),
    ("login", 8),
    ("logout", 6),
    ("add_friend", 4),
    ("add_to_cart", 8),
    ("checkout", 4),
    ("video_play", 6),
    ("message_sent", 4),
];
const BUTTON_PRESSED: u8 = 2;

pub const BUTTONS: [&str; 4] = ["one-click purchase", "add to wish list", "share", "subscribe"];

/// A record of the log to be.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Microseconds since [`START`].
    pub time: u64,
    /// Milliseconds from `time` to its arrival.
    pub delay: u32,
    /// Index among the users, who are sorted.
    pub user: u32,
    /// Of the event, by which its text is chosen. A copy has that of its event.
    pub number: u32,
    pub kind: Kind,
    pub form: Form,
    pub defect: Defect,
    pub sending: Sending,
}

const _: () = assert!(size_of::<Event>() == 24, "what the memory of a large workload is made of");

/// Index of a type, and of a button in the upper half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind(u8);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Nested,
    Dotted,
    Flat,
}

/// Why an event belongs to no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    None,
    NoUser,
    NoTime,
    UnreadableTime,
}

/// In the order in which they may arrive at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sending {
    /// The event itself.
    First,
    /// The same bytes again.
    Again,
    /// Its id again, with other content.
    Conflict,
    /// Something like it that is no event.
    Malformed,
}

impl Event {
    /// Microseconds since [`START`].
    pub fn arrival(&self) -> u64 {
        self.time + u64::from(self.delay) * 1000
    }
}

impl Kind {
    fn draw(random: &mut Random) -> Kind {
        let mut left = random.below(100);
        let mut kind = 0;
        while left >= KINDS[kind].1 {
            left -= KINDS[kind].1;
            kind += 1;
        }
        Kind(kind as u8 | (random.below(4) as u8) << 4)
    }

    pub fn index(self) -> usize {
        usize::from(self.0 & 15)
    }

    pub fn name(self) -> &'static str {
        KINDS[self.index()].0
    }

    pub fn button(self) -> Option<&'static str> {
        (self.0 & 15 == BUTTON_PRESSED).then(|| BUTTONS[usize::from(self.0 >> 4)])
    }

    /// Returns whether the rule of the workload's configuration claims it: by the first of the buttons.
    pub fn is_purchase(self) -> bool {
        self.0 == BUTTON_PRESSED
    }

    /// Returns whether it is about goods.
    pub fn has_items(self) -> bool {
        matches!(self.name(), "button_pressed" | "add_to_cart" | "checkout")
    }
}

/// The users, in the order of their names, which are UUIDs.
pub struct Users {
    names: Vec<u128>,
    /// By popularity: index of the user.
    by_rank: Vec<u32>,
}

impl Users {
    /// Makes the ranks of all people, with the bot as the last rank.
    pub fn new(workload: &Workload) -> Users {
        const VERSION_4: u128 = 0x4000 << 64 | 0x8000 << 48;
        const FREE: u128 = !(0xf000 << 64 | 0xc000 << 48);
        let mut random = Random::new(workload.seed, USERS);
        let mut name = || (u128::from(random.bits()) << 64 | u128::from(random.bits())) & FREE | VERSION_4;
        let mut ranked: Vec<(u128, u32)> = (0..=workload.people()).map(|rank| (name(), rank)).collect();
        ranked.sort_unstable();
        let mut by_rank = vec![0; ranked.len()];
        (0..).zip(&ranked).for_each(|(index, (_, rank))| by_rank[*rank as usize] = index);
        Users { names: ranked.into_iter().map(|(name, _)| name).collect(), by_rank }
    }

    pub fn name(&self, user: u32) -> u128 {
        self.names[user as usize]
    }

    pub fn bot(&self) -> u32 {
        self.by_rank.last().copied().unwrap_or_default()
    }
}

// Numbers of the sources of chance.
const USERS: u64 = 1;
const VISITS: u64 = 2;
const BOT: u64 = 3;
/// Above every number that an event has.
const COPIES: u64 = 1 << 32;

/// Returns the events without their copies, in no order, with room for the copies: growing would take twice the memory.
pub fn events(workload: &Workload, users: &Users) -> Vec<Event> {
    let all = u64::from(workload.events);
    let share = |share: Share| share.of(all);
    let copies = share(workload.duplicates) + share(workload.conflicts) + share(workload.malformed);
    let mut events = Vec::with_capacity((all + copies + copies / 4 + 10_000) as usize);
    let of_bot = workload.bot.of(all);
    visits(workload, users, all - of_bot, &mut events);
    bot(workload, users, of_bot, &mut events);
    events
}

fn visits(workload: &Workload, users: &Users, count: u64, events: &mut Vec<Event>) {
    let zipf = Zipf::new(workload.people(), workload.zipf);
    let mut random = Random::new(workload.seed, VISITS);
    let random = &mut random;
    while (events.len() as u64) < count {
        let user = users.by_rank[zipf.draw(random)];
        let mut time = begin(workload, random);
        loop {
            let event = event(workload, user, time, events.len() as u32, random);
            events.push(event);
            // Eight events on average.
            if events.len() as u64 == count || random.below(8) == 0 {
                break;
            }
            let pause = precise(time + random.exponential(90.0 * SECOND as f64) as u64 + 1000, random);
            // What tells a right comparison from a nearly right one; other engines take the borders differently.
            time = match random.below(128) {
                0 if !workload.clean => time,
                1 if !workload.clean => time + workload.gap.unsigned_abs(),
                2 if !workload.clean => time + workload.gap.unsigned_abs() + 1,
                _ => pause,
            };
        }
    }
}

fn begin(workload: &Workload, random: &mut Random) -> u64 {
    let day = random.below(u64::from(workload.days));
    let mut left = random.below(RHYTHM.iter().sum());
    let mut hour = 0;
    while left >= RHYTHM[hour] {
        left -= RHYTHM[hour];
        hour += 1;
    }
    precise(day * DAY + hour as u64 * HOUR + random.below(HOUR), random)
}

/// Returns a time at least 0.1 ms away from whole milliseconds, so that an engine with floating point gets the same
/// one.
fn precise(time: u64, random: &mut Random) -> u64 {
    time / 1000 * 1000 + 100 + random.below(800)
}

/// Adds an event of the bot every two seconds, or more often if that is needed to finish in time.
fn bot(workload: &Workload, users: &Users, count: u64, events: &mut Vec<Event>) {
    let span = u64::from(workload.days) * DAY;
    let pace = (span / count.max(1)).clamp(1000, 2 * SECOND);
    let mut random = Random::new(workload.seed, BOT);
    let start = random.below(span.saturating_sub(pace * count).max(1));
    for turn in 0..count {
        let time = precise(start + turn * pace + random.below(pace), &mut random);
        let event = event(workload, users.bot(), time, events.len() as u32, &mut random);
        events.push(event);
    }
}

fn event(workload: &Workload, user: u32, time: u64, number: u32, random: &mut Random) -> Event {
    let late = random.chance(workload.late);
    let within = if late { workload.late_by.unsigned_abs() / 1000 } else { 30_000 };
    let form = match random.chance(workload.nested) {
        true if random.chance(workload.dotted) => Form::Dotted,
        true => Form::Nested,
        false => Form::Flat,
    };
    let defect = if random.chance(workload.no_user) {
        Defect::NoUser
    } else if random.chance(workload.no_time) {
        Defect::NoTime
    } else if random.chance(workload.unreadable_time) {
        Defect::UnreadableTime
    } else {
        Defect::None
    };
    let delay = random.below(within) as u32;
    Event { time, delay, user, number, kind: Kind::draw(random), form, defect, sending: Sending::First }
}

/// Adds what is sent again and what is malformed. Every copy arrives after its event.
pub fn add_copies(workload: &Workload, events: &mut Vec<Event>) {
    for index in 0..events.len() {
        let event = events[index];
        let mut random = Random::new(workload.seed, COPIES + u64::from(event.number));
        if random.chance(workload.duplicates) {
            // Now and then more than once.
            for _ in 0..=u64::from(random.below(8) == 0) {
                events.push(after(event, Sending::Again, event.time, 1 + random.below(HOUR / 1000)));
            }
        }
        if event.defect == Defect::None && random.chance(workload.conflicts) {
            let kind = Kind::draw(&mut random);
            // Another time, up to ten minutes off: who lets this one count gets other sessions.
            let early = event.time.saturating_sub(10 * MINUTE);
            let time = early + random.below(event.time - early);
            let waits = random.below(HOUR / 1000);
            events.push(Event { kind, ..after(event, Sending::Conflict, time, 1 + waits) });
        }
        if random.chance(workload.malformed) {
            events.push(after(event, Sending::Malformed, event.time, 1 + random.below(1000)));
        }
    }
}

/// Returns a copy that claims to be of `time`, not after its event's, and arrives `waits` ms later than the event.
fn after(event: Event, sending: Sending, time: u64, waits: u64) -> Event {
    let delay = (event.arrival() - time).div_ceil(1000) + waits;
    // At most 30 days late, and hours.
    Event { time, delay: delay as u32, sending, ..event }
}

/// Moves events so that no two neighbours of a user are just the gap apart, to the millisecond: engines differ there.
/// Expects the order of users and times, and keeps it.
pub fn avoid_the_border(gap: i64, events: &mut [Event]) {
    let border = gap.unsigned_abs() / 1000;
    for index in 1..events.len() {
        let (before, after) = events.split_at_mut(index);
        let (last, next) = (before[index - 1], &mut after[0]);
        if last.user == next.user {
            next.time = next.time.max(last.time);
            if next.time / 1000 - last.time / 1000 == border {
                next.time += 2000;
            }
        }
    }
}

/// Returns the number that chooses the details of an event's text.
pub fn details(seed: u64, number: u32) -> u64 {
    mix(mix(seed) ^ u64::from(number))
}

/// Times are microseconds since the start of the workload.
pub struct Session {
    pub user: u32,
    pub start: u64,
    pub end: u64,
    pub events: u64,
    pub purchases: u64,
}
