use super::*;
use crate::collections::sessions::{SessionRow, SessionSchema};
use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ::parquet::basic::{ConvertedType, LogicalType};
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use dataflows::users::UserTotals;
use dataflows::{DeadLetter, Position, Reason, UserKey};
use dataflows::{Decimal, EventTime, Measure, SessionId};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs::{self, File};

/// A session that owns its texts.
#[derive(Clone, Debug, PartialEq)]
struct Owned {
    user: String,
    start: EventTime,
    end: EventTime,
    events: u64,
    classes: BTreeMap<String, u64>,
    ends: (String, String),
    sums: Vec<Measure>,
    carried: Vec<(Option<String>, Option<String>)>,
}

impl Owned {
    fn id(&self) -> SessionId {
        SessionId::of(UserKey::of(&self.user), self.start)
    }

    fn write(&self, writer: &mut TableWriter) -> Result<(), Error> {
        let classes: Vec<_> = self.classes.iter().map(|(class, events)| (class.as_str(), *events)).collect();
        let carried: Vec<_> = self.carried.iter().map(|(entry, exit)| (entry.as_deref(), exit.as_deref())).collect();
        writer.write(session_values(&SessionRow {
            key: UserKey::of(&self.user),
            user: &self.user,
            start: self.start,
            end: self.end,
            events: self.events,
            classes: &classes,
            first_class: &self.ends.0,
            last_class: &self.ends.1,
            sums: &self.sums,
            carried: &carried,
            ended_by: None,
        }))
    }
}

fn time(micros: i64) -> EventTime {
    EventTime::from_micros(micros).unwrap()
}

fn schema() -> SessionSchema {
    SessionSchema { sums: vec!["revenue".into()], carried: vec!["button.kind".into()], ended_by: false }
}

fn session(user: &str, start: i64, millionths: i128, numbers: u64, button: Option<&str>) -> Owned {
    Owned {
        user: user.into(),
        start: time(start),
        end: time(start + 7),
        events: 3,
        classes: BTreeMap::from([("buy".into(), 1), ("look, \"twice\"".into(), 2)]),
        ends: ("look, \"twice\"".into(), "buy".into()),
        sums: vec![Measure { sum: Decimal::from_millionths(millionths), numbers, others: 1 }],
        carried: vec![(button.map(Into::into), None)],
    }
}

/// Writes `rows`, split evenly among `workers`, and gives the output folder.
fn write(rows: &[Owned], schema: &SessionSchema, format: OutputFormat, workers: usize) -> tempfile::TempDir {
    let out = tempfile::tempdir().unwrap();
    let staging = Staging::open(out.path()).unwrap();
    let table = session_table(schema);
    let mut parts = Vec::new();
    for (worker, rows) in (0..workers).map(|w| (w, &rows[rows.len() * w / workers..rows.len() * (w + 1) / workers])) {
        let mut writer = TableWriter::new(&table, format, staging.scratch(), worker).unwrap();
        rows.iter().for_each(|row| row.write(&mut writer).unwrap());
        parts.push(writer.finish().unwrap());
    }
    // Workers end in any order.
    parts.reverse();
    assemble(parts, format, &table, &staging).unwrap();
    assert_eq!(staging.commit().unwrap(), [out.path().join(format.file("sessions"))]);
    out
}

fn text(rows: &[Owned], format: OutputFormat, workers: usize) -> String {
    let out = write(rows, &schema(), format, workers);
    fs::read_to_string(out.path().join(format.file("sessions"))).unwrap()
}

/// Users have the same formats, and their file is another one.
#[test]
fn users_are_a_table_of_their_own() {
    let of_user = UserTotals { first_seen: time(-5), last_seen: time(7), sessions: 2, events: 3 };
    let times = ["1969-12-31T23:59:59.999995Z", "1970-01-01T00:00:00.000007Z"];
    let csv = format!(
        "user,first_seen,last_seen,first_seen_us,last_seen_us,sessions,events\n\
         \"a,b\",{0},{1},-5,7,2,3\nann,{0},{1},-5,7,2,3\n",
        times[0], times[1]
    );
    let object = |user| {
        format!(
            "{{\"user\":\"{user}\",\"first_seen\":\"{}\",\"last_seen\":\"{}\",\"first_seen_us\":-5,\
             \"last_seen_us\":7,\"sessions\":2,\"events\":3}}\n",
            times[0], times[1]
        )
    };
    let jsonl = object("a,b") + &object("ann");
    for (format, expected) in [(OutputFormat::Csv, csv), (OutputFormat::Jsonl, jsonl)] {
        let out = tempfile::tempdir().unwrap();
        let staging = Staging::open(out.path()).unwrap();
        let part = |(worker, user)| {
            let mut writer = TableWriter::new(&user_table(), format, staging.scratch(), worker).unwrap();
            writer.write(user_values(user, &of_user)).unwrap();
            writer.finish().unwrap()
        };
        let parts = [(1, "ann"), (0, "a,b")].map(part).into();
        assemble(parts, format, &user_table(), &staging).unwrap();
        let written = staging.commit().unwrap();
        assert_eq!(written, [out.path().join(format.file("users"))]);
        assert_eq!(fs::read_to_string(&written[0]).unwrap(), expected);
    }
}

