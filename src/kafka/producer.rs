//! Settings of librdkafka for producers: those that it makes itself, and those that a user may not change.

use crate::source::kafka::settings::{FILE, is_secret};
use rdkafka::ClientConfig;

/// The settings of every producer of a sink.
const OWN: [(&str, &str); 8] = [
    ("client.id", "headwater"),
    ("enable.idempotence", "true"),
    ("acks", "all"),
    // As the clients in Java do, so that all writers of a topic agree where a key belongs.
    ("partitioner", "murmur2_random"),
    ("linger.ms", "5"),
    ("compression.type", "zstd"),
    ("reconnect.backoff.max.ms", "1000"),
    ("socket.keepalive.enable", "true"),
];

/// Says why a setting cannot be passed through: what is wrong, and what to do. `None` if it can.
pub fn refusal(key: &str, _: &str) -> Option<(String, String)> {
    let refused = |why: &str, help: &str| Some((format!("`{key}` {why}"), help.to_owned()));
    match key {
        "bootstrap.servers" | "metadata.broker.list" => {
            refused("has a key of its own", "write brokers = \"HOST:PORT\" in the [[sink]]")
        }
        "transactional.id"
        | "transaction.timeout.ms"
        | "enable.idempotence"
        | "acks"
        | "request.required.acks"
        | "message.timeout.ms"
        | "delivery.timeout.ms"
        | "enable.gapless.guarantee"
        | "max.in.flight"
        | "max.in.flight.requests.per.connection"
        | "retries"
        | "message.send.max.retries" => refused("is set by the sink", "leave it out: each change is in the topic once"),
        "plugin.library.paths" => refused("would load a program", "leave it out"),
        _ if key.starts_with("test.mock.") => refused("replaces the brokers by a mock", "leave it out"),
        _ if is_secret(key) => refused(
            "is a secret: every reader of this file would have it",
            &format!("write it into a file, and \"{key}{FILE}\" = \"kafka.secret\""),
        ),
        _ => None,
    }
}

/// Returns the settings of a sink, without those that are passed through.
pub fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.extend(OWN.map(|(key, value)| (key.to_owned(), value.to_owned())));
    config.set("bootstrap.servers", brokers);
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::kafka::settings::check;

    #[test]
    fn own_settings_are_known_and_what_would_break_the_sink_is_refused() {
        for (key, value) in OWN {
            assert_eq!(check(key, value), Ok(()), "{key}");
        }
        for key in ["transactional.id", "acks", "enable.idempotence", "sasl.password", "bootstrap.servers"] {
            assert!(refusal(key, "x").is_some(), "{key}");
        }
        for key in ["compression.type", "security.protocol", "message.max.bytes"] {
            assert_eq!(refusal(key, "x"), None, "{key}");
        }
    }
}
