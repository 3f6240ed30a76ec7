//! The workload of `sessionize`: visits of Zipf-distributed users in the order of their arrival, some late, and a bot.

use dataflows::sessionize::Visit;
use dataflows::{Decimal, Details, EventTime, Measure, SignatureId, UserKey};
use headwater::generate::random::{Random, Zipf};
use std::sync::Arc;

pub const SECOND: i64 = 1_000_000;
pub const HOUR: i64 = 3600 * SECOND;
pub const DAY: i64 = 24 * HOUR;
/// Microseconds.
pub const GAP: i64 = HOUR / 2;

/// Where the generated times begin: 2026-01-01T00:00:00Z.
pub const EPOCH: i64 = 1_767_225_600 * SECOND;

/// The number of signatures. Each user has 4 to 10 of them.
pub const SIGNATURES: u64 = 20;

/// An event, as small as it can be kept until it is made a [`Visit`].
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Microseconds.
    pub time: i64,
    pub user: u32,
    pub signature: u8,
}

/// Visits in the order of their arrival, over 30 days of event time.
#[derive(Clone, Debug)]
pub struct Workload {
    pub arrivals: Arc<Vec<Arrival>>,
    /// By number.
    pub users: Arc<Vec<UserKey>>,
    pub details: bool,
}

impl Workload {
    /// A tenth as many users as events, of which about 45 % come; sessions of 8 events in the mean, two minutes apart
    /// in the mean; 1 % of events up to 3 days late; a bot with a tenth of all events, one hour on and 40 minutes off.
    pub fn new(events: usize, details: bool) -> Workload {
        let mut random = Random::new(42, 0);
        let span = 30 * DAY;
        let bot = (events / 10) as u32;
        let zipf = Zipf::new(bot, 0.8);
        let of_bot = events / 10;
        let mut arrivals: Vec<(i64, Arrival)> = Vec::with_capacity(events);
        while arrivals.len() < events - of_bot {
            let user = zipf.draw(&mut random) as u32;
            let mut time = EPOCH + random.below(span as u64) as i64;
            loop {
                let late = if random.below(100) == 0 { random.below(3 * DAY as u64) as i64 } else { 0 };
                arrivals.push((time + late, Arrival { time, user, signature: signature(user, &mut random) }));
                if arrivals.len() == events - of_bot || random.below(8) == 0 {
                    break;
                }
                time += SECOND + random.exponential(120.0 * SECOND as f64) as i64;
            }
        }
        for event in 0..of_bot as i64 {
            let on = event * (span * 6 / 10) / of_bot as i64;
            let time = EPOCH + on / HOUR * (HOUR * 10 / 6) + on % HOUR;
            arrivals.push((time, Arrival { time, user: bot, signature: signature(bot, &mut random) }));
        }
        arrivals.sort_by_key(|(arrival, _)| *arrival);
        let users = (0..=bot).map(|user| UserKey::of(&format!("user {user}"))).collect();
        Workload {
            arrivals: Arc::new(arrivals.into_iter().map(|(_, arrival)| arrival).collect()),
            users: Arc::new(users),
            details,
        }
    }

    /// One user with this number of sessions of three events, two hours apart. Other users bring the number of sessions
    /// to `total`. The hot user is number 0.
    pub fn hot(sessions: usize, total: usize) -> Workload {
        let mut random = Random::new(7, 0);
        let others = 1000;
        let mut arrivals = Vec::with_capacity(total * 3);
        for session in 0..total {
            let (user, index) = match session < sessions {
                true => (0, session),
                false => (1 + (session - sessions) as u32 % others, (session - sessions) / others as usize),
            };
            let start = EPOCH + index as i64 * 2 * HOUR;
            for event in 0..3 {
                arrivals.push(Arrival {
                    time: start + event * 60 * SECOND,
                    user,
                    signature: signature(user, &mut random),
                });
            }
        }
        let users = (0..=others).map(|user| UserKey::of(&format!("user {user}"))).collect();
        Workload { arrivals: Arc::new(arrivals), users: Arc::new(users), details: false }
    }

    /// Random events of the hot user of [`Workload::hot`], anywhere in its history.
    pub fn late(&self, sessions: usize, events: usize) -> Workload {
        let mut random = Random::new(9, 0);
        let arrival = |_| Arrival {
            time: EPOCH + random.below(sessions as u64 * 2 * HOUR as u64) as i64,
            user: 0,
            signature: signature(0, &mut random),
        };
        Workload { arrivals: Arc::new((0..events).map(arrival).collect()), ..self.clone() }
    }

    pub fn events(&self) -> usize {
        self.arrivals.len()
    }

    /// The visits of these arrivals.
    pub fn visits(&self, range: std::ops::Range<usize>) -> Vec<Visit> {
        self.arrivals[range].iter().map(|arrival| self.visit(arrival)).collect()
    }

    fn visit(&self, arrival: &Arrival) -> Visit {
        let details = self.details.then(|| {
            let cents = i128::from(arrival.time / 1000 % 10_000);
            Box::new(Details {
                sums: [Measure { sum: Decimal::from_millionths(cents * 10_000), numbers: 1, others: 0 }]
                    .into_iter()
                    .collect(),
                carried: [Some(Arc::clone(&PLATFORMS[arrival.signature as usize % PLATFORMS.len()]))]
                    .into_iter()
                    .collect(),
                ..Details::default()
            })
        });
        Visit {
            user: self.users[arrival.user as usize],
            time: EventTime::from_micros(arrival.time).unwrap(),
            signature: signature_id(arrival.signature),
            details,
        }
    }
}

/// Values of the carried field, shared as the decoder shares them.
static PLATFORMS: std::sync::LazyLock<[Arc<str>; 5]> =
    std::sync::LazyLock::new(|| ["android", "ios", "web", "tv", "kiosk"].map(Arc::from));

fn signature(user: u32, random: &mut Random) -> u8 {
    let own = 4 + u64::from(user) % 7;
    ((u64::from(user) * 3 + random.below(own)) % SIGNATURES) as u8
}

/// The signature with this number.
pub fn signature_id(number: u8) -> SignatureId {
    SignatureId(Random::new(0, u64::from(number)).bits())
}
