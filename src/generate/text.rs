//! Events as bytes: JSON Lines in which details are nested, dotted or flat, and records that are not events.

use super::random::{Random, Share};
use super::schedule::{Defect, Event, Form, START, Sending, Session, Users, details};
use super::workload::Workload;

/// Of a record, so the configuration says. The malformed ones that are too large are little larger.
pub const MAX_BYTES: usize = 16 << 10;
pub const MAX_KEYS: usize = 256;
const DEFAULT_MAX_DEPTH: usize = 64;

/// Number, description and price.
const ITEMS: [(&str, &str, &str); 6] = [
    ("1 23456 78999 9", "Tony's Run-flat Tire", "99.9"),
    ("1 23456 78900 3", "Blue Suede Shoes, size 11", "49.95"),
    ("0 88412 10773 1", "Cast-iron Skillet 12 inch", "34.5"),
    ("4 00330 91827 5", "Wireless Noise-cancelling Headset", "129.0"),
    ("7 31126 00418 2", "Paperback: A Field Guide to Rivers", "14.25"),
    ("2 71828 18284 5", "Espresso Beans 1kg", "21.8"),
];

const NO_TIMES: [&str; 4] = ["yesterday", "at noon", "2016-03-12T25:61:00Z", "12 March, noon"];

const NO_OBJECTS: [&str; 4] = ["[\"click\",1457741907]", "\"heartbeat\"", "1457741907", "true"];

/// In what way a malformed record is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformation {
    Cut,
    Prose,
    NotUtf8,
    NotAnObject,
    KeyTwice,
    TooDeep,
    TooLarge,
    TooManyKeys,
}

/// Returns the malformation of the record in place of the event with this number.
pub fn malformation(seed: u64, number: u32) -> Malformation {
    use Malformation::*;
    const ALL: [Malformation; 8] = [Cut, Prose, NotUtf8, NotAnObject, KeyTwice, TooDeep, TooLarge, TooManyKeys];
    ALL[details(seed, number) as usize % ALL.len()]
}

impl Malformation {
    /// Returns the reason that the dead letter has to have.
    pub fn reason(self) -> &'static str {
        match self {
            Malformation::Cut | Malformation::Prose => "no_json",
            Malformation::NotUtf8 => "not_utf8",
            Malformation::NotAnObject => "not_an_object",
            Malformation::KeyTwice => "duplicate_key",
            Malformation::TooDeep => "too_deep",
            Malformation::TooLarge => "too_large",
            Malformation::TooManyKeys => "too_many_keys",
        }
    }
}

/// Turns the events of one workload into lines.
pub struct Writer<'w> {
    seed: u64,
    mixed_times: Share,
    users: &'w Users,
}

