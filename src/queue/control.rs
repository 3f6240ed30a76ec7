//! The records of the control partition. Like any other input they have offsets and ticks, and recovery replays them.

use crate::queue::applied::{Applied, Taken};
use crate::queue::definitions::Definitions;
use crate::queue::forgotten::{Asked, Gone, ReadBack};
use crate::queue::labels::Labelled;
use crate::queue::numbers::SourceNumber;
use crate::queue::reference::Content;
use serde::{Deserialize, Serialize};

/// Version of the encoding, in its first byte. A kind may be added without a new one: programs that do not know it
/// refuse the record, as skipping it would compute something else. Version 2 has rules with `or`, and tests that
/// compare exactly. Version 3 has states. Version 4 has sequences, and states whose changes are published. Version 5 has
/// actions and tables. Version 6 has users who are forgotten. Version 7 has rules and labels that are applied to
/// a run. Version 8 has counts and identities. A record that needs none of them is written as version 1, which earlier
/// releases read too.
const VERSION: u8 = 8;

/// One control record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Control {
    /// A generation begins: from here on ticks are computed by this program.
    Generation {
        epoch: u64,
        /// Fingerprint of code semantics and graph configuration.
        program: [u8; 32],
    },
    /// From here on, `source` in positions and in the remap means the source of this name.
    Source { source: SourceNumber, name: String },
    /// From here on these tests are made, and these rules hold.
    Definitions { definitions: Definitions },
    /// From here on the table has this content.
    Table { content: Content },
    /// From here on the changes of this collection are published, beginning with all of its rows.
    Collection { name: String },
    /// From here on the events of a user are noted, who may be forgotten: see [`dataflows::forget`].
    Forget { asked: Asked },
    /// From here on the user is forgotten.
    Forgotten { read: ReadBack },
    /// The user is not forgotten: nothing has changed.
    Remembered { forget: u64, why: String },
    /// What has gone with the user.
    Receipt { gone: Gone },
    /// From here on these rules hold, over the tests of the definitions before.
    Rules { applied: Applied },
    /// From here on, this class is given to a shape, or none.
    Label { label: Labelled },
    /// Says what rules have changed. It changes nothing itself.
    Taken { taken: Taken },
}

impl Control {
    /// Returns the payload of a record of the control partition.
    pub fn encode(&self) -> Vec<u8> {
        let version = match self {
            Control::Forget { .. }
            | Control::Forgotten { .. }
            | Control::Remembered { .. }
            | Control::Receipt { .. } => 6,
            Control::Definitions { definitions } if !definitions.counts.is_empty() => VERSION,
            Control::Definitions { definitions } if definitions.identity.is_some() => VERSION,
            Control::Rules { .. } | Control::Taken { .. } | Control::Label { .. } => 7,
            Control::Definitions { definitions } if !definitions.labels.is_empty() => 7,
            Control::Table { .. } => 5,
            Control::Definitions { definitions } if !definitions.actions.is_empty() => 5,
            Control::Definitions { definitions } if definitions.have_rows() => 4,
            Control::Definitions { definitions } if !definitions.states.is_empty() => 3,
            Control::Definitions { definitions } if !definitions.are_former() => 2,
            _ => 1,
        };
        let mut bytes = vec![version];
        serde_json::to_writer(&mut bytes, self)
            .expect("numbers and text are always JSON, and memory can be written to");
        bytes
    }

