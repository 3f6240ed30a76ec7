#!/usr/bin/env python3
"""Headwater's whole job at growing sizes: wall, CPU and memory should grow no faster than the events.

    cargo build --release --locked
    python3 benches/peers/growth.py 5000000 50000000

Each log has a fiftieth as many users as events, over five days. Generates them one after the other into a temporary
folder (TMPDIR); 50,000,000 events take 16 GB there. Medians of RUNS runs, 3 if it is not set.
"""
import os, resource, statistics, subprocess, sys, tempfile

from compare import HEADWATER, HERE, run

RUNS = int(os.environ.get("RUNS", "3"))


def blocks():
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_inblock


def main():
    print("\n| events | wall | CPU | peak memory | µs CPU/event | bytes of memory/event | read from disk |")
    print("|--:|--:|--:|--:|--:|--:|--:|")
    for count in map(int, sys.argv[1:]):
        with tempfile.TemporaryDirectory() as folder:
            generate = [HEADWATER, "generate", "--clean", "--events", str(count), "--out", folder, "--no-progress"]
            subprocess.run(generate, check=True, stdout=subprocess.DEVNULL)
            command = [HEADWATER, "replay", os.path.join(HERE, "job.toml"), os.path.join(folder, "events.jsonl"), "--out", os.path.join(folder, "out"),
                       "--workers", "2", "--no-progress"]
            run(command)  # what was written just now is read from memory
            before = blocks()
            wall, cpu, memory = map(statistics.median, zip(*(run(command) for _ in range(RUNS))))
            # Where memory cannot hold the log, this is another experiment: reading takes CPU as well.
            disk = (blocks() - before) * 512 / RUNS / 1e6
            print(f"| {count:,} | {wall:.2f} s | {cpu:.2f} s | {memory:.0f} MB | {cpu * 1e6 / count:.3f} | {memory * 2**20 / count:.0f} | {disk:.0f} MB |", flush=True)


main()
