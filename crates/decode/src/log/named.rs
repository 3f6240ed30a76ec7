//! Layouts that have a name, and which of them the lines of a file have.

use super::layout::Layout;
use crate::clf;
use crate::prefix::Prefix;
use std::sync::LazyLock;

/// A layout that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// Common Log Format.
    Common,
    /// Combined Log Format: common, with referrer and user agent.
    Combined,
    /// Combined, behind the virtual host and its port.
    VhostCombined,
    /// The virtual host without its port, then the address and the user: `%v %h %u %t …`.
    VhostUser,
    /// Server access logs of S3.
    S3,
    /// Of a classic load balancer of AWS.
    Elb,
    /// Of an application load balancer of AWS.
    Alb,
    /// Of a network load balancer of AWS that ends TLS.
    Nlb,
    /// Of HAProxy for HTTP.
    HaProxy,
    /// Of HAProxy for connections that are no HTTP.
    HaProxyTcp,
    /// The native one of Squid.
    Squid,
    /// The default of Envoy.
    Envoy,
    /// The default of the mesh Istio, which is on Envoy.
    Istio,
}

impl Named {
    /// Every layout.
    pub const ALL: [Named; 13] = [
        Named::Common,
        Named::Combined,
        Named::VhostCombined,
        Named::VhostUser,
        Named::S3,
        Named::Elb,
        Named::Alb,
        Named::Nlb,
        Named::HaProxy,
        Named::HaProxyTcp,
        Named::Squid,
        Named::Envoy,
        Named::Istio,
    ];

    /// Returns its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Named::Common => "common",
            Named::Combined => "combined",
            Named::VhostCombined => "vhost_combined",
            Named::VhostUser => "vhost_user",
            Named::S3 => "s3",
            Named::Elb => "elb",
            Named::Alb => "alb",
            Named::Nlb => "nlb",
            Named::HaProxy => "haproxy",
            Named::HaProxyTcp => "haproxy_tcp",
            Named::Squid => "squid",
            Named::Envoy => "envoy",
            Named::Istio => "istio",
        }
    }

    /// Returns the layout of this name.
    pub fn of(name: &str) -> Option<Named> {
        // Names that others have for the same lines.
        let name = match name {
            "nginx" | "apache" | "http.server" | "python" => "combined",
            "vhost_common" => "vhost_combined",
            name => name,
        };
        Named::ALL.into_iter().find(|known| known.name() == name)
    }

    /// Returns its directives, in the notation of nginx.
    fn directives(self) -> &'static str {
        match self {
            Named::Common => r#"$remote_addr $ident $user [$time] "$request" $status $bytes"#,
            Named::Combined => r#"$remote_addr $ident $user [$time] "$request" $status $bytes "$referrer" "$agent""#,
            Named::VhostCombined => {
                r#"$vhost $remote_addr $ident $user [$time] "$request" $status $bytes "$referrer" "$agent""#
            }
            Named::VhostUser => r#"$vhost $remote_addr $user [$time] "$request" $status $bytes "$referrer" "$agent""#,
            // https://docs.aws.amazon.com/AmazonS3/latest/userguide/LogFormat.html
            Named::S3 => {
                r#"$bucket_owner $bucket [$time] $remote_addr $requester $request_id $operation $key "$request" $status $error_code $bytes $object_size $total_time $turn_around_time "$referrer" "$agent" $version_id $host_id $signature_version $cipher_suite $authentication_type $host_header $tls_version"#
            }
            // https://docs.aws.amazon.com/elasticloadbalancing/latest/classic/access-log-collection.html
            Named::Elb => {
                r#"$time $elb $remote_addr:$client_port $backend $request_processing_time $backend_processing_time $response_processing_time $status $backend_status $received_bytes $bytes "$request" "$agent" $ssl_cipher $ssl_protocol"#
            }
            // https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-access-logs.html
            Named::Alb => {
                r#"$type $time $elb $remote_addr:$client_port $target $request_processing_time $target_processing_time $response_processing_time $status $target_status $received_bytes $bytes "$request" "$agent" $ssl_cipher $ssl_protocol $target_group_arn "$trace_id" "$domain_name" "$chosen_cert_arn" $matched_rule_priority $request_creation_time "$actions_executed" "$redirect_url" "$error_reason" "$target_list" "$target_status_list" "$classification" "$classification_reason""#
            }
            // https://docs.aws.amazon.com/elasticloadbalancing/latest/network/load-balancer-access-logs.html
            Named::Nlb => {
                r#"$type $version $time $elb $listener $remote_addr:$client_port $destination $connection_time $tls_handshake_time $received_bytes $bytes $incoming_tls_alert $chosen_cert_arn $chosen_cert_serial $tls_cipher $tls_protocol_version $tls_named_group $domain_name $alpn_fe_protocol $alpn_be_protocol $alpn_client_preference_list $tls_connection_creation_time"#
            }
            // https://docs.haproxy.org/3.0/configuration.html#8.2.2
            Named::HaProxyTcp => {
                r#"$remote_addr:$client_port [$time] $frontend $backend $timers $bytes $termination_state $connections $queues"#
            }
            // https://wiki.squid-cache.org/Features/LogFormat
            Named::Squid => {
                r#"$time $duration_ms $remote_addr $cache_result/$status $bytes $method $path $user $hierarchy $content_type"#
            }
            // https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage#default-format-string
            Named::Envoy => {
                r#"[$time] "$request" $status $response_flags $received_bytes $bytes $duration_ms $upstream_ms "$forwarded_for" "$agent" "$request_id" "$vhost" "$upstream""#
            }
            // https://istio.io/latest/docs/tasks/observability/logs/access-log/
            Named::Istio => {
                r#"[$time] "$request" $status $response_flags $details $termination_details "$failure_reason" $received_bytes $bytes $duration_ms $upstream_ms "$forwarded_for" "$agent" "$request_id" "$vhost" "$upstream" $upstream_cluster $upstream_local $downstream_local $peer:$peer_port $server_name $route"#
            }
            // https://docs.haproxy.org/3.0/configuration.html#8.2.3
            Named::HaProxy => {
                r#"$remote_addr:$client_port [$time] $frontend $backend $timers $status $bytes $request_cookie $response_cookie $termination_state $connections $queues $captured"$request""#
            }
        }
    }

    /// Returns the layout.
    pub fn layout(self) -> &'static Layout {
        // `all_can_be_parsed` reads each of them.
        static LAYOUTS: LazyLock<Vec<Layout>> = LazyLock::new(|| {
            Named::ALL.iter().map(|named| Layout::parse(named.directives()).unwrap_or_default()).collect()
        });
        // They are declared in the order of `ALL`.
        &LAYOUTS[self as usize]
    }
}

