#!/usr/bin/env python3
"""The same job on headwater and on DuckDB, in turn, whole processes: JSON Lines in, Parquet of sessions out.

    cargo build --release --locked
    python3 -m venv venv && venv/bin/pip install duckdb
    venv/bin/python benches/peers/compare.py EVENTS.jsonl [PAIRS]

EVENTS.jsonl: flat and nested events with `time_utc` (epoch seconds as text), `user_id`, `event_type`, and `button_type`
at the top or in `event_details`. Both split where more than 30 minutes pass, to the microsecond, and count the purchases.
Prints wall, CPU (user + system) and peak memory of each run, the medians, the ratio pair by pair, and whether the rows
are equal.
"""
import os, resource, statistics, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))


def run(command):
    """Seconds of wall and CPU, and megabytes of peak memory, of one process."""
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - started
    if status != 0:
        sys.exit(f"{command[0]} failed")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def differences(ours, theirs):
    import duckdb
    row = f"SELECT user, start_us, end_us, events, coalesce(classes['purchase'], 0) FROM '{ours}'"
    other = f"SELECT * FROM '{theirs}'"
    count = "SELECT count(*) FROM (({}) EXCEPT ALL ({}))"
    return [duckdb.sql(count.format(*pair)).fetchall()[0][0] for pair in ((row, other), (other, row))]


def main():
    events, pairs = os.path.abspath(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with tempfile.TemporaryDirectory() as out:
        theirs = os.path.join(out, "duckdb.parquet")
        commands = {
            "headwater": [os.path.join(TARGET, "release", "headwater"), "replay", os.path.join(HERE, "job.toml"), events,
                          "--out", out, "--workers", "2", "--no-progress"],
            "duckdb": [sys.executable, os.path.join(HERE, "duckdb_job.py"), events, theirs],
        }
        for command in commands.values():
            run(command)  # warm: the file is in the page cache for both
        figures = {name: [] for name in commands}
        for pair in range(pairs):
            for name, command in commands.items():
                figures[name].append(run(command))
                wall, cpu, memory = figures[name][-1]
                print(f"pair {pair + 1}  {name:<10} wall {wall:6.2f} s  cpu {cpu:6.2f} s  peak {memory:6.0f} MB", flush=True)
        for name, runs in figures.items():
            wall, cpu, memory = (statistics.median(column) for column in zip(*runs))
            print(f"median  {name:<10} wall {wall:6.2f} s  cpu {cpu:6.2f} s  peak {memory:6.0f} MB")
        for index, what in enumerate(("wall", "cpu", "peak")):
            ratios = [b[index] / a[index] for a, b in zip(figures["headwater"], figures["duckdb"])]
            print(f"duckdb / headwater  {what:<5} median {statistics.median(ratios):.2f}  ({min(ratios):.2f} to {max(ratios):.2f})")
        missing, extra = differences(os.path.join(out, "sessions.parquet"), theirs)
        print(f"rows only of headwater: {missing}, only of duckdb: {extra}")


main()
