//! Built-in candidates for user, time and type, so that common logs work without configuration. The first that is
//! present wins, event by event.
//!
//! Deliberately absent: an id, since a configuration has to ask for de-duplication (docs/identity.md); and names that
//! mean different things in different logs, since a wrong guess would look like an answer: `uid` is a person to one
//! tool, a connection to Zeek and an object to Kubernetes; `id` and `name` can be of anything.

use crate::path::Path;
use crate::spec::{Candidate, Format};

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

/// The actor of an event. A stated identity goes first, since it survives a change of device. A pseudonym comes next, and
/// an address last.
const USER: [(Meaning, &[&str]); 3] =
    [(Meaning::Identifier, IDENTIFIERS), (Meaning::Pseudonym, PSEUDONYMS), (Meaning::Address, ADDRESSES)];

const IDENTIFIERS: &[&str] = &[
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
    // The audit log of Kubernetes.
    "user.username",
    "user",
    "account_id",
    "accountId",
    "account.id",
    // Shopify, Stripe.
    "customer_id",
    "customerId",
    "customer.id",
    "data.object.customer",
    "member_id",
    "memberId",
    // AppsFlyer.
    "Customer User ID",
    // Mixpanel.
    "properties.$user_id",
    // CloudTrail. A name is of few identities, an ARN of all that are signed in.
    "userIdentity.userName",
    "userIdentity.arn",
    "userIdentity.principalId",
    // The audit log of Google Cloud.
    "protoPayload.authenticationInfo.principalEmail",
    // The actor, in activity feeds (GitHub, ActivityStreams, audit logs). The name comes before the number: people know
    // names, and feeds that hold both mean the same actor.
    "actor.login",
    "actor.id",
    "actor_id",
    "actorId",
    "actor",
    // Segment wraps stated identity of some calls.
    "context.traits.id",
    "external_user_id",
    "user_email",
    "customer_email",
    "email",
];

/// Segment, Mixpanel, Snowplow, Google Analytics, Amplitude, Matomo, AppsFlyer.
const PSEUDONYMS: &[&str] = &[
    "visitor_id",
    "visitorId",
    "idvisitor",
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
    "amplitude_id",
    "AppsFlyer ID",
];

/// Web server and proxy logs written as JSON (nginx, Caddy, Traefik, Cloudflare, Google Cloud, Azure), CloudTrail,
/// Elastic Common Schema, Zeek. Deliberately absent: `host`, which is the server in all of them but access logs.
const ADDRESSES: &[&str] = &[
    "remote_ip | ip",
    "remote_addr | ip",
    "remoteAddr | ip",
    "client_ip | ip",
    "clientIp | ip",
    "clientip | ip",
    "ClientIP | ip",
    "ClientHost | ip",
    "ClientAddr | without_port | ip",
    "client.ip | ip",
    "client.address | ip",
    "source.ip | ip",
    "source.address | ip",
    "request.client_ip | ip",
    "request.remote_ip | ip",
    "httpRequest.remoteIp | ip",
    "sourceIPAddress | ip",
    "callerIpAddress | without_port | ip",
    "downstream_remote_address | without_port | ip",
    "src_ip | ip",
    "id.orig_h | ip",
    "visitIp | ip",
    "location_ip | ip",
    "ip | ip",
    "ip_address | ip",
];