impl<'w> Writer<'w> {
    pub fn new(workload: &Workload, users: &'w Users) -> Writer<'w> {
        Writer { seed: workload.seed, mixed_times: workload.mixed_times, users }
    }

    /// Appends one record with its line end.
    pub fn record(&self, event: &Event, out: &mut Vec<u8>) {
        let start = out.len();
        match event.sending {
            Sending::Malformed => self.malformed(event, start, out),
            Sending::First | Sending::Again | Sending::Conflict => self.event(event, out),
        }
        out.push(b'\n');
    }

    fn event(&self, event: &Event, out: &mut Vec<u8>) {
        let mut random = Random::new(details(self.seed, event.number), 0);
        let style = random.bits();
        let bits = random.bits();
        text(out, "{\"event_id\": \"");
        hex(out, u128::from(details(self.seed, event.number)), 16);
        text(out, "\", ");
        self.time(event, &mut random, style, out);
        match event.defect {
            Defect::NoUser if style & 2 == 0 => {}
            Defect::NoUser => text(out, "\"user_id\": null, "),
            _ => {
                text(out, "\"user_id\": \"");
                uuid(out, self.users.name(event.user));
                text(out, "\", ");
            }
        }
        text(out, "\"event_type\": \"");
        text(out, event.kind.name());
        text(out, "\", ");
        if event.kind.has_items() {
            items(event, bits, out);
        } else {
            page(event, bits, out);
        }
        out.push(b'}');
    }

    fn time(&self, event: &Event, random: &mut Random, style: u64, out: &mut Vec<u8>) {
        let micros = START + event.time;
        match event.defect {
            Defect::NoTime if style & 4 == 0 => return,
            Defect::NoTime => return text(out, "\"time_utc\": \"\", "),
            Defect::UnreadableTime => {
                text(out, "\"time_utc\": \"");
                text(out, NO_TIMES[(style >> 3 & 3) as usize]);
                text(out, "\", ");
                return;
            }
            Defect::None | Defect::NoUser => {}
        }
        text(out, "\"time_utc\": ");
        if !random.chance(self.mixed_times) {
            out.push(b'"');
            decimal(out, micros / 1_000_000, 1);
            out.push(b'.');
            decimal(out, micros % 1_000_000, 6);
            // Finer than any reader keeps.
            decimal(out, style >> 32 & 511, 3);
            out.push(b'"');
        } else if style & 1 == 0 {
            out.push(b'"');
            rfc3339(out, micros);
            out.push(b'"');
        } else {
            decimal(out, micros, 1);
        }
        text(out, ", ");
    }

    fn malformed(&self, event: &Event, start: usize, out: &mut Vec<u8>) {
        let mut random = Random::new(details(self.seed, event.number), 1);
        match malformation(self.seed, event.number) {
            Malformation::Cut => {
                self.event(event, out);
                let length = (out.len() - start) as u64;
                out.truncate(start + (2 + random.below(length - 2)) as usize);
            }
            Malformation::Prose => {
                text(out, "gateway[");
                decimal(out, 1000 + random.below(60_000), 1);
                text(out, "]: upstream timed out, 1 event lost");
            }
            Malformation::NotUtf8 => {
                self.event(event, out);
                // In place of a quote: in a text it would be mended.
                out[start + "{\"event_id\": ".len()] = 0xff;
            }
            Malformation::NotAnObject => text(out, NO_OBJECTS[random.below(4) as usize]),
            Malformation::KeyTwice => {
                text(out, "{\"event_id\": \"unknown\", ");
                self.event(event, out);
                // The brace of the event itself.
                out.remove(start + "{\"event_id\": \"unknown\", ".len());
            }
            Malformation::TooDeep => {
                let levels = DEFAULT_MAX_DEPTH + 1 + random.below(64) as usize;
                text(out, "{\"event_details\": ");
                out.extend(std::iter::repeat_n(b'[', levels));
                out.extend(std::iter::repeat_n(b']', levels));
                out.push(b'}');
            }
            Malformation::TooLarge => {
                text(out, "{\"trace\": \"");
                out.extend(std::iter::repeat_n(b'.', MAX_BYTES + random.below(100) as usize));
                text(out, "\"}");
            }
            Malformation::TooManyKeys => {
                for key in 0..=MAX_KEYS as u64 {
                    text(out, if key == 0 { "{\"k" } else { ", \"k" });
                    decimal(out, key, 1);
                    text(out, "\": 0");
                }
                out.push(b'}');
            }
        }
    }
}

fn items(event: &Event, bits: u64, out: &mut Vec<u8>) {
    let prefix = open(event.form, out);
    if let Some(button) = event.kind.button() {
        key(out, prefix, "button_type");
        out.push(b'"');
        text(out, button);
        text(out, "\", ");
    }
    let (item, other) = (ITEMS[(bits % 6) as usize], ITEMS[(bits >> 8) as usize % 6]);
    if event.form == Form::Flat {
        good(out, ["\"item_sku\": \"", "\", \"item_description\": \"", "\", \"item_unit_price\": "], item);
        return;
    }
    let keys = ["{\"sku\": \"", "\", \"description\": \"", "\", \"unit_price\": "];
    key(out, prefix, "purchased_items");
    out.push(b'[');
    good(out, keys, item);
    if bits >> 7 & 1 == 1 {
        text(out, "}, ");
        good(out, keys, other);
    }
    text(out, "}]");
    close(event.form, out);
}

fn page(event: &Event, bits: u64, out: &mut Vec<u8>) {
    let prefix = open(event.form, out);
    key(out, prefix, "page");
    text(out, "\"/catalog/section-");
    decimal(out, bits % 40, 1);
    text(out, "/item-");
    decimal(out, bits % 9973, 1);
    text(out, "\", ");
    key(out, prefix, "referrer");
    text(out, "\"https://www.example.com/search?q=");
    hex(out, u128::from(bits >> 32), 8);
    text(out, "\", ");
    match event.form {
        Form::Flat => text(out, "\"device_os\": \"android\", \"app_version\": \"7."),
        Form::Nested => text(out, "\"device\": {\"os\": \"android\", \"app_version\": \"7."),
        Form::Dotted => {
            text(out, "\"event_details.device.os\": \"android\", \"event_details.device.app_version\": \"7.")
        }
    }
    decimal(out, bits % 13, 1);
    text(out, if event.form == Form::Nested { ".1\"}" } else { ".1\"" });
    close(event.form, out);
}

/// Begins the details; returns what goes before their keys.
fn open(form: Form, out: &mut Vec<u8>) -> &'static str {
    match form {
        Form::Flat => "",
        Form::Dotted => "event_details.",
        Form::Nested => {
            text(out, "\"event_details\": {");
            ""
        }
    }
}

