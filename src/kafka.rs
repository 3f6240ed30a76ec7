//! Settings of librdkafka, for sources and for sinks: those that a user may pass through, those that would break what is
//! promised, and those that we make ourselves.

pub mod consumer;
pub mod producer;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use std::path::PathBuf;

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

/// What is wrong with a setting, and what to do.
pub type Refusal = (String, String);

fn refused(key: &str, why: &str, help: &str) -> Option<Refusal> {
    Some((format!("`{key}` {why}"), help.to_owned()))
}

/// Says why no client takes a setting from a user. `table`: of the configuration.
fn refused_by_all(key: &str, table: &str) -> Option<Refusal> {
    match key {
        "bootstrap.servers" | "metadata.broker.list" => {
            refused(key, "has a key of its own", &format!("write brokers = \"HOST:PORT\" in the {table}"))
        }
        "plugin.library.paths" => refused(key, "would load a program", "leave it out"),
        _ if key.starts_with("test.mock.") => refused(key, "replaces the brokers by a mock", "leave it out"),
        _ if is_secret(key) => refused(
            key,
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

/// Returns the settings of a client: our own, and then those that are passed through, with the secrets from their files.
///
/// # Errors
/// A secret that cannot be read.
fn config(
    own: &[(&str, &str)],
    brokers: &str,
    passed: &[(String, String)],
    secrets: &[(String, PathBuf)],
) -> Result<ClientConfig, String> {
    let mut config = ClientConfig::new();
    config.extend(own.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    config.extend(passed.iter().cloned());
    for (key, file) in secrets {
        let secret = std::fs::read_to_string(file);
        let secret = secret.map_err(|error| format!("cannot read `{key}` from {}: {error}", file.display()))?;
        config.set(key, secret.trim_end_matches(['\n', '\r']));
    }
    config.set("bootstrap.servers", brokers);
    Ok(config)
}
