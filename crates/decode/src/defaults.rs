//! Built-in candidates for user, time and type, so that common logs work without configuration. The first that is
//! present wins, event by event.
//!
//! A name in snake case stands for all ways in which writers spell it, as databases and spreadsheets change them on
//! export: `user_id`, `userId`, `UserId`, `USER_ID`, `User ID` and so on.

mod names;

use crate::format::Format;
use crate::path::{Candidate, Path};
use names::{
    ADDRESSES, CASES, CLF_KIND, CLF_TIME, CLF_USER, DAYS, IDENTIFIERS, KIND, LOG_KIND, LOG_TIME, LOG_USER, PSEUDONYMS,
    TIME,
};
use std::collections::HashSet;

/// What a value says of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meaning {
    /// A person or an account, by a name of the application.
    Identifier,
    /// A device, a browser or an installation. A person may have several, and gets another one.
    Pseudonym,
    /// A network address, which people share and change.
    Address,
}

impl Meaning {
    /// Returns its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Meaning::Identifier => "identifier",
            Meaning::Pseudonym => "pseudonym",
            Meaning::Address => "address",
        }
    }
}

/// The actor of an event. A stated identity goes first, since it survives a change of device. A pseudonym comes next, then
/// an address, and the case of a process last.
const USER: [(Meaning, &[&str]); 5] = [
    // Snowplow's `user_id` is absent until a visitor logs in, who would become two users.
    (Meaning::Pseudonym, &["domain_userid"]),
    (Meaning::Identifier, IDENTIFIERS),
    (Meaning::Pseudonym, PSEUDONYMS),
    (Meaning::Address, ADDRESSES),
    (Meaning::Identifier, CASES),
];

/// Candidates for the user of an event.
pub fn user(format: Format) -> Vec<Candidate> {
    candidates(&user_names(format))
}

/// Candidates for the time of an event.
pub fn time(format: Format) -> Vec<Candidate> {
    candidates(&time_names(format))
}

/// Candidates for the type of an event.
pub fn kind(format: Format) -> Vec<Candidate> {
    candidates(&kind_names(format))
}

/// Returns the names of the candidates for the user, in one spelling each.
pub fn user_names(format: Format) -> Vec<&'static str> {
    match format {
        Format::Json | Format::Csv | Format::Ltsv | Format::Logfmt | Format::Text => {
            USER.iter().flat_map(|(_, names)| *names).copied().collect()
        }
        Format::Clf => CLF_USER.to_vec(),
        Format::Log => LOG_USER.to_vec(),
    }
}

/// Returns the names of the candidates for the time, in one spelling each.
pub fn time_names(format: Format) -> Vec<&'static str> {
    match format {
        Format::Json | Format::Csv | Format::Ltsv | Format::Logfmt | Format::Text => TIME.to_vec(),
        Format::Clf => CLF_TIME.to_vec(),
        Format::Log => LOG_TIME.to_vec(),
    }
}

/// Returns the names of the candidates for the type, in one spelling each.
pub fn kind_names(format: Format) -> Vec<&'static str> {
    match format {
        Format::Json | Format::Csv | Format::Ltsv | Format::Logfmt | Format::Text => KIND.to_vec(),
        Format::Clf => CLF_KIND.to_vec(),
        Format::Log => LOG_KIND.to_vec(),
    }
}

/// Paths of the day that may stand beside a time of day.
pub fn days() -> Vec<Path> {
    candidates(DAYS).into_iter().flat_map(|candidate| candidate.parts).collect()
}

/// Returns what the value at a path of this name says of a user; `None`: the name is not known. Transforms do not change
/// it.
pub fn meaning(path: &str) -> Option<Meaning> {
    let is_known =
        |names: &[&str]| names.iter().any(|known| spellings(base(known)).iter().any(|one| one == base(path)));
    let of_list = USER.iter().find(|(_, names)| is_known(names)).map(|(meaning, _)| *meaning);
    of_list.or_else(|| is_known(CLF_USER).then_some(Meaning::Address))
}

