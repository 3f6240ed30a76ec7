//! A click-stream as JSON Lines, flat and nested forms mixed, with the sessions that are in it.
//!
//! Written in the order of arrival: within 30 s, but for 1 % that are up to two days late. No two neighbouring events of
//! a user are exactly the gap apart in milliseconds, so that all engines agree whatever they do then.

use crate::random::{Random, Zipf};
use std::fs::File;
use std::io::{BufWriter, Result, Write};
use std::path::Path;

/// Milliseconds.
const GAP: i64 = 1_800_000;
const EPOCH: i64 = 1_767_225_600_000;
const DAY: i64 = 86_400_000;
const DAYS: i64 = 5;
const TYPES: [(&str, u64); 10] = [
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
const BUTTONS: [&str; 4] = ["one-click purchase", "add to wish list", "share", "subscribe"];
const ITEMS: [(&str, &str, &str); 6] = [
    ("1 23456 78999 9", "Tony's Run-flat Tire", "99.9"),
    ("1 23456 78900 3", "Blue Suede Shoes, size 11", "49.95"),
    ("0 88412 10773 1", "Cast-iron Skillet 12 inch", "34.5"),
    ("4 00330 91827 5", "Wireless Noise-cancelling Headset", "129.0"),
    ("7 31126 00418 2", "Paperback: A Field Guide to Rivers", "14.25"),
    ("2 71828 18284 5", "Espresso Beans 1kg", "21.8"),
];

#[derive(Clone, Copy)]
struct Event {
    /// Milliseconds.
    time: i64,
    arrival: i64,
    user: u32,
    /// Nanoseconds within the millisecond.
    nanos: u32,
    kind: u8,
    button: u8,
    nested: bool,
    bits: u32,
}

/// Writes `events` events; and to `oracle`, if given, their sessions as `user,start_ms,end_ms,events,purchases`, sorted.
pub fn generate(events: usize, seed: u64, out: &Path, oracle: Option<&Path>) -> Result<()> {
    let mut random = Random(seed);
    let users = (events / 50).max(1);
    let names: Vec<String> = (0..users).map(|_| uuid(&mut random)).collect();
    let mut log = draw(events, users, &mut random);
    let by_user = separate(&mut log);
    let mut order: Vec<u32> = (0..events as u32).collect();
    order.sort_unstable_by_key(|&index| (log[index as usize].arrival, index));
    let mut file = BufWriter::with_capacity(1 << 20, File::create(out)?);
    for index in order {
        let event = &log[index as usize];
        write(&mut file, event, &names[event.user as usize])?;
    }
    file.flush()?;
    oracle.map_or(Ok(()), |oracle| write_sessions(oracle, &log, &by_user, &names))
}

fn uuid(random: &mut Random) -> String {
    let (high, low) = (random.bits(), random.bits());
    let variant = 0x8000 | ((low >> 48) & 0x3fff);
    let (first, second, third) = (high >> 32, (high >> 16) & 0xffff, high & 0xfff);
    format!("{first:08x}-{second:04x}-4{third:03x}-{variant:04x}-{:012x}", low & 0xffff_ffff_ffff)
}

/// Visits of Zipf-distributed users: 8 events in the mean, 90 s apart in the mean.
fn draw(events: usize, users: usize, random: &mut Random) -> Vec<Event> {
    let zipf = Zipf::new(users, 1.0);
    let total: u64 = TYPES.iter().map(|(_, weight)| weight).sum();
    let mut log = Vec::with_capacity(events);
    while log.len() < events {
        let user = zipf.draw(random) as u32;
        let mut time = EPOCH + random.below((DAYS * DAY) as u64) as i64;
        loop {
            let mut weight = random.below(total);
            let of_weight = |(_, own): &(&str, u64)| {
                let found = weight < *own;
                weight = weight.saturating_sub(*own);
                found
            };
            let kind = TYPES.iter().position(of_weight).unwrap_or(0) as u8;
            let delay = if random.one_in(100) { 2 * DAY } else { 30_000 };
            log.push(Event {
                time,
                arrival: time + random.below(delay as u64) as i64,
                user,
                nanos: 100_000 + random.below(800_000) as u32,
                kind,
                button: random.below(BUTTONS.len() as u64) as u8,
                nested: random.one_in(2),
                bits: random.bits() as u32,
            });
            if log.len() == events || random.one_in(8) {
                break;
            }
            time += random.exponential(90_000.0) as i64 + 1;
        }
    }
    log
}

/// Moves events that are exactly the gap after the one before, and returns the order by user and time.
fn separate(log: &mut [Event]) -> Vec<u32> {
    let mut by_user: Vec<u32> = (0..log.len() as u32).collect();
    loop {
        by_user.sort_unstable_by_key(|&index| (log[index as usize].user, log[index as usize].time, index));
        let mut moved = false;
        for pair in by_user.windows(2) {
            let (one, other) = (log[pair[0] as usize], &mut log[pair[1] as usize]);
            if one.user == other.user && other.time - one.time == GAP {
                other.time += 1;
                other.arrival += 1;
                moved = true;
            }
        }
        if !moved {
            return by_user;
        }
    }
}

fn write(out: &mut impl Write, event: &Event, user: &str) -> Result<()> {
    let (seconds, millis) = (event.time / 1000, event.time % 1000);
    let kind = TYPES[event.kind as usize].0;
    write!(out, "{{\"time_utc\": \"{seconds}.{millis:03}{:06}\", \"user_id\": \"{user}\", ", event.nanos)?;
    write!(out, "\"event_type\": \"{kind}\", ")?;
    let button = (event.kind == BUTTON_PRESSED).then_some(BUTTONS[event.button as usize]);
    let bits = event.bits;
    let (sku, description, price) = ITEMS[(bits % 6) as usize];
    let (section, item, version) = (bits % 40, bits % 9973, bits % 13);
    match (matches!(kind, "button_pressed" | "add_to_cart" | "checkout"), event.nested) {
        (true, true) => {
            write!(out, "\"event_details\": {{")?;
            button.map_or(Ok(()), |button| write!(out, "\"button_type\": \"{button}\", "))?;
            write!(out, "\"purchased_items\": [{{\"sku\": \"{sku}\", ")?;
            write!(out, "\"description\": \"{description}\", \"unit_price\": {price}}}")?;
            if bits & 0x10000 != 0 {
                let (sku, description, price) = ITEMS[((bits >> 8) % 6) as usize];
                write!(out, ", {{\"sku\": \"{sku}\", \"description\": \"{description}\", \"unit_price\": {price}}}")?;
            }
            writeln!(out, "]}}}}")
        }
        (true, false) => {
            button.map_or(Ok(()), |button| write!(out, "\"button_type\": \"{button}\", "))?;
            write!(out, "\"item_sku\": \"{sku}\", \"item_description\": \"{description}\", ")?;
            writeln!(out, "\"item_unit_price\": {price}}}")
        }
        (false, nested) => {
            let open = if nested { "\"event_details\": {" } else { "" };
            write!(out, "{open}\"page\": \"/catalog/section-{section}/item-{item}\", ")?;
            write!(out, "\"referrer\": \"https://www.example.com/search?q={bits:08x}\", ")?;
            match nested {
                true => writeln!(out, "\"device\": {{\"os\": \"android\", \"app_version\": \"7.{version}.1\"}}}}}}"),
                false => writeln!(out, "\"device_os\": \"android\", \"app_version\": \"7.{version}.1\"}}"),
            }
        }
    }
}

fn write_sessions(out: &Path, log: &[Event], by_user: &[u32], names: &[String]) -> Result<()> {
    // User, start, end, events, purchases.
    let mut sessions: Vec<(u32, i64, i64, u64, u64)> = Vec::new();
    for &index in by_user {
        let event = &log[index as usize];
        let purchase = u64::from(event.kind == BUTTON_PRESSED && event.button == 0);
        match sessions.last_mut() {
            Some(last) if last.0 == event.user && event.time - last.2 < GAP => {
                *last = (last.0, last.1, event.time, last.3 + 1, last.4 + purchase);
            }
            _ => sessions.push((event.user, event.time, event.time, 1, purchase)),
        }
    }
    sessions.sort_unstable_by_key(|(user, start, ..)| (&names[*user as usize], *start));
    let mut file = BufWriter::new(File::create(out)?);
    for (user, start, end, events, purchases) in sessions {
        writeln!(file, "{},{start},{end},{events},{purchases}", names[user as usize])?;
    }
    file.flush()
}
