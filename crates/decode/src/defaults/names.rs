//! The built-in names, in the order in which they count. Plain names in snake case stand for all [spellings](super) of
//! them.
//!
//! Deliberately absent: an id, since a configuration has to ask for de-duplication (docs/identity.md); and names that
//! mean different things in different logs, since a wrong guess would look like an answer: `uid` is a person to one
//! tool, a connection to Zeek and an object to Kubernetes; `id` and `name` can be of anything.

/// A person or an account.
pub const IDENTIFIERS: &[&str] = &[
    // The actor, in activity feeds (GitHub, ActivityStreams, audit logs). The name comes before the number: people know
    // names, and feeds that hold both mean the same actor. Beside it, audit
    // logs have a `user` and a `user_id`: of whom the action is about.
    "actor.login",
    "actor.user.id",
    "actor.id",
    "actor.email",
    "actor.mbox",
    "actor.account.name",
    "actor",
    "actor_id",
    "user_id",
    "user.id",
    "user.userID",
    "usr.id",
    "user_name",
    "user.name",
    "user.login",
    // The audit log of Kubernetes.
    "user.username",
    "user",
    "sender.login",
    "account_id",
    "account.id",
    // Shopify, Stripe.
    "customer_id",
    "customer.id",
    "data.object.customer",
    "member_id",
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
    // Segment wraps stated identity of some calls.
    "context.traits.id",
    "external_user_id",
    "user_principal_name",
    "user_email",
    "customer_email",
    "email",
    // Objects that wrap the event: of buses, of change data capture, of loggers, of search engines.
    "data.user_id",
    "data.userId",
    "data.user.id",
    "data.customer_id",
    "detail.userId",
    "detail.user_id",
    "event.user_id",
    "event.userId",
    "payload.user_id",
    "payload.userId",
    "properties.user_id",
    "properties.userId",
    "properties.UserId",
    "Properties.UserId",
    "after.user_id",
    "payload.after.user_id",
    "attributes.user_id",
    "attributes.usr.id",
    "attributes.attributes.usr.id",
    "contextMap.userId",
    "mdc.userId",
    "user_data.developer_identity",
    "_user_id",
    "_source.user_id",
    "_source.user.id",
    "_source.user.name",
    "result.user_id",
    "result.user",
    // The extended JSON of MongoDB.
    "user_id.$oid",
    "userId.$oid",
    "user.$oid",
    "user_id.$numberLong",
    "userId.$numberLong",
    // Event logs of processes as CSV or JSON (XES).
    "case:concept:name",
];

/// Segment, Mixpanel, Snowplow, Google Analytics, Amplitude, Matomo, AppsFlyer, Adjust.
pub const PSEUDONYMS: &[&str] = &[
    "visitor_id",
    "idvisitor",
    "full_visitor_id",
    "anonymous_id",
    "distinct_id",
    "properties.distinct_id",
    "user_pseudo_id",
    "client_id",
    "device_id",
    "amplitude_id",
    "AppsFlyer ID",
    "adid",
    "network_userid",
];

/// Web server and proxy logs written as JSON (nginx, Caddy, Traefik, Cloudflare, Akamai, Google Cloud, Azure), loggers of
/// frameworks, CloudTrail, Elastic Common Schema, Zeek. Deliberately absent: `host`, which is the server in all of them
/// but access logs.
pub const ADDRESSES: &[&str] = &[
    "remote_ip | ip",
    "remote_addr | without_port | ip",
    "client_ip | ip",
    "clientip | ip",
    "client_host | ip",
    "client_addr | without_port | ip",
    "client.ip | ip",
    "client.ipAddress | ip",
    "client.address | ip",
    "source.ip | ip",
    "source.address | ip",
    "request.client_ip | ip",
    "request.remote_ip | ip",
    "request.remote_addr | without_port | ip",
    "req.remoteAddress | ip",
    "httpRequest.remoteIp | ip",
    "httpRequest.clientIp | ip",
    "properties.clientIP | ip",
    "properties.clientIp | ip",
    "proxy.clientIp | ip",
    "sourceIPAddress | ip",
    "callerIpAddress | without_port | ip",
    "downstream_remote_address | without_port | ip",
    "fwd | first_of_list | ip",
    "cliIP | ip",
    "src_ip | ip",
    "id.orig_h | ip",
    "visit_ip | ip",
    "location_ip | ip",
    "user_ipaddress | ip",
    "context.ip | ip",
    "ip | ip",
    "ip_address | ip",
];

/// The case of a process, in event logs that name no actor: it takes the place of the user.
pub const CASES: &[&str] = &["case_id", "_CASE_KEY"];

