//! Transforms of a value: what `as` of the configuration names, and what a path has behind ` | `.
//!
//! | transform | `" Ann, Bob "` or an address becomes |
//! |---|---|
//! | `trim` | the text without blanks around it |
//! | `lower` | in lower case |
//! | `first_of_list` | what stands before the first comma |
//! | `without_port` | `203.0.113.5:443` → `203.0.113.5`, `[2001:db8::7]:443` → `2001:db8::7` |
//! | `ip` | an address in its one canonical form (RFC 5952); an IPv4 address within an IPv6 one as IPv4 |
//! | `map {"a":"b"}` | `b` for `a`; another text stays |
//! | `regex "…"` | the first group that the expression captures, else all that matches; no match is no value |
//!
//! A value that becomes the empty text is absent.

use dataflows::rules::Pattern;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// A step from the value at a path to another value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transform {
    /// Takes blanks at both ends away.
    Trim,
    /// Writes letters small.
    Lower,
    /// Takes the first of a list that commas separate.
    FirstOfList,
    /// Takes the port behind an address away.
    WithoutPort,
    /// Writes an IP address in its one canonical form.
    Ip,
    /// Replaces texts that are keys by their values.
    Map(BTreeMap<String, String>),
    /// Takes what an expression captures.
    Regex(Pattern),
}

/// Transforms that have no argument.
const PLAIN: [(&str, Transform); 5] = [
    ("trim", Transform::Trim),
    ("lower", Transform::Lower),
    ("first_of_list", Transform::FirstOfList),
    ("without_port", Transform::WithoutPort),
    ("ip", Transform::Ip),
];

impl Transform {
    /// Names of the transforms without arguments.
    pub fn names() -> impl Iterator<Item = &'static str> {
        PLAIN.iter().map(|(name, _)| *name)
    }

    /// Returns the transform without arguments of this name.
    pub fn named(name: &str) -> Option<Transform> {
        PLAIN.iter().find(|(known, _)| *known == name).map(|(_, transform)| transform.clone())
    }

    /// Reads one as it is printed, from the beginning of `text`, and returns what follows it.
    ///
    /// # Errors
    /// In words for the user.
    pub fn parse(text: &str) -> Result<(Transform, &str), String> {
        let end = text.find(|c: char| !(c.is_ascii_lowercase() || c == '_')).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        if let Some(transform) = Transform::named(name) {
            return Ok((transform, rest));
        }
        match name {
            "map" => argument(rest).map(|(map, rest)| (Transform::Map(map), rest)),
            "regex" => {
                let (text, rest): (String, _) = argument(rest)?;
                Ok((Transform::Regex(Pattern::new(&text)?), rest))
            }
            _ => {
                let known: Vec<_> = Transform::names().chain(["map", "regex"]).collect();
                Err(format!("there is no transform `{name}`; there are {}", known.join(", ")))
            }
        }
    }

    /// Returns the value that a text becomes; `None`: it has none.
    pub fn apply<'t>(&self, text: Cow<'t, str>) -> Option<Cow<'t, str>> {
        let cut = |text: Cow<'t, str>, cut: fn(&str) -> &str| match text {
            Cow::Borrowed(text) => Cow::Borrowed(cut(text)),
            Cow::Owned(text) => Cow::Owned(cut(&text).to_owned()),
        };
        let text = match self {
            Transform::Trim => cut(text, str::trim),
            Transform::FirstOfList => cut(text, |text| text.split(',').next().unwrap_or_default().trim()),
            Transform::WithoutPort => cut(text, without_port),
            Transform::Lower if text.chars().any(char::is_uppercase) => Cow::Owned(text.to_lowercase()),
            Transform::Lower => text,
            Transform::Ip => canonical(&text).map_or(text, Cow::Owned),
            Transform::Map(map) => map.get(&*text).cloned().map_or(text, Cow::Owned),
            Transform::Regex(pattern) => {
                let found = pattern.capture(&text)?;
                cut_to(text, found)
            }
        };
        (!text.is_empty()).then_some(text)
    }
}

fn cut_to(text: Cow<'_, str>, range: std::ops::Range<usize>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[range]),
        Cow::Owned(text) => Cow::Owned(text[range].to_owned()),
    }
}

/// Reads a value of JSON, and returns what follows it.
fn argument<T: serde::de::DeserializeOwned>(text: &str) -> Result<(T, &str), String> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<T>();
    match values.next() {
        Some(Ok(value)) => Ok((value, &text[values.byte_offset()..])),
        Some(Err(error)) => Err(error.to_string()),
        None => Err("its argument is missing".into()),
    }
}

/// Returns the host of `HOST:PORT`. A text of another form stays.
fn without_port(text: &str) -> &str {
    let text = text.trim();
    let is_port = |port: &str| !port.is_empty() && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|inside| inside.split_once(']')) {
        return if rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port) { host } else { text };
    }
    match text.rsplit_once(':') {
        // More colons are an IPv6 address.
        Some((host, port)) if is_port(port) && !host.contains(':') && !host.is_empty() => host,
        _ => text,
    }
}

