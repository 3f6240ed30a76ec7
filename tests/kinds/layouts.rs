//! Lines of servers' logs, in the layouts that servers are configured with.

use super::{counts, replay};
use std::collections::BTreeMap;

/// Returns the sessions' user, and the classes, of a log of one visitor.
fn visitor(config: &str, text: &str) -> (String, BTreeMap<String, u64>) {
    let found = replay(config, "access.log", text);
    assert_eq!((found.number("users"), found.number("dead_letters")), (1, 0), "{text}");
    assert_eq!(found.number("sessions"), 1, "{text}");
    (found.sessions[0]["user"].clone(), found.numbers("classes"))
}

/// Three lines, each a minute later.
fn lines(line: &str) -> String {
    (0..3).map(|minute| line.replace("10:0M", &format!("10:0{minute}")) + "\n").collect()
}

#[test]
fn common_layouts_are_recognised() {
    let request = "\"GET /a HTTP/1.1\" 200 5 \"-\" \"curl/8\"";
    let cases = [
        format!("203.0.113.5 - - [01/May/2024:10:0M:00 +0000] {request}"),
        "203.0.113.5 - - [01/May/2024:10:0M:00 +0000] \"GET /a HTTP/1.1\" 200 5".to_owned(),
        format!("shop.example:443 203.0.113.5 - - [01/May/2024:10:0M:00 +0000] {request}"),
        format!("shop.example 203.0.113.5 - - [01/May/2024:10:0M:00 +0000] {request}"),
        format!("www.shop.example 203.0.113.5 - [01/May/2024:10:0M:00 +0000] {request}"),
        format!("203.0.113.5 - - [01/May/2024:10:0M:00.123 +0000] {request}"),
        format!("203.0.113.5 - - [2024-05-01T10:0M:00+00:00] {request}"),
        format!("203.0.113.5 - - [01/May/2024:10:0M:00] {request}"),
        "203.0.113.5 - - [01/May/2024 10:0M:00] \"GET /a HTTP/1.1\" 200 -".to_owned(),
        "203.0.113.5 - - [01/May/2024:10:0M:00 +0000] \"GET /?q=\"red shoes\" HTTP/1.1\" 200 5 \"-\" \"c\"".to_owned(),
        format!("May  1 10:0M:00 web nginx: 203.0.113.5 - - [01/May/2024:10:0M:00 +0000] {request}"),
        format!("<134>1 2024-05-01T10:0M:00Z web nginx 7 - - 203.0.113.5 - - [01/May/2024:10:0M:00 +0000] {request}"),
        format!("web_1  | 203.0.113.5 - - [01/May/2024:10:0M:00 +0000] {request}"),
        format!("2024-05-01T10:0M:00.1Z stdout F 203.0.113.5 - - [01/May/2024:10:0M:00 +0000] {request}"),
        "79a5 mybucket [01/May/2024:10:0M:00 +0000] 203.0.113.5 79a5 3E57 REST.GET.OBJECT a.txt \"GET /a.txt HTTP/1.1\" \
         200 - 113 113 7 6 \"-\" \"S3Console/0.4\" -"
            .to_owned(),
        "https 2024-05-01T10:0M:00.186641Z app/lb/50dc 203.0.113.5:2817 10.0.0.66:80 0.086 0.048 0.037 200 200 0 57 \
         \"GET https://www.example.com:443/ HTTP/1.1\" \"curl/7.46.0\" ECDHE TLSv1.2 arn \"Root=1\" \"www.example.com\" \
         \"arn\" 1 2024-05-01T10:00:00.086000Z \"forward\" \"-\" \"-\""
            .to_owned(),
        "2024-05-01T10:0M:00.186641Z lb 203.0.113.5:2817 10.0.0.1:80 0.000073 0.001048 0.000057 200 200 0 29 \
         \"GET http://www.example.com:80/ HTTP/1.1\" \"curl/7.38.0\" - -"
            .to_owned(),
        "May  1 10:0M:00 lb haproxy[14389]: 203.0.113.5:33317 [01/May/2024:10:0M:00.655] http-in static/srv1 \
         10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 {1wt.eu} {} \"GET /index.html HTTP/1.1\""
            .to_owned(),
        "1714557600.123    112 203.0.113.5 TCP_MISS/200 4521 GET http://x.example/ - HIER_DIRECT/10.0.0.1 text/html"
            .to_owned(),
        "[2024-05-01T10:0M:00.123Z] \"GET /a HTTP/1.1\" 200 - 0 12 3 2 \"203.0.113.5\" \"curl/8\" \"6d\" \"x.example\" \"10.0.0.7:80\""
            .to_owned(),
        "[2024-05-01T10:0M:00.123Z] \"GET /a HTTP/1.1\" 200 - via_upstream - \"-\" 0 12 3 2 \"-\" \"curl/8\" \"6d\" \"x.example\" \
         \"10.0.0.7:80\" inbound|80|| 127.0.0.6:1 10.0.0.7:80 203.0.113.5:50000 outbound_.80_._.x default"
            .to_owned(),
        "2024-05-01T10:0M:00.1+00:00 heroku[router]: at=info method=GET path=\"/\" host=x fwd=\"203.0.113.5\" dyno=web.1"
            .to_owned(),
        "{\"@timestamp\":\"2024-05-01T10:00:00Z\",\"host\":{\"name\":\"web-1\"},\"message\":\"203.0.113.5 - - \
         [01/May/2024:10:0M:00 +0000] \\\"GET /a HTTP/1.1\\\" 200 5 \\\"-\\\" \\\"c\\\"\"}"
            .to_owned(),
        "{\"log\":\"203.0.113.5 - - [01/May/2024:10:0M:00 +0000] \\\"GET /a HTTP/1.1\\\" 200 5 \\\"-\\\" \\\"c\\\"\\n\",\
         \"stream\":\"stdout\",\"time\":\"2024-05-01T10:00:00Z\"}"
            .to_owned(),
    ];
    for line in cases {
        let (user, classes) = visitor("", &lines(&line));
        assert_eq!((user.as_str(), classes), ("203.0.113.5", BTreeMap::from([("GET".to_owned(), 3)])), "{line}");
    }
}