/// When it happened. Names that say "of the event" go first, plain timestamps next; then record times, which a log's
/// writer or collector set: close to the event, but later.
pub const TIME: &[&str] = &[
    "event_time",
    "event_timestamp",
    "event.time",
    "event.timestamp",
    "event.ts",
    "occurred_at",
    "time_utc",
    "timestamp_derived",
    "timestamp",
    "@timestamp",
    "@t",
    "ts",
    "time",
    "time_stamp",
    "timestamp_utc",
    // XES event logs as JSON, and as CSV.
    "time:timestamp",
    "complete_timestamp",
    // Mixpanel, Google Analytics.
    "properties.time",
    "timestamp_micros",
    // OpenTelemetry.
    "timeUnixNano",
    "startTimeUnixNano",
    "observedTimeUnixNano",
    // nginx, Envoy, Traefik, Cloudflare, Akamai, gateways of AWS.
    "time_iso8601",
    "start_time",
    "start_utc",
    "edge_start_timestamp",
    "time_local",
    "msec",
    "reqTimeSec",
    "requestTime",
    "datetime",
    "date_time",
    // Azure, Microsoft 365, audit logs.
    "time_generated",
    "creation_time",
    "createdDateTime",
    "date_create",
    "id.time",
    "asctime",
    "log_time",
    "created_at",
    "date_created",
    "date_created_gmt",
    // Stripe, Okta.
    "created",
    "published",
    "meta.dt",
    // Segment's device time, for the calls that lack `timestamp`; that of Amplitude.
    "original_timestamp",
    "client_event_time",
    // Snowplow: the clock of the collector, which is one for all, then that of the device.
    "collector_tstamp",
    "derived_tstamp",
    "dvce_created_tstamp",
    // Matomo, the journal of systemd, log4j.
    "server_time",
    "server_timestamp",
    "__REALTIME_TIMESTAMP",
    "instant.epochSecond",
    "request_received_timestamp",
    "stage_timestamp",
    "sent_at",
    "received_at",
    "logged_at",
    "recorded_at",
    // Zeek's time of writing, for the logs without a `ts`.
    "_write_ts",
    // Objects that wrap the event.
    "_source.@timestamp",
    "_source.timestamp",
    "attributes.timestamp",
    "result._time",
    "_time",
    "ts_ms",
    // The extended JSON of MongoDB.
    "event_time.$date",
    "timestamp.$date",
    "ts.$date",
    "time.$date",
    "created_at.$date",
    "createdAt.$date",
    "date.$date",
    "timestamp.$date.$numberLong",
    "ts.$date.$numberLong",
    "createdAt.$date.$numberLong",
    "visit_start_time",
    // Often a day without a time.
    "date",
    "event_date",
    // What a collector put before the record.
    "prefix.time",
];

/// Where the day may stand beside a time of day.
pub const DAYS: &[&str] = &["date", "event_date", "day", "log_date"];

/// The kind of an event. Names that say "of the event" go first: beside them, `type` is the kind of call (Segment:
/// `type = "track"`, `event = "Order Completed"`) and `action` a detail.
pub const KIND: &[&str] = &[
    // CloudTrail has both, and its `eventType` is the way of the call.
    "eventName",
    "event_type",
    "event_name",
    "event.action",
    "event.type",
    "event.name",
    "event",
    "type",
    "action",
    "activity",
    "activity_en",
    "activity_kind",
    // XES event logs as JSON.
    "concept:name",
    // Zeek's name of the log.
    "_path",
    "_source.event.action",
    "result.action",
    "detail-type",
    "verb.id",
    // The audit log of Kubernetes has `kind` too, which is the same for all.
    "verb",
    "kind",
    "object_kind",
    "operation",
    "protoPayload.methodName",
    // Web server logs as JSON.
    "request_method",
    "client_request_method",
    "request.method",
    "httpRequest.requestMethod",
    "httpRequest.httpMethod",
    "properties.httpMethod",
    "proxy.method",
    "req.method",
    "http_method",
    "req_method",
    "method",
    "operation_name",
];

/// Of access logs the address. The authenticated user is absent from nearly every line, and a visitor who logs in on
/// some pages only would become two users.
pub const CLF_USER: &[&str] = &["host | ip"];
pub const CLF_TIME: &[&str] = &["time"];
pub const CLF_KIND: &[&str] = &["method"];

/// Of log lines in other layouts: the names that layouts here give, then those of the W3C format.
pub const LOG_USER: &[&str] = &[
    // Zeek, whose `host` is the server.
    "id.orig_h | ip",
    "host | ip",
    "c-ip | ip",
    // Flow logs of AWS.
    "srcaddr | ip",
    "client_ip | ip",
    // Proxies of a mesh see each other.
    "forwarded_for | first_of_list | ip",
    "peer | ip",
    "user",
];
pub const LOG_TIME: &[&str] = &["datetime", "time", "timestamp", "ts", "start"];
pub const LOG_KIND: &[&str] = &["method", "cs-method", "operation", "action", "type"];
