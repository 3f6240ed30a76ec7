//! The largest batch that a topic takes: `max.message.bytes` of the topic, or of its brokers.

use super::CALL;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use std::fmt::Display;

/// In librdkafka: the largest message, and the largest batch of them.
const LARGEST: &str = "message.max.bytes";
/// What a batch has beside its messages, as they are counted: its head of 61 bytes, and lengths of variable size.
const BESIDE: u64 = 256;
/// librdkafka takes no smaller limit.
const LEAST: u64 = 1000;

/// Lets a producer make no batch that the topic would not take. Without the permission to ask, it stays as it is.
pub(super) fn set(producing: &mut ClientConfig, config: &ClientConfig, topic: &str) {
    match of_topic(config, topic) {
        Ok(limit) => {
            let limit = limit.saturating_sub(BESIDE).max(LEAST);
            let own = producing.get(LARGEST).and_then(|bytes| bytes.parse().ok()).unwrap_or(1_000_000);
            if limit < own {
                producing.set(LARGEST, limit.to_string());
            }
        }
        Err(why) => tracing::debug!(topic, why, "the size limit of a topic is not known"),
    }
}

/// Returns the limit of a topic, in bytes.
fn of_topic(config: &ClientConfig, topic: &str) -> Result<u64, String> {
    let said = |why: &dyn Display| why.to_string();
    let admin: AdminClient<DefaultClientContext> = config.create().map_err(|error| said(&error))?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| said(&error))?;
    let options = AdminOptions::new().request_timeout(Some(CALL));
    let described = runtime.block_on(admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &options));
    let described = described.map_err(|error| said(&error))?.into_iter().next().ok_or("no answer")?;
    let described = described.map_err(|error| said(&error))?;
    let value = described.get("max.message.bytes").and_then(|entry| entry.value.as_ref());
    value.and_then(|bytes| bytes.parse().ok()).ok_or_else(|| "the brokers do not say it".into())
}
