#!/usr/bin/env python3
"""Nexmark q11 on headwater and on Flink, in turn, whole processes: JSON Lines in, sessions of bidders out.

    cargo build --release --locked
    cargo build --release --locked -p headwater-benches --bins
    target/release/generate-auctions 10000000 auctions
    python3 -m venv flink && flink/bin/pip install apache-flink     # and Java 17
    python3 benches/peers/nexmark.py auctions --flink flink/bin/python

By the benchmark's convention all generated events count. Wall time is that of the whole process, with the start of its
virtual machine if it has one. Prints a table, and exits with 1 if the sessions differ; needs duckdb to compare them.
"""
import argparse, glob, os, shutil, statistics, sys, tempfile

from compare import HEADWATER, HERE, differences, run

OURS = "SELECT user::BIGINT, events, start_us // 1000, end_us // 1000 FROM '{}'"
FLINK = "SELECT * FROM read_csv('{}', header = false, columns = {{bidder: 'BIGINT', bids: 'BIGINT', first_ms: 'BIGINT', last_ms: 'BIGINT'}})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("events", type=os.path.abspath, help="folder of generate-auctions")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--flink", metavar="PYTHON", help="an interpreter with apache-flink; without, headwater runs alone")
    options = parser.parse_args()
    count = 0
    for path in glob.glob(os.path.join(options.events, "*.json")):
        with open(path, "rb") as file:
            count += sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    with tempfile.TemporaryDirectory() as out:
        jobs = {}
        for workers in (2, 1):
            folder = os.path.join(out, f"headwater-{workers}")
            command = [HEADWATER, "replay", os.path.join(HERE, "nexmark.toml"), options.events, "--out", folder,
                       "--workers", str(workers), "--no-progress"]
            jobs[f"headwater, {workers} worker{'s' * (workers > 1)}"] = command, OURS.format(os.path.join(folder, "sessions.parquet"))
        flink = os.path.join(out, "flink")
        if options.flink:
            command = [options.flink, os.path.join(HERE, "nexmark_flink_job.py"), options.events, flink]
            jobs["Flink, parallelism 2"] = command, FLINK.format(os.path.join(flink, "**"))
        figures = {name: [] for name in jobs}
        for number in range(options.rounds + 1):
            for name, (command, _) in jobs.items():
                if number == 0 and name.startswith("Flink"):
                    continue  # the page cache is warm by then
                shutil.rmtree(flink, ignore_errors=True)
                wall, cpu, memory = run(command)
                if name.startswith("Flink"):
                    with open(f"{flink}.usage") as usage:
                        own_cpu, own_memory = map(float, usage.read().split())
                    cpu, memory = cpu + own_cpu, memory + own_memory
                print(f"round {number}  {name:<30} wall {wall:6.2f} s  cpu {cpu:6.2f} s  peak {memory:6.0f} MB", file=sys.stderr, flush=True)
                if number > 0:
                    figures[name].append((wall, cpu, memory))
        print(f"\n{count:,} events:\n\n| | M events/s | wall | CPU | peak memory |\n|---|--:|--:|--:|--:|")
        for name, runs in figures.items():
            wall, cpu, memory = (statistics.median(column) for column in zip(*runs))
            print(f"| {name} | {count / wall / 1e6:.3f} | {wall:.2f} s | {cpu:.2f} s | {memory:.0f} MB |")
        (_, ours), *others = jobs.values()
        different = [pair for _, other in others if (pair := differences(ours, other)) != [0, 0]]
        if different:
            sys.exit(f"the sessions differ: rows only of the one and only of the other: {different}")
        print(f"\nAll {len(jobs)} results have equal sessions.")


main()