#[test]
fn csv_quotes_what_it_must() {
    let rows = [session("ann", 0, 12_500_000, 1, Some("a,b\r\nc")), session("", -5, 0, 0, None)];
    let ids = rows.each_ref().map(Owned::id);
    let object = r#""{""buy"":1,""look, \""twice\"""":2}","look, ""twice""",buy"#;
    let expected = format!(
        "session_id,user,start,end,start_us,end_us,duration_us,events,classes,first_class,last_class,\
         revenue,revenue_not_numbers,entry_button.kind,exit_button.kind\n\
         {},ann,1970-01-01T00:00:00Z,1970-01-01T00:00:00.000007Z,0,7,7,3,{object},12.5,1,\"a,b\r\nc\",\n\
         {},,1969-12-31T23:59:59.999995Z,1970-01-01T00:00:00.000002Z,-5,2,7,3,{object},,1,,\n",
        ids[0], ids[1]
    );
    for workers in 1..=3 {
        assert_eq!(text(&rows, OutputFormat::Csv, workers), expected, "{workers} workers");
    }
}

#[test]
fn jsonl_is_exact() {
    let rows = [session("añn\n\u{1}", 0, i128::MIN, 1, Some("Ω")), session("bob", -5, 0, 0, None)];
    let ids = rows.each_ref().map(Owned::id);
    let middle =
        r#""events":3,"classes":{"buy":1,"look, \"twice\"":2},"first_class":"look, \"twice\"","last_class":"buy""#;
    let expected = format!(
        "{{\"session_id\":\"{}\",\"user\":\"añn\\n\\u0001\",\"start\":\"1970-01-01T00:00:00Z\",\"end\":\"1970-01-01T00:00:00.000007Z\",\"start_us\":0,\"end_us\":7,\"duration_us\":7,{middle},\
         \"revenue\":-170141183460469231731687303715884.105728,\"revenue_not_numbers\":1,\
         \"entry_button.kind\":\"Ω\",\"exit_button.kind\":null}}\n\
         {{\"session_id\":\"{}\",\"user\":\"bob\",\"start\":\"1969-12-31T23:59:59.999995Z\",\"end\":\"1970-01-01T00:00:00.000002Z\",\"start_us\":-5,\"end_us\":2,\"duration_us\":7,{middle},\
         \"revenue\":null,\"revenue_not_numbers\":1,\"entry_button.kind\":null,\"exit_button.kind\":null}}\n",
        ids[0], ids[1]
    );
    for workers in 1..=3 {
        assert_eq!(text(&rows, OutputFormat::Jsonl, workers), expected, "{workers} workers");
    }
}

#[test]
fn column_names_tell_of_clashes() {
    let schema = SessionSchema { sums: vec!["events".into()], carried: vec![], ended_by: false };
    let names: Vec<_> = session_table(&schema).columns.into_iter().map(|column| column.name).collect();
    assert_eq!(names.iter().filter(|name| *name == "events").count(), 2);
}

fn batches(out: &Path) -> Vec<RecordBatch> {
    let file = File::open(out.join("sessions.parquet")).unwrap();
    ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().map(Result::unwrap).collect()
}

