//! Filters choose rows, and wrong filters give errors with their place.

use super::*;
use crate::collections::sessions::{SessionRow, SessionSchema};
use crate::collections::{self, Collection, Schemas};
use dataflows::{Decimal, EventTime, Measure, UserKey};
use proptest::prelude::*;

fn schemas() -> Schemas {
    Schemas::new(
        &SessionSchema { sums: vec!["amount".into()], carried: vec!["page".into()], ended_by: false },
        false,
        &[],
    )
}

fn session(user: &str, events: u64, classes: &[(&str, u64)], amount: Option<i128>, page: Option<&str>) -> Vec<u8> {
    let time = EventTime::from_micros(1_000_000).unwrap();
    let numbers = u64::from(amount.is_some());
    collections::sessions::encode(&SessionRow {
        key: UserKey::of(user),
        user,
        start: time,
        end: EventTime::from_micros(3_000_000).unwrap(),
        events,
        classes,
        first_class: "login",
        last_class: "logout",
        sums: &[Measure { sum: Decimal::from_millionths(amount.unwrap_or(0)), numbers, others: 0 }],
        carried: &[(page, None)],
        ended_by: None,
    })
}

#[test]
fn says_of_a_row_whether_it_is_wanted() {
    let row = session("u42", 3, &[("login", 1), ("view", 2)], Some(12_500_000), Some("/a\"b"));
    let row = Collection::SESSIONS.decode(&row).unwrap();
    let cases = [
        (r#"user = "u42""#, true),
        (r#"user = 'u42' and events >= 3"#, true),
        (r#"user = "u42" AND NOT events >= 3"#, false),
        (r#"user = "u1" or user = "u2" or (events < 4 and events > 2)"#, true),
        (r#"user in ("u1", "u42")"#, true),
        (r#"user starts_with "u4""#, true),
        (r#"user starts_with "4""#, false),
        ("user starts_with ('x', 'u')", true),
        ("user ends_with '2' and user contains '4' and user matches '^u[0-9]+$'", true),
        ("user contains 'U4'", false),
        ("user contains ('x', 'U4') nocase and user = 'U42' nocase and user in ('U42') nocase", true),
        ("user <> 'U42' nocase or user not contains '4' or user not matches '2$'", false),
        (r#"classes has "view""#, true),
        (r#"classes has "checkout""#, false),
        (r#"classes.view = 2 and classes."login" = 1 and classes.checkout = 0"#, true),
        ("amount = 12.5", true),
        ("amount > 12.499999 and amount < 12.500001", true),
        ("amount > 13", false),
        ("exit_page = null and entry_page != null", true),
        ("exit_page < \"z\" or exit_page >= null", false),
        (r#"entry_page = "/a\"b""#, true),
        ("start_us = 1000000 and end_us = 3000000 and duration_us = 2000000", true),
        ("events = -3", false),
        ("events in (1, 3)", true),
        ("events <> 3", false),
        // A filter does not choose an unknown row, and neither does its opposite.
        ("exit_page != 'x'", false),
        ("not exit_page = 'x'", false),
        ("not (exit_page = 'x' and events = 4)", true),
        ("exit_page = 'x' or events = 3", true),
        ("exit_page is null and entry_page is not null", true),
        ("exit_page in ('x', null)", true),
        ("not exit_page in ('x', null)", false),
        ("entry_page not in ('x', null)", true),
        ("exit_page not in ('x')", false),
        ("user like 'u4%' and user not like 'x%'", true),
        ("events between 1 and 3 and events not between 4 and 5", true),
        ("user between 'u' and 'v'", true),
        ("amount >= 1.25e1", true),
        ("user = 'u''2'", false),
        (r#""user" = 'u42' and classes . view = 2"#, true),
    ];
    let all = schemas();
    for (text, expected) in cases {
        let filter =
            Filter::parse(text, all.of(Collection::SESSIONS)).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(filter.matches(&row), expected, "{text}");
        if let Some(anchors) = filter.anchors().filter(|_| expected) {
            let has = |(column, text): &Anchor| row.value(*column).text().as_deref() == Some(text);
            assert!(anchors.iter().any(has), "{text}: {anchors:?}");
        }
    }
}

#[test]
fn a_filter_that_is_wrong_says_where_and_what_would_be_right() {
    let cases = [
        ("", 1, "expected a column, not the end"),
        ("usr = \"u\"", 1, "did you mean `user`?"),
        (
            "user",
            5,
            "expected =, <>, <, <=, >, >=, `is null`, `in`, `between`, `like`, `starts_with`, `ends_with`, `contains` or `matches`, not the end",
        ),
        ("user = u42", 8, "expected a text in quotes, not `u42`"),
        ("user = 42", 8, "expected a text in quotes, not `42`"),
        ("events = \"3\"", 10, "expected a number, not the text \"3\""),
        ("events = 3 events", 12, "expected `and`, `or` or the end"),
        ("user = \"ü\" && events = 3", 12, "`&` means nothing here; write `and`"),
        ("user = \"u", 8, "no closing quote"),
        ("(user = \"u\"", 12, "expected `)`, not the end"),
        ("user in \"u\"", 9, "expected `(`"),
        ("events = 1.2.3", 10, "no number"),
        ("events = 99999999999999999999999999999999999", 10, "no number"),
        ("classes = 3", 1, "classes has \"CLASS\""),
        ("events between 3 and 1", 16, "write the smaller one first"),
        ("user like '%x'", 11, "`like` takes the beginning of a text"),
        (
            "user not = 'x'",
            10,
            "expected `in`, `between`, `like`, `starts_with`, `ends_with`, `contains` or `matches`, not `=`",
        ),
        ("events is 3", 11, "expected `null` or `not null`"),
        ("events = 0.0000001", 10, "at most six behind it"),
        ("\"usr\" = 'u'", 1, "did you mean `user`?"),
    ];
    let all = schemas();
    for (text, at, message) in cases {
        let error = Filter::parse(text, all.of(Collection::SESSIONS)).unwrap_err();
        assert_eq!(error.at, at, "{text}: {error}");
        assert!(error.message.contains(message), "{text}: {error}");
    }
    let deep = "(".repeat(10_000);
    assert!(Filter::parse(&deep, all.of(Collection::SESSIONS)).unwrap_err().message.contains("parentheses"));
}

#[test]
fn anchors_are_the_fewest_texts_that_a_row_can_be_found_by() {
    let all = schemas();
    let schema = all.of(Collection::SESSIONS);
    let anchors = |text: &str| {
        let anchors = Filter::parse(text, schema).unwrap().anchors()?;
        Some(anchors.into_iter().map(|(column, text)| format!("{}={text}", schema.columns[column].name)).collect())
    };
    let some = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    assert_eq!(anchors(r#"user in ("a", "b") and events > 1"#), some(&["user=a", "user=b"]));
    assert_eq!(anchors(r#"user in ("a", "b") and first_class = "x""#), some(&["first_class=x"]));
    assert_eq!(anchors(r#"user = "a" or session_id = "b""#), some(&["session_id=b", "user=a"]));
    assert_eq!(anchors(r#"user = "a" or events = 1"#), None);
    assert_eq!(anchors(r#"not user = "a""#), None);
    assert_eq!(anchors(r#"user in ("a", null)"#), None);
    assert_eq!(Filter::of_key("k", schema).anchors().map(|anchors| anchors.len()), Some(2));
}

/// A list of 10,000 values took 10,000 comparisons for each row and subscriber, and so did the same in other words.
#[test]
fn a_value_is_looked_up_in_a_list_and_not_compared_one_by_one() {
    let all = schemas();
    let schema = all.of(Collection::SESSIONS);
    let users: Vec<String> = (0..10_000).map(|number| format!("\"u{number}\"")).collect();
    let joined = |op: &str, or: &str| users.iter().map(|user| format!("user {op} {user}")).collect::<Vec<_>>().join(or);
    let texts = [
        (true, format!("user in ({})", users.join(", "))),
        (true, joined("=", " or ")),
        (false, format!("not user in ({})", users.join(", "))),
        (false, joined("!=", " and ")),
    ];
    for (listed, text) in texts {
        let filter = Filter::parse(&text, schema).unwrap();
        assert!(filter.weight() <= 16, "{}", filter.weight());
        for (user, known) in [("u0", true), ("u9999", true), ("u77", true), ("u10000", false), ("", false)] {
            let row = session(user, 1, &[], None, None);
            let row = Collection::SESSIONS.decode(&row).unwrap();
            assert_eq!(filter.matches(&row), known == listed, "{user} in {}…", &text[..30]);
        }
    }
    let keys = Filter::any((0..1024).map(|key| Filter::of_key(&format!("k{key}"), schema)).collect());
    assert!(keys.weight() <= 24, "{}", keys.weight());
    assert_eq!(keys.anchors().unwrap().len(), 2048);

    let costly = (0..5000).map(|at| format!("user starts_with \"{at}\"")).collect::<Vec<_>>().join(" or ");
    let error = Filter::parse(&costly, schema).unwrap_err();
    assert!(error.message.contains("more than 4096 comparisons"), "{error}");
}

/// A literal of a list, as text.
fn literal() -> impl Strategy<Value = (Option<String>, Option<i32>)> {
    prop_oneof![
        Just((None, None)),
        "[ab]{0,2}".prop_map(|text| (Some(text), None)),
        (-3i32..4).prop_map(|number| (None, Some(number))),
    ]
}

/// A condition in the words that SQL has too.
fn condition() -> impl Strategy<Value = String> {
    let text = || "[ab]{0,2}|it''s".prop_map(|text| format!("'{text}'"));
    let number = || (-3..6_i32).prop_map(|halves| (f64::from(halves) / 2.0).to_string());
    let texts = || prop::sample::select(vec!["user", "entry_page", "exit_page"]);
    let numbers = || prop::sample::select(vec!["events", "amount"]);
    let not = || prop::sample::select(vec!["", "not "]);
    let op = || prop::sample::select(vec!["=", "==", "<>", "!=", "<", "<=", ">", ">="]);
    let leaf = prop_oneof![
        (texts(), op(), text()).prop_map(|(column, op, value)| format!("{column} {op} {value}")),
        (numbers(), op(), number()).prop_map(|(column, op, value)| format!("{column} {op} {value}")),
        (texts(), not(), prop::collection::vec(text(), 1..4))
            .prop_map(|(column, not, values)| format!("{column} {not}in ({})", values.join(", "))),
        (numbers(), not(), prop::collection::vec(number(), 1..4))
            .prop_map(|(column, not, values)| format!("{column} {not}in ({})", values.join(", "))),
        (texts(), not(), "[ab]{0,2}").prop_map(|(column, not, prefix)| format!("{column} {not}like '{prefix}%'")),
        (numbers(), not(), -3..3_i32, 0..4_i32)
            .prop_map(|(column, not, low, more)| format!("{column} {not}between {low} and {}", low + more)),
        (texts(), not(), "[ab]", "[ab]?")
            .prop_map(|(column, not, low, more)| format!("{column} {not}between '{low}' and '{low}{more}'")),
        (texts(), not()).prop_map(|(column, not)| format!("{column} is {not}null")),
        (numbers(), not()).prop_map(|(column, not)| format!("{column} is {not}null")),
    ];
    leaf.prop_recursive(4, 16, 3, |inner| {
        let some = || prop::collection::vec(inner.clone(), 2..4);
        prop_oneof![
            some().prop_map(|of| of.join(" and ")),
            some().prop_map(|of| of.join(" or ")),
            some().prop_map(|of| format!("({})", of.join(" or "))),
            inner.clone().prop_map(|one| format!("not ({one})")),
            inner.clone().prop_map(|one| format!("not {one}")),
        ]
    })
}

proptest! {
    /// The same text, asked of the same row by SQLite. There, a setting makes `like` heed case.
    #[test]
    fn a_condition_means_what_it_means_in_sql(
        text in condition(),
        user in "[ab]{0,2}|it's",
        page in prop::option::of("[ab]{0,2}|it's"),
        events in 0u64..4,
        halves in prop::option::of(-3i32..6),
    ) {
        let row = session(&user, events, &[], halves.map(|halves| i128::from(halves) * 500_000), page.as_deref());
        let row = Collection::SESSIONS.decode(&row).unwrap();
        let filter = Filter::parse(&text, schemas().of(Collection::SESSIONS));
        let filter = filter.unwrap_or_else(|error| panic!("{text}: {error}"));
        let sql = rusqlite::Connection::open_in_memory().unwrap();
        sql.pragma_update(None, "case_sensitive_like", true).unwrap();
        let query = format!(
            "select {text} from (select ?1 as user, ?2 as entry_page, null as exit_page, ?3 as events, ?4 as amount)"
        );
        let amount = halves.map(|halves| f64::from(halves) / 2.0);
        let values = rusqlite::params![user, page, i64::try_from(events).unwrap(), amount];
        let expected: Option<bool> = sql.query_row(&query, values, |row| row.get(0)).unwrap();
        prop_assert_eq!(filter.matches(&row), expected == Some(true), "{}", text);
    }

    /// Against each literal by itself.
    #[test]
    fn lists_say_what_their_values_say_one_by_one(
        literals in prop::collection::vec(literal(), 1..12),
        user in "[ab]{0,2}",
        page in prop::option::of("[ab]{0,2}"),
        events in 0u64..4,
        amount in prop::option::of(-3i128..4),
    ) {
        let row = session(&user, events, &[("a", events)], amount.map(|amount| amount * 1_000_000), page.as_deref());
        let row = Collection::SESSIONS.decode(&row).unwrap();
        let all = schemas();
        let schema = all.of(Collection::SESSIONS);
        for (name, is_text) in [("user", true), ("entry_page", true), ("events", false), ("amount", false), ("classes.a", false)] {
            let shown: Vec<String> = literals.iter().filter_map(|literal| match literal {
                (None, None) => Some("null".to_owned()),
                (Some(text), None) if is_text => Some(format!("{text:?}")),
                (None, Some(number)) if !is_text => Some(number.to_string()),
                _ => None,
            }).collect();
            if shown.is_empty() {
                continue;
            }
            let matches = |text: &str| Filter::parse(text, schema).unwrap().matches(&row);
            let slow = shown.iter().any(|value| matches(&format!("{name} = {value}")));
            let joined = |op: &str, by: &str| {
                shown.iter().map(|value| format!("{name} {op} {value}")).collect::<Vec<_>>().join(by)
            };
            prop_assert_eq!(matches(&format!("{name} in ({})", shown.join(","))), slow);
            prop_assert_eq!(matches(&joined("=", " or ")), slow);
            let known = matches(&format!("{name} is not null")) || shown.iter().any(|value| value == "null");
            prop_assert_eq!(matches(&joined("!=", " and ")), known && !slow);
            prop_assert_eq!(matches(&format!("{name} not in ({})", shown.join(","))), known && !slow);
            let split = shown.len() / 2;
            let list = |values: &[String]| match values {
                [] => "user = null".to_owned(),
                values => format!("{name} in ({})", values.join(",")),
            };
            prop_assert_eq!(matches(&format!("{} or {}", list(&shown[..split]), list(&shown[split..]))), slow);
        }
    }

    #[test]
    fn whatever_is_written_is_a_filter_or_an_error(text in ".{0,40}|([a-z_]{1,8} ?(=|<|in|is|null|like|between|has|and|or|not|\\(|\\)|,|\"[^\"]*\"|[0-9.-]+) ?){0,12}") {
        let all = schemas();
        for collection in Collection::ALL {
            if let Err(error) = Filter::parse(&text, all.of(collection)) {
                prop_assert!(error.at <= text.chars().count() + 1);
            }
        }
    }
}