/// When it happened. Names that say "of the event" go first, plain timestamps next; then record times, which a log's
/// writer or collector set: close to the event, but later.
const TIME: &[&str] = &[
    "event_time",
    "eventTime",
    "event_timestamp",
    "eventTimestamp",
    "Event Time",
    "occurred_at",
    "occurredAt",
    "time_utc",
    "timestamp",
    "@timestamp",
    "ts",
    "time",
    // XES event logs as JSON.
    "time:timestamp",
    // Mixpanel.
    "properties.time",
    // nginx, Envoy, Traefik, Cloudflare.
    "time_iso8601",
    "start_time",
    "startTime",
    "StartUTC",
    "EdgeStartTimestamp",
    "time_local",
    "datetime",
    "date_time",
    "Timestamp",
    "Time",
    "created_at",
    "createdAt",
    // Stripe, Okta.
    "created",
    "published",
    "meta.dt",
    // Segment's device time, for the calls that lack `timestamp`; that of Amplitude.
    "originalTimestamp",
    "client_event_time",
    // Snowplow: device time corrected by the collector's clock, then the collector's own.
    "derived_tstamp",
    "collector_tstamp",
    // Matomo.
    "server_time",
    "serverTimestamp",
    "requestReceivedTimestamp",
    "sent_at",
    "sentAt",
    "received_at",
    "receivedAt",
    "logged_at",
    // Zeek's time of writing, for the logs without a `ts`.
    "_write_ts",
    // Often a day without a time, so these come last.
    "date",
    "event_date",
    "Date",
];

/// Where the day may stand beside a time of day.
const DAYS: &[&str] = &["date", "event_date", "eventDate", "day", "Date", "log_date"];

/// The kind of an event. Names that say "of the event" go first: beside them, `type` is the kind of call (Segment:
/// `type = "track"`, `event = "Order Completed"`) and `action` a detail.
const KIND: &[&str] = &[
    "event_type",
    // CloudTrail has both, and its `eventType` is the way of the call.
    "eventName",
    "eventType",
    "event_name",
    "Event Name",
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
    "operationName",
    // Web server logs as JSON.
    "request_method",
    "RequestMethod",
    "ClientRequestMethod",
    "request.method",
    "httpRequest.requestMethod",
    "method",
];

/// Of access logs the address. The authenticated user is absent from nearly every line, and a visitor who logs in on
/// some pages only would become two users.
const CLF_USER: &[&str] = &["host | ip"];
const CLF_TIME: &[&str] = &["time"];
const CLF_KIND: &[&str] = &["method"];

/// Of log lines in other layouts: the names that layouts here give, then those of the W3C format.
const LOG_USER: &[&str] = &["host", "c-ip", "client_ip", "user"];
const LOG_TIME: &[&str] = &["datetime", "time", "timestamp"];
const LOG_KIND: &[&str] = &["method", "cs-method", "operation", "type"];

/// Candidates for the user of an event.
pub fn user(format: Format) -> Vec<Candidate> {
    match format {
        Format::Json | Format::Csv | Format::Ltsv | Format::Logfmt => {
            USER.iter().flat_map(|(_, paths)| candidates(paths)).collect()
        }
        Format::Clf => candidates(CLF_USER),
        Format::Log => candidates(LOG_USER),
    }
}

/// Candidates for the time of an event.
pub fn time(format: Format) -> Vec<Candidate> {
    match format {
        Format::Json | Format::Csv | Format::Ltsv | Format::Logfmt => candidates(TIME),
        Format::Clf => candidates(CLF_TIME),
        Format::Log => candidates(LOG_TIME),
    }
}

/// Candidates for the type of an event.
pub fn kind(format: Format) -> Vec<Candidate> {
    match format {
        Format::Json | Format::Csv | Format::Ltsv | Format::Logfmt => candidates(KIND),
        Format::Clf => candidates(CLF_KIND),
        Format::Log => candidates(LOG_KIND),
    }
}

/// Paths of the day that may stand beside a time of day.
pub fn days() -> Vec<Path> {
    candidates(DAYS).into_iter().flat_map(|candidate| candidate.parts).collect()
}

/// Returns what the value at a path of this name says of a user; `None`: the name is not known. Transforms do not change
/// it.
pub fn meaning(path: &str) -> Option<Meaning> {
    let name = |path: &str| path.split(" | ").next().unwrap_or_default().to_owned();
    let is_known = |paths: &[&str]| paths.iter().any(|known| name(known) == name(path));
    let of_list = USER.iter().find(|(_, paths)| is_known(paths)).map(|(meaning, _)| *meaning);
    of_list.or_else(|| is_known(CLF_USER).then_some(Meaning::Address))
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
}
