#!/usr/bin/env python3
"""The same job on headwater and its peers, in turn, whole processes: JSON Lines in, Parquet of sessions out.

    cargo build --release --locked
    cargo build --release --locked -p headwater-benches --bins
    target/release/headwater generate --clean --events 5000000 --out log
    python3 -m venv venv && venv/bin/pip install duckdb polars chdb
    venv/bin/python benches/peers/compare.py log/events.jsonl --oracle log/sessions.csv

All split where more than 30 minutes pass, to the microsecond, and count the purchases. Prints wall, CPU (user + system)
and peak memory of each run on standard error, and on standard output a table of medians and of ratios to headwater with
2 workers, round by round. Exits with 1 if any two results differ.
"""
import argparse, os, statistics, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
HEADWATER = os.path.join(TARGET, "release", "headwater")
BASELINE = os.path.join(TARGET, "release", "baseline")
REFERENCE = "headwater"
# As headwater's table has it, and as the peers' tables are.
OURS = "SELECT user, start_us, end_us, events, coalesce(classes['purchase'], 0) FROM '{}'"
THEIRS = "SELECT user, start_us, end_us, events, purchases FROM '{}'"
MILLISECONDS = "SELECT user, start_us // 1000, end_us // 1000, events, coalesce(classes['purchase'], 0) FROM '{}'"
ORACLE = "SELECT * FROM read_csv('{}', header = {}, columns = {{user: 'VARCHAR', start: 'BIGINT', \"end\": 'BIGINT', events: 'BIGINT', purchases: 'BIGINT'}})"
# The first line of sessions.csv of `headwater generate`.
ORACLE_HEADER = "user,start_us,end_us,events,purchases"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("events", type=os.path.abspath)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--oracle", help="the sessions that have to come out: sessions.csv of `headwater generate`, or without a header, in milliseconds")
    parser.add_argument("--only", action="append", metavar="NAME", help="as the table has it, repeatedly; headwater always")
    parser.add_argument("--python", action="append", default=[], metavar="PEER=PATH", help="another interpreter for a peer")
    return parser.parse_args()


def commands(events, out, pythons):
    """By name: the command, and where its sessions will be."""
    def headwater(workers):
        folder = os.path.join(out, f"headwater-{workers}")
        command = [HEADWATER, "replay", os.path.join(HERE, "job.toml"), events, "--out", folder, "--workers", str(workers), "--no-progress"]
        return command, os.path.join(folder, "sessions.parquet")

    def table(name, *command):
        sessions = os.path.join(out, f"{name}.parquet")
        return [*command, events, sessions], sessions

    def python(peer):
        return table(peer, pythons.get(peer, sys.executable), os.path.join(HERE, f"{peer}_job.py"))

    return {
        REFERENCE: headwater(2),
        "headwater, 1 worker": headwater(1),
        "by hand, 1 thread": table("baseline", BASELINE),
        "by hand, 1 thread, whole file in memory": table("baseline-whole", BASELINE, "--whole"),
        "DuckDB": python("duckdb"),
        "Polars": python("polars"),
        "chDB": python("chdb"),
    }


def run(command):
    """Seconds of wall and CPU, and megabytes of peak memory, of one process."""
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - started
    if status != 0:
        sys.exit(f"{command[0]} failed")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def differences(one, other):
    """Rows only of the one, and only of the other."""
    # Not before the runs: a process inherits the peak of the one that starts it.
    import duckdb
    count = "SELECT count(*) FROM (({}) EXCEPT ALL ({}))"
    return [duckdb.sql(count.format(*pair)).fetchall()[0][0] for pair in ((one, other), (other, one))]


def verify(jobs, oracle):
    """Whether all have the same rows."""
    ours = jobs[REFERENCE][1]
    pairs = [(name, OURS.format(ours), (OURS if name.startswith(REFERENCE) else THEIRS).format(sessions))
             for name, (_, sessions) in jobs.items() if name != REFERENCE]
    if oracle:
        with open(oracle) as file:
            header = file.readline().strip() == ORACLE_HEADER
        pairs.append(("oracle", (OURS if header else MILLISECONDS).format(ours), ORACLE.format(oracle, header)))
    equal = True
    for name, one, other in pairs:
        missing, extra = differences(one, other)
        equal &= missing == extra == 0
        print(f"rows only of headwater: {missing}, only of {name}: {extra}", file=sys.stderr)
    return equal


def ratios(runs, reference, index):
    pairs = [other[index] / ours[index] for ours, other in zip(reference, runs)]
    return f"{statistics.median(pairs):.2f} ({min(pairs):.2f} to {max(pairs):.2f})"


def main():
    options = arguments()
    pythons = dict(pair.split("=", 1) for pair in options.python)
    with tempfile.TemporaryDirectory() as out:
        jobs = commands(options.events, out, pythons)
        jobs = {name: job for name, job in jobs.items() if not options.only or name == REFERENCE or name in options.only}
        figures = {name: [] for name in jobs}
        # Round 0 is not counted: it warms the page cache, for all.
        for number in range(options.rounds + 1):
            for name, (command, _) in jobs.items():
                wall, cpu, memory = run(command)
                print(f"round {number}  {name:<40} wall {wall:6.2f} s  cpu {cpu:6.2f} s  peak {memory:6.0f} MB", file=sys.stderr, flush=True)
                if number > 0:
                    figures[name].append((wall, cpu, memory))
        print("\n| | wall | CPU | peak memory | wall / headwater's | CPU / headwater's | memory / headwater's |")
        print("|---|--:|--:|--:|--:|--:|--:|")
        for name, runs in figures.items():
            wall, cpu, memory = (statistics.median(column) for column in zip(*runs))
            cells = ["", "", ""] if name == REFERENCE else [ratios(runs, figures[REFERENCE], index) for index in range(3)]
            print(f"| {name} | {wall:.2f} s | {cpu:.2f} s | {memory:.0f} MB | {' | '.join(cells)} |")
        if not verify(jobs, options.oracle):
            sys.exit("the results differ")
        print(f"\nAll {len(jobs)} results have equal rows" + (", which are those of the oracle." if options.oracle else "."))


if __name__ == "__main__":
    main()
