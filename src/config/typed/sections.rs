//! The keys of each section, as a list.

/// Every key of every section, to tell a user where a key belongs that stands in the wrong one.
pub const SECTIONS: &[(&str, &[&str])] = &[
    (
        "[cluster]",
        &[
            "workers",
            "processes",
            "hosts_file",
            "key_file",
            "data_dir",
            "listen",
            "hosts",
            "tokens",
            "tick",
            "snapshot",
            "segment",
            "retain",
            "retain_for",
            "reserve",
        ],
    ),
    ("[classes]", &["learn"]),
    ("[http]", &["max_body", "rate", "origins"]),
    ("[landing]", &["path", "visible_every", "target_file", "hold", "max_classes"]),
    (
        "[events]",
        &[
            "user",
            "time",
            "type",
            "id",
            "join",
            "zone",
            "time_unit",
            "time_format",
            "year",
            "absent",
            "dedupe",
            "max_future",
            "explode",
            "order",
            "ties",
            "max_bytes",
            "max_depth",
            "max_keys",
        ],
    ),
    (
        "[[source]]",
        &[
            "name",
            "kind",
            "paths",
            "format",
            "delimiter",
            "quote",
            "escape",
            "header",
            "skip",
            "comment",
            "encoding",
            "layout",
            "prefix",
            "unwrap",
            "follow",
            "brokers",
            "topics",
            "start",
            "on_gap",
            "kafka",
            "events",
        ],
    ),
    (
        "[sessions]",
        &[
            "gap",
            "sum",
            "carry",
            "max_duration",
            "max_events",
            "split_on",
            "split_at",
            "zone",
            "start",
            "end",
            "keepalive",
            "gap_by_class",
            "gap_by_source",
        ],
    ),
    ("[[class]]", &["name", "priority", "when", "sessions"]),
    ("[[sequence]]", &["name", "per", "steps", "within", "except", "repeat", "ties", "by"]),
    ("[identity]", &["links", "unique", "cap", "block"]),
    ("[[state]]", &["name", "per", "over", "changes", "columns"]),
    ("[[count]]", &["name", "over", "by", "sum", "when", "limit"]),
    ("[[table]]", &["name", "path", "key", "per", "columns"]),
    ("[[action]]", &["name", "on", "when", "edge", "do", "sink", "timing", "objective", "max_age", "replay"]),
    (
        "[[sink]]",
        &[
            "name",
            "collection",
            "when",
            "changes",
            "from",
            "kind",
            "batch",
            "path",
            "url",
            "headers",
            "allow_private",
            "brokers",
            "topic",
            "envelope",
            "kafka",
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::super::File;
    use super::*;

    #[test]
    fn every_listed_key_is_known() {
        for (section, keys) in SECTIONS {
            for key in *keys {
                // Fits hardly any key, so most are refused; but only an unknown key is refused as such.
                let error = toml::from_str::<File>(&format!("{section}\n{key} = true")).err();
                let message = error.map(|error| error.message().to_owned()).unwrap_or_default();
                assert!(!message.contains("unknown"), "{section} {key}: {message}");
            }
        }
    }
}
