//! Settings of the consumers of sources.

use super::{Refusal, refused, refused_by_all};
use crate::plan::KafkaPlan;
use rdkafka::ClientConfig;

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

/// Says why a setting cannot be passed through. `None` if it can.
pub fn refusal(key: &str, value: &str) -> Option<Refusal> {
    let refused = |why: &str, help: &str| refused(key, why, help);
    match key {
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
        _ => refused_by_all(key, "[[source]]"),
    }
}

/// Returns the settings of a source's consumer.
///
/// # Errors
/// A secret that cannot be read.
pub fn config(plan: &KafkaPlan) -> Result<ClientConfig, String> {
    super::config(&OWN, &plan.brokers, &plan.settings, &plan.secrets)
}

#[cfg(test)]
mod tests {
    use super::super::check;
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