/// Returns the canonical form of an address that is not in it.
fn canonical(text: &str) -> Option<String> {
    if is_plain_ipv4(text.as_bytes()) {
        return None;
    }
    let inside = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    // A zone names an interface of one machine.
    let address = inside.split_once('%').map_or(inside, |(address, _)| address);
    let address = match address.parse().ok()? {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4),
        v4 => v4,
    };
    let canonical = address.to_string();
    (canonical != text).then_some(canonical)
}

/// Returns whether a text is made of digits and points: as an IPv4 address it has one form.
fn is_plain_ipv4(text: &[u8]) -> bool {
    text.len() <= 15 && text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.'))
}

/// Returns whether a text is an address with a port.
pub fn has_port(text: &str) -> bool {
    text.parse::<SocketAddr>().is_ok()
}

impl fmt::Display for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Transform::Map(map) => write!(f, "map {}", json(map)),
            Transform::Regex(pattern) => write!(f, "regex {}", json(pattern.as_str())),
            plain => {
                let name = PLAIN.iter().find(|(_, known)| known == plain).map(|(name, _)| *name);
                f.write_str(name.unwrap_or_default())
            }
        }
    }
}

/// Texts, and maps of texts, can always be written as JSON.
fn json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv6Addr;

    fn apply(transforms: &str, text: &str) -> Option<String> {
        let mut value = Some(Cow::Borrowed(text));
        for transform in transforms.split(" | ") {
            let (transform, rest) = Transform::parse(transform).unwrap();
            assert_eq!(rest, "");
            value = value.and_then(|value| transform.apply(value));
        }
        value.map(Cow::into_owned)
    }

    #[test]
    fn addresses_have_one_form() {
        for (text, expected) in [
            ("203.0.113.5", "203.0.113.5"),
            ("::ffff:203.0.113.5", "203.0.113.5"),
            ("::FFFF:cb00:7105", "203.0.113.5"),
            ("2001:0db8:0:0:0:0:0:7", "2001:db8::7"),
            ("2001:DB8::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("fe80::1%eth0", "fe80::1"),
            ("example.com", "example.com"),
            ("unknown", "unknown"),
        ] {
            assert_eq!(apply("ip", text).as_deref(), Some(expected), "{text}");
        }
        for (text, expected) in [
            ("203.0.113.5:50000", "203.0.113.5"),
            ("[2001:db8::7]:443", "2001:db8::7"),
            ("2001:db8::7", "2001:db8::7"),
            ("example.com:80", "example.com"),
            ("a:b", "a:b"),
            (":80", ":80"),
        ] {
            assert_eq!(apply("without_port", text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(
            apply("first_of_list | without_port | ip", " 2001:DB8::7 , 10.0.0.1").as_deref(),
            Some("2001:db8::7")
        );
    }

    #[test]
    fn texts_are_cut_mapped_and_captured() {
        assert_eq!(apply("trim | lower", "  ÄNN ").as_deref(), Some("änn"));
        assert_eq!(apply("trim", "   "), None);
        assert_eq!(apply("first_of_list", ", a"), None);
        assert_eq!(apply(r#"map {"a":"b"}"#, "a").as_deref(), Some("b"));
        assert_eq!(apply(r#"map {"a":"b"}"#, "c").as_deref(), Some("c"));
        assert_eq!(apply(r#"regex "^u-(\\d+)$""#, "u-17").as_deref(), Some("17"));
        assert_eq!(apply(r#"regex "[0-9]+""#, "u-17-4").as_deref(), Some("17"));
        assert_eq!(apply(r#"regex "^x""#, "u"), None);
        assert!(Transform::parse("upper").unwrap_err().contains("there are trim, lower"));
        assert!(Transform::parse(r#"regex "(""#).is_err());
    }

    proptest! {
        /// Whatever form an address is written in, it becomes the one of its number.
        #[test]
        fn each_form_of_an_address_is_one(bits: u128, v4: u32) {
            let v6 = Ipv6Addr::from(bits);
            let groups: Vec<String> = v6.segments().iter().map(|group| format!("{group:04X}")).collect();
            prop_assert_eq!(apply("ip", &groups.join(":")), apply("ip", &v6.to_string()));
            let v4 = std::net::Ipv4Addr::from(v4).to_string();
            prop_assert_eq!(apply("ip", &format!("::ffff:{v4}")), Some(v4.clone()));
            prop_assert_eq!(apply("without_port | ip", &format!("{v4}:443")), Some(v4));
            prop_assert_eq!(apply("without_port | ip", &format!("[{v6}]:443")), apply("ip", &v6.to_string()));
        }

        #[test]
        fn what_is_printed_parses_to_the_same(keys in prop::collection::btree_map("\\PC{0,3}", "\\PC{0,3}", 0..3), text in "[a-z.\"]{0,5}") {
            for transform in [Transform::Map(keys.clone()), Transform::Regex(Pattern::new(&text).unwrap()), Transform::Ip] {
                let printed = transform.to_string();
                prop_assert_eq!(Transform::parse(&printed), Ok((transform, "")));
            }
        }
    }
}