fn close(form: Form, out: &mut Vec<u8>) {
    if form == Form::Nested {
        out.push(b'}');
    }
}

fn key(out: &mut Vec<u8>, prefix: &str, name: &str) {
    out.push(b'"');
    text(out, prefix);
    text(out, name);
    text(out, "\": ");
}

fn good(out: &mut Vec<u8>, keys: [&str; 3], (number, description, price): (&str, &str, &str)) {
    for (key, value) in keys.into_iter().zip([number, description, price]) {
        text(out, key);
        text(out, value);
    }
}

/// Writes a line of `sessions.csv`.
pub fn session(user: u128, session: &Session, out: &mut Vec<u8>) {
    uuid(out, user);
    for number in [START + session.start, START + session.end, session.events, session.purchases] {
        out.push(b',');
        decimal(out, number, 1);
    }
    out.push(b'\n');
}

#[inline]
fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// Writes at least `least` digits, at most 20.
#[inline]
fn decimal(out: &mut Vec<u8>, mut number: u64, least: usize) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while number > 0 || at > digits.len() - least {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&digits[at..]);
}

/// Writes the last `width` digits, at most 32.
#[inline]
fn hex(out: &mut Vec<u8>, number: u128, width: usize) {
    let digit = |at: usize| b"0123456789abcdef"[(number >> (4 * (width - 1 - at)) & 15) as usize];
    let mut digits = [0; 32];
    (0..width).for_each(|at| digits[at] = digit(at));
    out.extend_from_slice(&digits[..width]);
}

#[inline]
fn uuid(out: &mut Vec<u8>, name: u128) {
    let [time, more, version, variant] = [(name >> 96, 8), (name >> 80, 4), (name >> 64, 4), (name >> 48, 4)];
    for (number, width) in [time, more, version, variant] {
        hex(out, number, width);
        out.push(b'-');
    }
    hex(out, name, 12);
}

/// `2016-03-12T00:18:27.959400Z`: a few days of leap years and months are less than a library takes.
fn rfc3339(out: &mut Vec<u8>, micros: u64) {
    let (days, second) = (micros / 86_400_000_000, micros / 1_000_000 % 86_400);
    let (year, month, day) = civil(days);
    for (number, width, then) in [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (second / 3600, 2, b':'),
        (second / 60 % 60, 2, b':'),
        (second % 60, 2, b'.'),
        (micros % 1_000_000, 6, b'Z'),
    ] {
        decimal(out, number, width);
        out.push(then);
    }
}

/// Returns year, month and day of a number of days since 1970 (H. Hinnant, `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (400 * era + year + next, month, date)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_and_names() {
        assert_eq!(written(|out| decimal(out, 0, 1)), "0");
        assert_eq!(written(|out| decimal(out, 42, 6)), "000042");
        assert_eq!(written(|out| decimal(out, u64::MAX, 1)), u64::MAX.to_string());
        assert_eq!(written(|out| hex(out, 0xabc, 2)), "bc");
        assert_eq!(
            written(|out| uuid(out, 0x0123_4567_89ab_4def_8123_4567_89ab_cdef)),
            "01234567-89ab-4def-8123-456789abcdef"
        );
    }

    #[test]
    fn times_as_the_library_writes_them() {
        for micros in [0, 951_782_400_000_001, 951_868_799_999_999, START, START + 3650 * 86_400_000_000, 4e15 as u64] {
            let time = jiff::Timestamp::from_microsecond(micros as i64).unwrap();
            assert_eq!(written(|out| rfc3339(out, micros)), format!("{time:.6}"));
        }
    }
}