/// Reads the Parquet file back, with the ids.
fn read_parquet(out: &Path) -> Vec<(String, Owned)> {
    let mut rows = Vec::new();
    for batch in batches(out) {
        let schema = batch.schema();
        let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let text = |column: usize, row: usize| {
            let array = batch.column(column).as_string::<i32>();
            array.is_valid(row).then(|| array.value(row).to_owned())
        };
        let integer = |column: usize, row: usize| batch.column(column).as_primitive::<Int64Type>().value(row);
        let sums = names.iter().filter(|name| name.ends_with("_not_numbers")).count();
        for row in 0..batch.num_rows() {
            let entries = batch.column(8).as_map().value(row);
            let (keys, values) = (entries.column(0).as_string::<i32>(), entries.column(1).as_primitive::<Int64Type>());
            let class = |i: usize| (keys.value(i).to_owned(), values.value(i) as u64);
            let instant = |column: usize| batch.column(column).as_primitive::<TimestampMicrosecondType>().value(row);
            assert_eq!([instant(2), instant(3)], [integer(4, row), integer(5, row)], "timestamps");
            assert_eq!(integer(6, row), integer(5, row) - integer(4, row), "duration");
            let measure = |sum: usize| {
                let array = batch.column(11 + 2 * sum).as_primitive::<Decimal128Type>();
                let numbers = u64::from(array.is_valid(row));
                let millionths = if numbers > 0 { array.value(row) } else { 0 };
                Measure {
                    sum: Decimal::from_millionths(millionths),
                    numbers,
                    others: integer(12 + 2 * sum, row) as u64,
                }
            };
            rows.push((
                text(0, row).unwrap(),
                Owned {
                    user: text(1, row).unwrap(),
                    start: time(integer(4, row)),
                    end: time(integer(5, row)),
                    events: integer(7, row) as u64,
                    classes: (0..entries.len()).map(class).collect(),
                    ends: (text(9, row).unwrap(), text(10, row).unwrap()),
                    sums: (0..sums).map(measure).collect(),
                    carried: (11 + 2 * sums..names.len())
                        .step_by(2)
                        .map(|c| (text(c, row), text(c + 1, row)))
                        .collect(),
                },
            ));
        }
    }
    rows
}

fn any_session(schema: &SessionSchema) -> impl Strategy<Value = Owned> + use<> {
    const LIMIT: i128 = 10_i128.pow(38) - 1;
    let millionths = prop_oneof![Just(LIMIT), Just(-LIMIT), -LIMIT..=LIMIT, -100..100_i128];
    let measure = (prop_oneof![Just(None), millionths.prop_map(Some)], 0..3_u64).prop_map(|(sum, others)| Measure {
        sum: Decimal::from_millionths(sum.unwrap_or_default()),
        numbers: u64::from(sum.is_some()),
        others,
    });
    let times = EventTime::MIN.micros()..=EventTime::MAX.micros();
    let carried = (proptest::option::of(".{1,9}"), proptest::option::of(".{1,9}"));
    (
        (".{0,40}", times.clone(), times, 1..=i64::MAX as u64),
        proptest::collection::btree_map(".{0,9}", 1..=i64::MAX as u64, 1..5),
        (".{0,9}", ".{0,9}"),
        proptest::collection::vec(measure, schema.sums.len()),
        proptest::collection::vec(carried, schema.carried.len()),
    )
        .prop_map(|((user, a, b, events), classes, ends, sums, carried)| Owned {
            user,
            start: time(a.min(b)),
            end: time(a.max(b)),
            events,
            classes,
            ends,
            sums,
            carried,
        })
}