/// Returns a name without transforms.
fn base(path: &str) -> &str {
    path.split(" | ").next().unwrap_or_default()
}

/// Returns every spelling of each name. If two names share one, it counts for the first.
fn candidates(names: &[&str]) -> Vec<Candidate> {
    let mut taken = HashSet::new();
    let mut all = Vec::new();
    for name in names {
        let transforms = &name[base(name).len()..];
        for spelling in spellings(base(name)) {
            // Each of the constants is a path: `all_are_paths_and_none_is_repeated` parses them.
            let path = Path::parse(&(spelling.clone() + transforms)).expect("built-in candidates are paths");
            if taken.insert(spelling) {
                all.push(Candidate { parts: vec![path] });
            }
        }
    }
    all
}

/// Returns how writers spell a name. One that is not in snake case has no other spelling.
fn spellings(name: &str) -> Vec<String> {
    let mut all = vec![name.to_owned()];
    let is_snake = |byte: u8| byte == b'_' || byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if name.starts_with('_') || !name.bytes().all(is_snake) {
        return all;
    }
    let words: Vec<&str> = name.split('_').collect();
    let title = |word: &str| word[..1].to_uppercase() + &word[1..];
    let titles: Vec<String> = words.iter().map(|word| title(word)).collect();
    all.extend([titles.concat(), name.to_uppercase()]);
    let is_short = |word: &str| ["id", "ip", "utc"].contains(&word);
    if let [first @ .., last] = words.as_slice()
        && !first.is_empty()
    {
        all.push(words[0].to_owned() + &titles[1..].concat());
        all.extend([titles.join(" "), words.join(" "), words.join("-"), words.concat(), words.concat().to_uppercase()]);
        let lower = words[1..].join(" ");
        all.extend([titles[0].clone() + " " + &lower, words[0].to_uppercase() + " " + &lower]);
        if is_short(last) {
            let titles = &titles[..first.len()];
            let last = last.to_uppercase();
            all.push(titles.concat() + &last);
            all.push(words[0].to_owned() + &titles[1..].concat() + &last);
            all.push(titles.join(" ") + " " + &last);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_paths_and_none_is_repeated() {
        for format in Format::ALL {
            for candidates in [user(format), time(format), kind(format)] {
                let paths: HashSet<String> =
                    candidates.iter().flat_map(|candidate| &candidate.parts).map(Path::to_string).collect();
                assert_eq!(paths.len(), candidates.len());
                assert!(!paths.is_empty());
            }
        }
    }

    #[test]
    fn identity_goes_before_pseudonym_before_address() {
        let users = user(Format::Json);
        let place = |name: &str| {
            let wanted = Path::parse(name).unwrap();
            users.iter().position(|candidate| candidate.parts == [wanted.clone()]).unwrap()
        };
        assert!(place("user_id") < place("anonymous_id"));
        assert_eq!(meaning("user_id"), Some(Meaning::Identifier));
        assert_eq!(meaning("distinct_id | lower"), Some(Meaning::Pseudonym));
        assert_eq!(
            (meaning("ip"), meaning("host"), meaning("shop")),
            (Some(Meaning::Address), Some(Meaning::Address), None)
        );
        assert!(place("actor.login") < place("distinct_id"));
        assert!(place("domain_userid") < place("remote_ip | ip"));
    }

    #[test]
    fn a_name_is_known_in_every_spelling() {
        for name in
            ["user_id", "userId", "UserId", "USER_ID", "User Id", "User ID", "user id", "user-id", "userid", "USERID"]
        {
            assert_eq!(meaning(name), Some(Meaning::Identifier), "{name}");
        }
        assert_eq!(spellings("time"), ["time", "Time", "TIME"]);
        assert_eq!(spellings("req.remoteAddress"), ["req.remoteAddress"]);
        assert_eq!(spellings("_path"), ["_path"]);
        let kinds = kind(Format::Json);
        let place = |name: &str| kinds.iter().position(|one| one.parts[0].to_string() == name).unwrap();
        assert!(place("eventName") < place("eventType") && place("event_type") < place("event_name"));
    }
}
