"""Sessions with Polars, streaming: EVENTS.jsonl -> SESSIONS.parquet (user, start_us, end_us, events, purchases)."""
import os
import sys

os.environ["POLARS_MAX_THREADS"] = "2"
import polars as pl

events, sessions = sys.argv[1:3]
# Exact: a float has no room for microseconds of today. Taking the text apart is faster than a decimal.
time = pl.col("time_utc").str.split_exact(".", 1)
button = pl.coalesce(pl.col("event_details").struct.field("button_type"), "button_type")
event = pl.scan_ndjson(events, schema={
    "time_utc": pl.String, "user_id": pl.String, "button_type": pl.String,
    "event_details": pl.Struct({"button_type": pl.String}),
}).select(
    user="user_id",
    us=time.struct.field("field_0").cast(pl.Int64) * 1_000_000
    + time.struct.field("field_1").str.slice(0, 6).cast(pl.Int64),
    purchase=(button == "one-click purchase").fill_null(False).cast(pl.Int64))
first = (pl.col("user") != pl.col("user").shift(1)) | (pl.col("us") - pl.col("us").shift(1) > 1_800_000_000)
session = event.sort("user", "us").with_columns(id=first.fill_null(True).cum_sum())
session.group_by("user", "id").agg(
    start_us=pl.col("us").min(), end_us=pl.col("us").max(), events=pl.len().cast(pl.Int64),
    purchases=pl.col("purchase").sum(),
).drop("id").sink_parquet(sessions, engine="streaming")