fn any_table() -> impl Strategy<Value = (SessionSchema, Vec<Owned>)> {
    (0..3_usize, 0..3_usize).prop_flat_map(|(sums, carried)| {
        let schema = SessionSchema {
            sums: (0..sums).map(|i| format!("sum {i}")).collect(),
            carried: (0..carried).map(|i| format!("field.{i}")).collect(),
            ended_by: false,
        };
        let rows = proptest::collection::vec(any_session(&schema), 0..20);
        (Just(schema), rows)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn parquet_reads_back_as_written((schema, rows) in any_table(), workers in 1..4_usize) {
        let out = write(&rows, &schema, OutputFormat::Parquet, workers);
        let expected: Vec<_> = rows.into_iter().map(|row| (row.id().to_string(), row)).collect();
        prop_assert_eq!(read_parquet(out.path()), expected);
    }

    #[test]
    fn jsonl_reads_back_as_written((schema, rows) in any_table(), workers in 1..4_usize) {
        let out = write(&rows, &schema, OutputFormat::Jsonl, workers);
        let content = fs::read_to_string(out.path().join("sessions.jsonl")).unwrap();
        let lines: Vec<serde_json::Value> = content.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        prop_assert_eq!(lines.len(), rows.len());
        for (line, row) in lines.iter().zip(&rows) {
            prop_assert_eq!(line.as_object().unwrap().len(), session_table(&schema).columns.len());
            prop_assert_eq!(&line["user"], &row.user);
            prop_assert_eq!(&line["classes"], &serde_json::to_value(&row.classes).unwrap());
            for (field, (entry, exit)) in schema.carried.iter().zip(&row.carried) {
                prop_assert_eq!(&line[format!("entry_{field}")], &serde_json::to_value(entry).unwrap());
                prop_assert_eq!(&line[format!("exit_{field}")], &serde_json::to_value(exit).unwrap());
            }
        }
    }
}

/// Several row groups and batches for each worker, and the last ones not full.
#[test]
fn parquet_of_several_row_groups_keeps_the_order() {
    let schema = SessionSchema::default();
    let rows: Vec<_> = (0..300_000)
        .map(|i| Owned { sums: vec![], carried: vec![], ..session(&format!("u{}", i / 3), i, 0, 0, None) })
        .collect();
    for workers in [1, 2] {
        let out = write(&rows, &schema, OutputFormat::Parquet, workers);
        let file = SerializedFileReader::new(File::open(out.path().join("sessions.parquet")).unwrap()).unwrap();
        let sizes: Vec<_> = file.metadata().row_groups().iter().map(|group| group.num_rows()).collect();
        let expected: &[i64] =
            if workers == 1 { &[131_072, 131_072, 37_856] } else { &[131_072, 18_928, 131_072, 18_928] };
        assert_eq!(sizes, expected);
        let starts: Vec<_> = batches(out.path())
            .iter()
            .flat_map(|batch| batch.column(4).as_primitive::<Int64Type>().values().to_vec())
            .collect();
        assert!(starts.iter().copied().eq(0..300_000), "{workers} workers");
    }
}

#[test]
fn parquet_types_are_those_of_the_guide() {
    let out = write(&[session("ann", 0, 1, 1, None)], &schema(), OutputFormat::Parquet, 1);
    let file = File::open(out.path().join("sessions.parquet")).unwrap();
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let types: Vec<_> =
        builder.schema().fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
    let map = r#"Map("key_value": non-null Struct("key": non-null Utf8, "value": non-null Int64), unsorted)"#;
    assert_eq!(
        types,
        [
            "session_id Utf8",
            "user Utf8",
            r#"start Timestamp(µs, "UTC")"#,
            r#"end Timestamp(µs, "UTC")"#,
            "start_us Int64",
            "end_us Int64",
            "duration_us Int64",
            "events Int64",
            &format!("classes {map}"),
            "first_class Utf8",
            "last_class Utf8",
            "revenue Decimal128(38, 6)",
            "revenue_not_numbers Int64",
            "entry_button.kind Utf8",
            "exit_button.kind Utf8"
        ]
    );
    let schema = builder.parquet_schema();
    assert_eq!(schema.root_schema().get_fields()[8].get_basic_info().logical_type_ref(), Some(&LogicalType::Map));
    assert_eq!(schema.column(4).converted_type(), ConvertedType::NONE);
    let group = builder.metadata().row_group(0);
    assert!(group.column(1).bloom_filter_offset().is_some(), "a user can be looked up");
    assert!(group.column(4).statistics().is_some());
}

#[test]
fn parquet_refuses_what_no_decimal_holds() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = TableWriter::new(&session_table(&schema()), OutputFormat::Parquet, folder.path(), 0).unwrap();
    let error = session("ann", 0, 10_i128.pow(38), 1, None).write(&mut writer).unwrap_err();
    assert!(error.to_string().contains("sessions-0"), "{error}");
}

#[test]
#[should_panic(expected = "row and table differ")]
fn a_row_of_another_schema_is_a_defect() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer =
        TableWriter::new(&session_table(&SessionSchema::default()), OutputFormat::Csv, folder.path(), 0).unwrap();
    let _ = session("ann", 0, 0, 0, None).write(&mut writer);
}

