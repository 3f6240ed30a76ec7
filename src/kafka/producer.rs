//! Settings of the producers of sinks.

use super::{Refusal, refused, refused_by_all};
use crate::plan::KafkaTarget;
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

/// Says why a setting cannot be passed through. `None` if it can.
pub fn refusal(key: &str, _: &str) -> Option<Refusal> {
    match key {
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
        | "message.send.max.retries" => {
            refused(key, "is set by the sink", "leave it out: each change is in the topic once")
        }
        _ => refused_by_all(key, "[[sink]]"),
    }
}

/// Returns the settings of a sink, which its producer has beside others.
///
/// # Errors
/// A secret that cannot be read.
pub fn config(target: &KafkaTarget) -> Result<ClientConfig, String> {
    super::config(&OWN, &target.brokers, &target.settings, &target.secrets)
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::*;

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