/// Recognises how most of `lines` are laid out, and what stands before each.
pub fn recognise<'l>(lines: impl Iterator<Item = &'l [u8]>) -> Option<(Named, Option<Prefix>)> {
    let lines: Vec<&[u8]> = lines.collect();
    let all = lines.len();
    let prefixes = std::iter::once(None).chain(Prefix::NAMED.map(Some));
    for prefix in prefixes {
        let bare = |line: &&'l [u8]| {
            let length = prefix.as_ref().map_or(Some(0), |prefix| prefix.of_line(line));
            length.and_then(|length| std::str::from_utf8(&line[length..]).ok())
        };
        let is_most =
            |fits: &dyn Fn(&str) -> bool| 2 * lines.iter().filter_map(bare).filter(|line| fits(line)).count() > all;
        if is_most(&|line| clf::place_of_host(line) == Some(1)) {
            return Some((Named::VhostCombined, prefix));
        }
        if is_most(&|line| clf::place_of_host(line) == Some(2)) {
            return Some((Named::VhostUser, prefix));
        }
        if is_most(&clf::is_line) {
            return Some((Named::Combined, prefix));
        }
        const LESS_COMMON: [Named; 9] = [
            Named::S3,
            Named::Alb,
            Named::Elb,
            Named::Nlb,
            Named::HaProxy,
            Named::HaProxyTcp,
            Named::Squid,
            Named::Istio,
            Named::Envoy,
        ];
        for named in LESS_COMMON {
            let layout = named.layout();
            if is_most(&|line| layout.fits(line)) {
                return Some((named, prefix));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_can_be_parsed_and_found_by_name() {
        for named in Named::ALL {
            assert_eq!(Layout::parse(named.directives()).as_ref(), Ok(named.layout()), "{named:?}");
            assert_eq!(Named::of(named.name()), Some(named));
        }
    }
}
