#!/usr/bin/env python3
"""CPU per event of jobs that run: LOG of events, added to a folder file by file at a steady rate, to headwater and to each peer in turn.

Counted is the time of all processes of a job, from when it has warmed up on the beginning of the log, while --seconds of events
come and until 10 seconds later. All of them keep what they have taken: headwater syncs each tick, Flink takes a checkpoint every
second, Spark after each batch. Headwater publishes every change of a session and takes events however late; the peers give a
session when it has closed, and drop what comes more than 10 minutes late.
"""
import argparse
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
FILES_A_SECOND = 4


def cpu_seconds(session):
    """Of all processes that are alive in a session."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session:
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


class Feed:
    """Adds files of lines to a folder, each of them whole from when it has its name."""

    def __init__(self, log, folder, rate):
        self.lines, self.folder, self.rate, self.number = open(log), folder, rate, 0
        (folder / "in").mkdir()

    def add(self):
        draft = self.folder / "draft"
        draft.write_text("".join(itertools.islice(self.lines, self.rate // FILES_A_SECOND)))
        draft.rename(self.folder / "in" / f"{self.number:08}.json")
        self.number += 1

    def run(self, seconds):
        started = time.monotonic()
        for number in range(seconds * FILES_A_SECOND):
            time.sleep(max(0, started + number / FILES_A_SECOND - time.monotonic()))
            self.add()


def events_read(name, folder):
    """Events in what can be read: of headwater in its counts, of its peers in closed sessions."""
    if name == "headwater":
        answer = urllib.request.urlopen("http://127.0.0.1:7575/v1/collections/counts/rows").read()
        return sum(row["events"] for row in json.loads(answer)["rows"])
    # What is not committed has a name that begins with a dot.
    files = (folder / "out").rglob("part-*")
    return sum(int(line.split(",")[3]) for file in files for line in file.read_text().splitlines())


def measure(name, command, log, rate, seconds, warm):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        shutil.copy(HERE / "live.toml", folder)
        feed = Feed(log, folder, rate)
        feed.add()
        errors = open(folder / "errors", "w")
        arguments = [str(part).replace("FOLDER", str(folder)) for part in command]
        job = subprocess.Popen(arguments, cwd=folder, stdout=errors, stderr=errors, start_new_session=True)
        try:
            time.sleep(warm / 2)
            feed.run(warm // 2)
            if job.poll() is not None:
                sys.exit(f"{name} has ended:\n" + (folder / "errors").read_text()[-2000:])
            before = cpu_seconds(job.pid)
            feed.run(seconds)
            time.sleep(10)
            used = cpu_seconds(job.pid) - before
            return used / (rate * seconds) * 1e6, events_read(name, folder) / (feed.number * (rate // FILES_A_SECOND))
        finally:
            if job.poll() is None:
                os.killpg(job.pid, signal.SIGKILL)
                job.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", help="events.jsonl of `headwater generate --clean`")
    parser.add_argument("--rate", type=int, nargs="+", default=[1000, 10000], help="events per second")
    parser.add_argument("--seconds", type=int, default=40)
    parser.add_argument("--headwater", default=HERE.parents[1] / "target/release/headwater")
    parser.add_argument("--flink-python", help="a Python with apache-flink")
    parser.add_argument("--spark-python", help="a Python with pyspark")
    options = parser.parse_args()
    jobs = {"headwater": ([Path(options.headwater).resolve(), "run", "live.toml", "--data-dir", "data", "--no-restart"], 4)}
    for name in ["flink", "spark"]:
        if python := getattr(options, f"{name}_python"):
            jobs[name] = ([Path(python).absolute(), HERE / f"live_{name}_job.py", "FOLDER/in", "FOLDER/out"], 50)
    print("| events/s | | µs CPU/event | CPU / headwater's | events in what can be read |\n|--:|---|--:|--:|--:|")
    for rate in options.rate:
        ours = None
        for name, (command, warm) in jobs.items():
            used, seen = measure(name, command, options.log, rate, options.seconds, warm)
            ours = ours or used
            print(f"| {rate:,} | {name} | {used:.1f} | {used / ours:.1f} | {seen:.0%} |", flush=True)


if __name__ == "__main__":
    main()