    /// # Errors
    /// What is wrong, if this is no control record that this program knows.
    pub fn decode(payload: &[u8]) -> Result<Control, String> {
        match payload.split_first() {
            Some((&(1..=VERSION), json)) => serde_json::from_slice(json).map_err(|error| error.to_string()),
            Some((version, _)) => Err(format!("version {version} of control records, this program knows {VERSION}")),
            None => Err("an empty control record".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_refused_and_not_skipped() {
        let source = Control::Source { source: SourceNumber(3), name: "clicks".into() };
        assert_eq!(Control::decode(&source.encode()), Ok(source));
        let generation = Control::Generation { epoch: 7, program: [9; 32] };
        assert_eq!(Control::decode(&generation.encode()), Ok(generation));
        let collection = Control::Collection { name: "users".into() };
        assert_eq!(Control::decode(&collection.encode()), Ok(collection));
        for unknown in [&b""[..], b"\x09{}", b"\x01{\"kind\":\"rule\"}", b"\x01{\"kind\":\"source\",\"source\":1}"] {
            assert!(Control::decode(unknown).is_err());
        }
    }

    /// Control partitions hold these bytes, written by release 0.1.0: whatever its fields are called in the program, a
    /// record is read and written like this.
    #[test]
    fn the_encoding_is_pinned() {
        let digits = (0..32).map(|digit: u8| digit.to_string()).collect::<Vec<_>>().join(",");
        for json in [
            r#"{"kind":"source","source":0,"name":"collector"}"#.to_owned(),
            format!(r#"{{"kind":"generation","epoch":1,"program":[{digits}]}}"#),
            r#"{"kind":"collection","name":"users"}"#.to_owned(),
            r#"{"kind":"definitions","definitions":{"tests":[{"field":"price","candidates":["price"],"predicate":{"Range":{"min":1.0,"max":null}}}],"rules":[{"name":"purchase","priority":0,"order":0,"when":[{"test":0,"answer":true}]}]}}"#.to_owned(),
            r#"{"kind":"definitions","definitions":{"tests":[{"field":"p","candidates":["p"],"predicate":{"OneOf":["a","b"]}},{"field":"p","candidates":["p"],"predicate":{"Prefix":"/"}},{"field":"p","candidates":["p"],"predicate":"Exists"}],"rules":[]}}"#.to_owned(),
        ] {
            let bytes = [&[1], json.as_bytes()].concat();
            assert_eq!(Control::decode(&bytes).unwrap().encode(), bytes, "{json}");
        }
    }

    /// The same of states.
    #[test]
    fn the_third_version_of_the_encoding_is_pinned() {
        let states =
            r#"[{"name":"shopper","fingerprint":"0a","since_ms":null},{"name":"b","fingerprint":"0b","since_ms":7}]"#;
        let json = format!(r#"{{"kind":"definitions","definitions":{{"tests":[],"rules":[],"states":{states}}}}}"#);
        let bytes = [&[3], json.as_bytes()].concat();
        assert_eq!(Control::decode(&bytes).unwrap().encode(), bytes, "{json}");
    }

    /// The same of users who are forgotten.
    #[test]
    fn the_sixth_version_of_the_encoding_is_pinned() {
        let read = concat!(
            r#"{"forget":3,"before":7,"queue":[4,0],"sums":[[{"Signature":[18446744073709551615,3600000000]},2],"#,
            r#"[{"Signature":[5,null]},1],[{"Reason":"NoTime"},1]]}"#
        );
        for json in [
            r#"{"kind":"forget","asked":{"forget":3,"user":"0a","asked_ms":9,"reason":"r","partial":true}}"#.to_owned(),
            r#"{"kind":"forget","asked":{"forget":3,"user":"0a","asked_ms":9}}"#.to_owned(),
            format!(r#"{{"kind":"forgotten","read":{read}}}"#),
            r#"{"kind":"remembered","forget":3,"why":"w"}"#.to_owned(),
            r#"{"kind":"receipt","gone":{"forget":3,"tick":8,"now_ms":9,"rows":{"sessions":2}}}"#.to_owned(),
        ] {
            let bytes = [&[6], json.as_bytes()].concat();
            assert_eq!(Control::decode(&bytes).unwrap().encode(), bytes, "{json}");
        }
    }

    /// The same of sequences.
    #[test]
    fn the_fourth_version_of_the_encoding_is_pinned() {
        let sequences = concat!(
            r#"[{"name":"checkout","since_ms":7,"steps":[{"class":"cart","optional":false},{"class":"buy","optional":false}],"#,
            r#""within":3600000000,"excepts":[{"class":"logout","between":[0,1]}],"per":["package"],"#,
            r#""by":[{"name":"country","candidates":["geo.country","country"]}],"repeat":"Tight","ties":"Ordered"}]"#,
        );
        let json =
            format!(r#"{{"kind":"definitions","definitions":{{"tests":[],"rules":[],"sequences":{sequences}}}}}"#);
        let bytes = [&[4], json.as_bytes()].concat();
        assert_eq!(Control::decode(&bytes).unwrap().encode(), bytes, "{json}");
    }

    /// The same of rules that are applied.
    #[test]
    fn the_seventh_version_of_the_encoding_is_pinned() {
        let applied = concat!(
            r#"{"version":3,"at_ms":7,"by":"ann","origin":{"file":"new.toml"},"configured":"0a","#,
            r#""rules":[{"name":"purchase","priority":0,"order":0,"when":[{"test":0,"answer":true}],"sessions":false}]}"#,
        );
        let configured = r#"{"version":4,"at_ms":7,"by":"","origin":"configuration","configured":"0a","rules":[]}"#;
        let back = r#"{"version":4,"at_ms":7,"by":"","origin":{"version":3},"configured":"0a","rules":[]}"#;
        let taken = r#"{"kind":"taken","taken":{"version":3,"tick":9,"sessions":2,"events":5}}"#.to_owned();
        let rules = [applied, configured, back].map(|one| format!(r#"{{"kind":"rules","applied":{one}}}"#));
        let label = |class: &str| {
            let label = format!(r#"{{"shape":"2ca34cd287291897","class":{class},"at_ms":7,"by":"ann"}}"#);
            format!(r#"{{"kind":"label","label":{label}}}"#)
        };
        let labels = r#"{"tests":[],"rules":[],"labels":{"2ca34cd287291897":"click"}}"#;
        let labels = format!(r#"{{"kind":"definitions","definitions":{labels}}}"#);
        for json in rules.into_iter().chain([taken, label("\"click\""), label("null"), labels]) {
            let bytes = [&[7], json.as_bytes()].concat();
            assert_eq!(Control::decode(&bytes).unwrap().encode(), bytes, "{json}");
        }
    }

    /// The same of identities.
    #[test]
    fn the_eighth_version_of_the_encoding_is_pinned() {
        let identity = r#"{"fingerprint":"0a","since_ms":7}"#;
        let json = format!(r#"{{"kind":"definitions","definitions":{{"tests":[],"rules":[],"identity":{identity}}}}}"#);
        let bytes = [&[8], json.as_bytes()].concat();
        assert_eq!(Control::decode(&bytes).unwrap().encode(), bytes, "{json}");
    }

    /// The same of what is written since: rules with `or`, and tests that compare exactly.
    #[test]
    fn the_second_version_of_the_encoding_is_pinned() {
        let tests = concat!(
            r#"{"field":"price","candidates":["price"],"predicate":{"Number":{"min":{"Included":"0.01"},"max":"Unbounded"}}},"#,
            r#"{"field":"price","candidates":["price"],"predicate":{"Numbers":["-1","9999999999999999999.5"]}},"#,
            r#"{"field":"p","candidates":["p"],"predicate":{"Text":{"min":"Unbounded","max":{"Excluded":"m"}}}}"#,
        );
        let when = concat!(
            r#"[{"test":0,"answer":true},{"any":[{"test":1,"answer":true},"#,
            r#"[{"test":1,"answer":false},{"test":2,"answer":true}]]}]"#,
        );
        let rules = format!(r#"[{{"name":"purchase","priority":0,"order":0,"when":{when}}}]"#);
        let json = format!(r#"{{"kind":"definitions","definitions":{{"tests":[{tests}],"rules":{rules}}}}}"#);
        let bytes = [&[2], json.as_bytes()].concat();
        assert_eq!(Control::decode(&bytes).unwrap().encode(), bytes, "{json}");
    }
}