/// Connections have no method; their class is `unclassified`.
#[test]
fn layouts_of_connections_are_recognised() {
    for (line, user, class) in [
        (
            "May  1 10:0M:00 lb haproxy[7]: 203.0.113.5:33320 [01/May/2024:10:0M:00.655] fnt bck/srv1 0/0/5007 212 -- 0/0/0/0/3 0/0",
            "203.0.113.5",
            "unclassified",
        ),
        (
            "tls 2.0 2024-05-01T10:0M:00 net/nlb/c6e7 g3d4 203.0.113.5:51341 172.100.100.185:443 5 2 98 246 - arn - ECDHE tlsv12 - \
             nlb.example - - - 2024-05-01T10:00:00",
            "203.0.113.5",
            "tls",
        ),
        (
            "http 2024-05-01T10:0M:00.1Z app/lb/50dc [2001:db8::7]:2817 [fd00::1]:80 0.0 0.0 0.0 200 200 34 366 \
             \"GET http://www.example.com:80/ HTTP/1.1\" \"curl\" - - arn \"Root=1\"",
            "2001:db8::7",
            "GET",
        ),
    ] {
        let (found, classes) = visitor("", &lines(line));
        assert_eq!((found.as_str(), classes), (user, BTreeMap::from([(class.to_owned(), 3)])), "{line}");
    }
}

#[test]
fn zeek_names_its_fields() {
    let head = "#separator \\x09\n#unset_field\t-\n#path\thttp\n#fields\tts\tuid\tid.orig_h\tid.orig_p\tmethod\thost\n#types\ttime\tstring\n";
    let text = head.to_owned() + &lines("171455760M.123456\tC1\t203.0.113.5\t50000\tGET\tx.example") + "#close\t2024\n";
    let text = text.replace("10:0M", "M");
    let text: String = (0..3).fold(text, |text, minute| text.replacen("171455760M", &format!("171455760{minute}"), 1));
    let (user, classes) = visitor("", &text);
    assert_eq!((user.as_str(), classes), ("203.0.113.5", BTreeMap::from([("GET".to_owned(), 3)])));
}

