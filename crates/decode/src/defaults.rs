//! Built-in candidates for user, time and type, so that common logs work without configuration. The first that is
//! present wins, event by event.
//!
//! Deliberately absent: an id, since a configuration has to ask for de-duplication (docs/identity.md); and names that
//! mean different things in different logs, since a wrong guess would look like an answer: `uid` is a person to one
//! tool, a connection to Zeek and an object to Kubernetes; `id` and `name` can be of anything.

use crate::path::Path;
use crate::spec::{Candidate, Format};

/// The actor of an event. A stated identity goes first, since it survives a change of device. A pseudonym of a device
/// or a browser comes next. A network address, which people share and change, comes last.
const USER: &[&str] = &[
    // The person, by an identifier of the application.
    "user_id",
    "userId",
    "userID",
    "userid",
    "user.id",
    "user_name",
    "userName",
    "username",
    "user.name",
    "user.login",
    "user",
    "account_id",
    "accountId",
    "account.id",
    "customer_id",
    "customerId",
    "customer.id",
    "member_id",
    "memberId",
    // The actor, in activity feeds (GitHub, ActivityStreams, audit logs). The name comes before the number: people know
    // names, and feeds that hold both mean the same actor.
    "actor.login",
    "actor.id",
    "actor_id",
    "actorId",
    "actor",
    // Segment wraps stated identity of some calls.
    "context.traits.id",
    // A visitor, by a cookie or an installation: Segment, Mixpanel, Snowplow, Google Analytics, Amplitude.
    "visitor_id",
    "visitorId",
    "anonymous_id",
    "anonymousId",
    "distinct_id",
    "properties.distinct_id",
    "domain_userid",
    "user_pseudo_id",
    "client_id",
    "clientId",
    "device_id",
    "deviceId",
    // A network address: web server and proxy logs written as JSON, Elastic Common Schema, Zeek.
    "remote_ip",
    "remote_addr",
    "remoteAddr",
    "client_ip",
    "clientIp",
    "client.ip",
    "source.ip",
    "src_ip",
    "id.orig_h",
    "ip",
    "ip_address",
    "host",
];

/// When it happened. Names that say "of the event" go first, plain timestamps next; then record times, which a log's
/// writer or collector set: close to the event, but later.
const TIME: &[&str] = &[
    "event_time",
    "eventTime",
    "event_timestamp",
    "eventTimestamp",
    "occurred_at",
    "occurredAt",
    "time_utc",
    "timestamp",
    "@timestamp",
    "ts",
    "time",
    // XES event logs as JSON.
    "time:timestamp",
    "datetime",
    "date_time",
    "created_at",
    "createdAt",
    "meta.dt",
    // Segment's device time, for the calls that lack `timestamp`.
    "originalTimestamp",
    // Snowplow: device time corrected by the collector's clock, then the collector's own.
    "derived_tstamp",
    "collector_tstamp",
    "sent_at",
    "sentAt",
    "received_at",
    "receivedAt",
    "logged_at",
    // Zeek's time of writing, for the logs without a `ts`.
    "_write_ts",
    // Often a day without a time, so it comes last.
    "date",
];

/// The kind of an event. Names that say "of the event" go first: beside them, `type` is the kind of call (Segment:
/// `type = "track"`, `event = "Order Completed"`) and `action` a detail.
const KIND: &[&str] = &[
    "event_type",
    "eventType",
    "event_name",
    "eventName",
    "event.action",
    "event.type",
    "event.name",
    "event",
    "type",
    "action",
    "activity",
    // XES event logs as JSON.
    "concept:name",
    // Zeek's name of the log.
    "_path",
    "kind",
    "verb",
    // Web server logs as JSON.
    "request_method",
    "method",
];

/// Of access logs the address. The authenticated user is absent from nearly every line, and a visitor who logs in on
/// some pages only would become two users.
const CLF_USER: &[&str] = &["host"];
const CLF_TIME: &[&str] = &["time"];
const CLF_KIND: &[&str] = &["method"];

/// Candidates for the user of an event.
pub fn user(format: Format) -> Vec<Candidate> {
    match format {
        Format::Json | Format::Csv => candidates(USER),
        Format::Clf => candidates(CLF_USER),
    }
}

/// Candidates for the time of an event.
pub fn time(format: Format) -> Vec<Candidate> {
    match format {
        Format::Json | Format::Csv => candidates(TIME),
        Format::Clf => candidates(CLF_TIME),
    }
}

/// Candidates for the type of an event.
pub fn kind(format: Format) -> Vec<Candidate> {
    match format {
        Format::Json | Format::Csv => candidates(KIND),
        Format::Clf => candidates(CLF_KIND),
    }
}

fn candidates(paths: &[&str]) -> Vec<Candidate> {
    // Each of the constants above is a path: `all_are_paths_and_none_is_repeated` parses them.
    let path = |text: &&str| Path::parse(text).expect("built-in candidates are paths");
    paths.iter().map(|text| Candidate { parts: vec![path(text)] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn all_are_paths_and_none_is_repeated() {
        for format in [Format::Json, Format::Csv, Format::Clf] {
            for candidates in [user(format), time(format), kind(format)] {
                let paths: HashSet<&Path> = candidates.iter().flat_map(|candidate| &candidate.parts).collect();
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
        assert!(place("actor.login") < place("distinct_id"));
        assert!(place("domain_userid") < place("remote_ip"));
    }
}