#[test]
fn counts_are_sorted_and_merged() {
    let out = tempfile::tempdir().unwrap();
    let staging = Staging::open(out.path()).unwrap();
    let hour = Some(time(1_431_856_800_000_000));
    let rows = [
        ("view", hour, 2),
        ("a,\"b\"", Some(EventTime::MAX.hour()), 1),
        ("view", None, 5),
        ("view", Some(time(-3_600_000_000)), 1),
        ("a,\"b\"", Some(EventTime::MIN), 9),
        ("view", hour, 40),
    ];
    write_counts(rows, OutputFormat::Csv, &staging).unwrap();
    staging.commit().unwrap();
    assert_eq!(
        fs::read_to_string(out.path().join("counts.csv")).unwrap(),
        "class,hour,events\n\
         \"a,\"\"b\"\"\",-009999-01-01T00:00:00Z,9\n\
         \"a,\"\"b\"\"\",9999-12-31T23:00:00Z,1\n\
         view,,5\n\
         view,1969-12-31T23:00:00Z,1\n\
         view,2015-05-17T10:00:00Z,42\n"
    );
}

fn letter(source: u16, part: u32, offset: u64, payload: &[u8]) -> DeadLetter {
    let position = Position { source, part, offset };
    let message = "no \"value\"".to_owned();
    DeadLetter { position, reason: Reason::NoJson, message, payload: payload.to_vec(), length: 99 }
}

/// Spools `letters` among `workers` as `deal` says, and gives the lines of the merged file.
fn merged(letters: &[DeadLetter], workers: usize, deal: impl Fn(usize) -> usize) -> Vec<String> {
    let out = tempfile::tempdir().unwrap();
    let staging = Staging::open(out.path()).unwrap();
    let mut spools: Vec<_> = (0..workers).map(|w| DeadLetterSpool::new(staging.scratch(), w).unwrap()).collect();
    for (index, letter) in letters.iter().enumerate() {
        spools[deal(index)].push(letter).unwrap();
    }
    let counted: u64 = spools.iter().flat_map(|spool| spool.reasons().values()).sum();
    assert_eq!(counted, letters.len() as u64);
    let names = [("web", ["a.log", "b.log"]), ("app", ["c.log", "\"d\".log"])];
    merge(spools, &staging, |position| {
        let (source, paths) = names[usize::from(position.source)];
        (source, paths[position.part as usize])
    })
    .unwrap();
    staging.commit().unwrap();
    let content = fs::read_to_string(out.path().join(DEAD_LETTERS_FILE)).unwrap();
    content.lines().map(str::to_owned).collect()
}

#[test]
fn dead_letters_say_where_and_why() {
    let letters = [letter(1, 1, 7, b"\xff{"), letter(0, 0, u64::MAX, "line\nfeed \u{2028}".as_bytes())];
    let rest = r#""reason":"no_json","message":"no \"value\"","length":99"#;
    assert_eq!(
        merged(&letters, 1, |_| 0),
        [
            format!(
                "{{\"source\":\"web\",\"path\":\"a.log\",\"offset\":{},{rest},\"payload\":\"line\\nfeed \u{2028}\"}}",
                u64::MAX
            ),
            format!(r#"{{"source":"app","path":"\"d\".log","offset":7,{rest},"payload_base64":"/3s="}}"#),
        ]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Positions repeat here, and payloads are longer than the read buffer now and then.
    #[test]
    fn dead_letters_merge_in_the_order_of_the_log(
        letters in proptest::collection::vec((0..2_u16, 0..2_u32, 0..9_u64, 0..12_000_usize), 0..40),
        deal in proptest::collection::vec(0..3_usize, 40),
    ) {
        let letters: Vec<_> =
            letters.into_iter().map(|(source, part, offset, size)| letter(source, part, offset, &vec![b'x'; size])).collect();
        let lines = merged(&letters, 3, |index| deal[index]);
        prop_assert_eq!(&lines, &merged(&letters, 1, |_| 0));
        let read = lines.iter().map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let source = if line["source"] == "web" { 0 } else { 1 };
            let part = ["a.log", "b.log", "c.log", "\"d\".log"].iter().position(|path| line["path"] == *path).unwrap() % 2;
            (source, part as u32, line["offset"].as_u64().unwrap(), line["payload"].as_str().unwrap().len())
        });
        let read: Vec<_> = read.collect();
        prop_assert!(read.is_sorted_by_key(|(source, part, offset, _)| (*source, *part, *offset)));
        let expected = letters.iter().map(|l| (l.position.source, l.position.part, l.position.offset, l.payload.len()));
        let (mut read, mut expected) = (read, expected.collect::<Vec<_>>());
        read.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(read, expected);
    }
}
