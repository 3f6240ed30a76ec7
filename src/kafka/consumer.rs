//! Settings of librdkafka: those that a user may pass through, those that would break what the source promises, and
//! those that the source makes itself.

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

/// Settings whose values are secrets. They are read from files.
const SECRETS: [&str; 6] = [
    "sasl.password",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
];

/// The suffix of a setting whose value is the content of a file.
pub const FILE: &str = "_file";

/// The settings that every consumer of a source has. `queued` and `backoff` bound memory: each partition has a queue of
/// 1 MiB, and is fetched again as soon as there is room.
const OWN: [(&str, &str); 14] = [
    ("client.id", "headwater"),
    // librdkafka assigns nothing without a name of a group. No group is joined, and nothing is committed.
    ("group.id", "headwater"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("isolation.level", "read_committed"),
    ("enable.partition.eof", "true"),
    ("allow.auto.create.topics", "false"),
    ("check.crcs", "true"),
    ("queued.max.messages.kbytes", "1024"),
    ("fetch.queue.backoff.ms", "5"),
    ("reconnect.backoff.max.ms", "1000"),
    ("topic.metadata.propagation.max.ms", "1000"),
    ("socket.keepalive.enable", "true"),
];

/// Says why a setting cannot be passed through: what is wrong, and what to do. `None` if it can.
pub fn refusal(key: &str, value: &str) -> Option<(String, String)> {
    let refused = |why: &str, help: &str| Some((format!("`{key}` {why}"), help.to_owned()));
    match key {
        "bootstrap.servers" | "metadata.broker.list" => {
            refused("has a key of its own", "write brokers = \"HOST:PORT\" in the [[source]]")
        }
        "isolation.level" if value != "read_committed" => refused(
            "would read records of transactions that are aborted, or may still be",
            "leave it out: the source reads what is committed",
        ),
        "isolation.level" => None,
        "auto.offset.reset" => refused(
            "would pass over lost records in silence",
            "leave it out: `start` says where to begin, and a source halts before a gap",
        ),
        "enable.partition.eof"
        | "allow.auto.create.topics"
        | "enable.auto.commit"
        | "enable.auto.offset.store"
        | "offset.store.method"
        | "auto.commit.interval.ms"
        | "auto.commit.enable" => {
            refused("is set by the source", "leave it out: positions are in the data folder, and not in Kafka")
        }
        "partition.assignment.strategy"
        | "session.timeout.ms"
        | "heartbeat.interval.ms"
        | "max.poll.interval.ms"
        | "coordinator.query.interval.ms" => refused("is for consumer groups", "leave it out: the source joins none"),
        "group.id" | "group.instance.id" | "group.protocol" | "group.protocol.type" | "group.remote.assignor" => {
            refused("is for consumer groups", "leave it out: the source joins none")
        }
        "plugin.library.paths" => refused("would load a program", "leave it out"),
        _ if key.starts_with("test.mock.") => refused("replaces the brokers by a mock", "leave it out"),
        _ if is_secret(key) => refused(
            "is a secret: every reader of this file would have it",
            &format!("write it into a file, and \"{key}{FILE}\" = \"kafka.secret\""),
        ),
        _ => None,
    }
}

/// Returns whether the value of a setting is a secret.
pub fn is_secret(key: &str) -> bool {
    SECRETS.contains(&key)
}

/// Checks that librdkafka knows a setting and takes its value.
///
/// # Errors
/// What it says.
pub fn check(key: &str, value: &str) -> Result<(), String> {
    let mut config = ClientConfig::new();
    config.set(key, value);
    match config.create_native_config() {
        Ok(_) => Ok(()),
        Err(KafkaError::ClientConfig(_, description, _, _)) => Err(description),
        Err(error) => Err(error.to_string()),
    }
}

/// Returns the settings of a source's consumer.
pub fn config<'s>(brokers: &str, passed: impl IntoIterator<Item = (&'s str, &'s str)>) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.extend(OWN.map(|(key, value)| (key.to_owned(), value.to_owned())));
    for (key, value) in passed {
        config.set(key, value);
    }
    config.set("bootstrap.servers", brokers);
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_break_the_source_is_refused_and_the_rest_is_passed() {
        for key in ["group.id", "enable.auto.commit", "auto.offset.reset", "bootstrap.servers", "sasl.password"] {
            assert!(refusal(key, "x").is_some(), "{key}");
        }
        assert!(refusal("isolation.level", "read_uncommitted").unwrap().0.contains("aborted"));
        for (key, value) in [
            ("isolation.level", "read_committed"),
            ("security.protocol", "sasl_plaintext"),
            ("sasl.mechanisms", "PLAIN"),
            ("sasl.username", "ann"),
            ("fetch.message.max.bytes", "2000000"),
        ] {
            assert_eq!((refusal(key, value), check(key, value)), (None, Ok(())), "{key}");
        }
        assert!(check("fetch.mesage.max.bytes", "1").unwrap_err().contains("No such"));
        assert!(check("fetch.message.max.bytes", "many").is_err());
    }

    /// librdkafka knows each setting that the source makes, and no user can change what promises depend on.
    #[test]
    fn own_settings_are_known() {
        for (key, value) in OWN {
            assert_eq!(check(key, value), Ok(()), "{key}");
        }
        for key in ["group.id", "enable.auto.commit", "enable.auto.offset.store", "auto.offset.reset"] {
            assert!(refusal(key, "true").is_some(), "{key}");
        }
    }
}