/// What a collector put before a record is the last candidate for its time.
#[test]
fn the_time_of_a_prefix_counts_where_a_record_has_none() {
    let event = r#"{"user_id": "u1", "event": "GET"}"#;
    for prefix in [
        "2024-05-01T10:0M:00.1Z stdout F ",
        "2024-05-01T10:0M:00+00:00 web1 shop[811]: ",
        "2024-05-01T10:0M:00Z ",
        "2024-05-01T10:0M:00+00:00\tapp.access\t",
        "INFO 2024-05-01 10:0M:00,123 events - ",
        "[2024-05-01 10:0M:00] web ",
    ] {
        let found = replay("", "app.log", lines(&format!("{prefix}{event}")));
        assert_eq!((found.number("sessions"), found.number("dead_letters")), (1, 0), "{prefix}");
        assert_eq!(found.summary["read"][0]["time"][0]["path"], "prefix.time", "{prefix}");
        assert_eq!(found.sessions[0]["events"], "3");
    }
    // The time of the event goes first, and rows that end with objects are no objects.
    let own = format!("2020-01-01T00:00:00Z stdout F {}", event.replace('}', r#", "ts": 1714557600}"#));
    let found = replay("", "app.log", lines(&own));
    assert_eq!(found.summary["read"][0]["time"][0]["path"], "ts");
    let table = "user_id\tts\tevent\tproperties\nu1\t2024-05-01 10:00:00\tview\t{\"event\":\"x\"}\n";
    let found = replay("", "events.tsv", table);
    assert_eq!((found.summary["read"][0]["format"].as_str(), found.number("sessions")), (Some("csv"), 1));
}

#[test]
fn json_behind_a_prefix_or_inside_a_text_is_read() {
    let event = "{\"user_id\": \"u1\", \"ts\": \"2024-05-01T10:0M:00Z\", \"event\": \"GET\"}";
    let quoted = serde_json::to_string(&format!("{event}\n")).unwrap();
    let unwrap = "[[source]]\nname = 'a'\npaths = 'x'\nunwrap = 'message'\n";
    let cases = [
        ("", format!("May  1 10:0M:00 web1 shop[811]: {event}")),
        ("", format!("web_1  | {event}")),
        ("", format!("[pod/web-7d/app] {event}")),
        ("", format!("web-7d app {event}")),
        ("[[source]]\nname = 'a'\npaths = 'x'\nformat = 'json'\n", format!("web_1  | {event}")),
        ("", format!("{{\"_HOSTNAME\":\"web1\",\"MESSAGE\":{quoted}}}")),
        ("[[source]]\nname = 'a'\npaths = 'x'\nprefix = '[*] '\n", format!("[pod/web/1] {event}")),
        ("", format!("{{\"log\":{quoted},\"stream\":\"stdout\",\"time\":\"2024-05-01T10:00:00Z\"}}")),
        (unwrap, format!("{{\"host\":\"web1\",\"message\":{quoted}}}")),
    ];
    for (config, line) in cases {
        let (user, classes) = visitor(config, &lines(&line));
        assert_eq!((user.as_str(), classes), ("u1", BTreeMap::from([("GET".to_owned(), 3)])), "{line}");
    }
}

/// The fields of a W3C log may change where its server was started again.
#[test]
fn w3c_logs_name_their_fields() {
    let head = "#Software: Microsoft Internet Information Services 10.0\n#Version: 1.0\n";
    let text = format!(
        "{head}#Fields: date time s-ip cs-method c-ip cs(User-Agent)\n2024-05-01 10:00:00 10.0.0.1 GET 203.0.113.5 Mozilla/5.0+(X)\n\
         {head}#Fields: date time c-ip cs-method\n2024-05-01 10:01:00 203.0.113.5 GET\n2024-05-01 10:02:00 203.0.113.5 GET\n"
    );
    let (user, classes) = visitor("", &text);
    assert_eq!((user.as_str(), classes), ("203.0.113.5", BTreeMap::from([("GET".to_owned(), 3)])));
    let cloudfront = "#Version: 1.0\n#Fields: date time x-edge-location c-ip cs-method cs(Host)\n".to_owned()
        + &lines("2024-05-01\t10:0M:00\tFRA50\t203.0.113.5\tGET\td1.example");
    assert_eq!(visitor("", &cloudfront).0, "203.0.113.5");
    let config = "[[source]]\nname = 'cf'\npaths = 'x'\nformat = 'csv'\n[events]\nuser = 'c-ip'\ntime = [['date', 'time']]\njoin = ' '\n";
    assert_eq!(visitor(config, &cloudfront).0, "203.0.113.5");
}

#[test]
fn a_layout_may_be_that_of_the_servers_configuration() {
    let of = |layout: &str| format!("[[source]]\nname = 'a'\npaths = 'x'\nformat = 'log'\nlayout = '{layout}'\n");
    let cases = [
        (
            r#"%v:%p %h %l %u %t "%r" %>s %b %D"#,
            "shop:443 203.0.113.5 - - [01/May/2024:10:0M:00 +0000] \"GET / HTTP/1.1\" 200 5 77",
        ),
        (r#"%t %a \"%m %U%q\" %s"#, "[01/May/2024:10:0M:00 +0000] 203.0.113.5 \"GET /a\" 200"),
        (
            r#"$time_iso8601 $remote_addr "$request" $status"#,
            "2024-05-01T10:0M:00+00:00 203.0.113.5 \"GET / HTTP/2\" 200",
        ),
        ("$msec|$remote_addr|$request_method|$status", "171455760M.5|203.0.113.5|GET|200"),
        (r#"%{X-Forwarded-For}i %h %t "%r" %>s"#, "- 203.0.113.5 [01/May/2024:10:0M:00 +0000] \"GET / HTTP/1.1\" 200"),
    ];
    for (layout, line) in cases {
        let config = of(layout);
        let text: String = lines(line).replace("171455760M", "1714557600");
        assert_eq!(visitor(&config, &text).0, "203.0.113.5", "{layout}");
    }
    let config = of("$remote_addr [$time_local] \"$request\" $status") + "[events]\nuser = 'extra_2'\n";
    let line = "10.0.0.1 [01/May/2024:10:0M:00 +0000] \"GET / HTTP/1.1\" 200 \"curl\" \"203.0.113.5\"";
    assert_eq!(visitor(&config, &lines(line)).0, "203.0.113.5");
}

#[test]
fn what_a_server_appends_to_a_line_is_kept() {
    let line = "10.0.0.1 - - [01/May/2024:10:0M:00 +0000] \"GET /a HTTP/1.1\" 200 5 \"-\" \"Mozilla\" \"203.0.113.5, 10.0.0.9\" 0.003";
    for (user, expected) in
        [("forwarded_for", "203.0.113.5, 10.0.0.9"), ("extra_1", "203.0.113.5, 10.0.0.9"), ("extra_2", "0.003")]
    {
        assert_eq!(visitor(&format!("[events]\nuser = '{user}'"), &lines(line)).0, expected);
    }
}

#[test]
fn lines_of_pairs_are_read() {
    let cases = [
        "user=u1, time=2024-05-01T10:0M:00Z, event=view",
        "ts=2024-05-01T10:0M:00Z level=info msg=\"a \\\"b\\\" c\" user_id=u1",
        "time:2024-05-01T10:0M:00Z\tuser:u1\tmethod:GET",
        "May  1 10:0M:00 web1 app: time=2024-05-01T10:0M:00Z user=u1 event=x",
    ];
    for line in cases {
        assert_eq!(visitor("", &lines(line)).0, "u1", "{line}");
    }
    let found =
        replay("[[source]]\nname = 'a'\npaths = 'x'\nformat = 'logfmt'", "app.log", "user=u1 time=1714557600\nprose\n");
    assert_eq!(counts(&found), (1, 1, 1));
}

/// Rows of S3 begin with a line of names, those of CloudWatch do not, and files that were put together have it again.
#[test]
fn flow_logs_of_aws_are_recognised() {
    let flow = |minute: u64, action: &str| {
        let start = 1_714_557_600 + 60 * minute;
        let end = start + 59;
        format!("2 123456789010 eni-1235b8ca 203.0.113.5 172.31.16.21 20641 22 6 20 4249 {start} {end} {action} OK\n")
    };
    let names = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action \
                 log-status\n";
    let flows = flow(0, "ACCEPT") + &flow(1, "REJECT") + &flow(2, "ACCEPT");
    let classes = BTreeMap::from([("ACCEPT".to_owned(), 2), ("REJECT".to_owned(), 1)]);
    for text in [
        flows.clone(),
        names.to_owned() + &flows,
        format!("{names}{}{names}{}", flow(0, "REJECT"), flow(1, "ACCEPT") + &flow(2, "ACCEPT")),
    ] {
        assert_eq!(visitor("", &text), ("203.0.113.5".to_owned(), classes.clone()), "{text}");
    }
    // Of version 5, in an order of their own.
    let other = "action start vpc-id srcaddr flow-direction\nACCEPT 1714557600 vpc-1 203.0.113.5 ingress\n";
    assert_eq!(visitor("", other).0, "203.0.113.5");
    // A minute without data has no address.
    let nothing = "2 123456789010 eni-1235b8ca - - - - - - - 1431280876 1431280934 - NODATA\n";
    let found = replay("", "flow.log", &(flows + nothing));
    assert_eq!(found.summary["sessionless"]["no_user"], 1, "{}", found.summary);
}

#[test]
fn both_forms_of_cloudwatch_are_read() {
    let export = "2024-05-01T10:00:00.123Z {\"user\":\"ann\",\"type\":\"GET\"}\n";
    assert_eq!(visitor("", &export.repeat(2)).0, "ann");
    let message = |at: u64| {
        format!("{{\"id\":\"3{at}\",\"timestamp\":171455760{at}123,\"message\":\"{{\\\"user\\\": \\\"ann\\\"}}\"}}")
    };
    let subscription = format!(
        "{{\"messageType\":\"DATA_MESSAGE\",\"logGroup\":\"app\",\"logEvents\":[{},{}]}}\n",
        message(1),
        message(2)
    );
    let config = "[events]\nexplode = \"logEvents\"\nuser = \"message{}.user\"\ntime = \"timestamp\"\n";
    assert_eq!(visitor(config, &subscription).0, "ann");
    // Without them, it is a guess.
    let found = replay("", "access.log", &subscription);
    assert_eq!((counts(&found), found.sessions[0]["user"].as_str()), ((2, 1, 0), "ann"), "{}", found.summary);
}
