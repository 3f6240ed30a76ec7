#!/usr/bin/env python3
"""CPU per event of one run by threads, by processes and by hosts on loopback, in turn, with the same load.

    cargo build --release --locked && cargo build --release --locked -p headwater-benches --bins
    python3 benches/hosts.py --rounds 5

The load takes as long for each; the CPU is that of all processes of the run, from the first event to the last published
one. It needs no package.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
TICK = os.sysconf("SC_CLK_TCK")


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def processes_below(pid):
    found = [pid]
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            for child in children.read().split():
                found += processes_below(int(child))
    except OSError:
        pass
    return found


def cpu_seconds(commands):
    total = 0
    for command in commands:
        for pid in processes_below(command.pid):
            with open(f"/proc/{pid}/stat") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
    return total / TICK


def status(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/status", timeout=60) as answer:
        return json.load(answer)


def wait(what, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if what():
                return
        except OSError:
            pass
        time.sleep(0.01)
    sys.exit("the run is not ready, or does not keep up")


def measure(arguments, kind, folder):
    port, *hosts = free_ports(3)
    binary, config = os.path.join(arguments.target, "headwater"), os.path.join(HERE, "live.toml")
    run = [binary, "run", config, "--data-dir", os.path.join(folder, "data"), "--listen", f"127.0.0.1:{port}"]
    run += ["--no-restart", "--workers"]
    if kind == "threads":
        commands = [run + ["2"]]
    elif kind == "processes":
        commands = [run + ["1", "--processes", "2"]]
    else:
        with open(os.path.join(folder, "hosts.txt"), "w") as file:
            file.writelines(f"127.0.0.1:{host}\n" for host in hosts)
        with open(os.path.join(folder, "cluster.key"), "w") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write("0f" * 32)
        more = ["--hosts", os.path.join(folder, "hosts.txt"), "--key", os.path.join(folder, "cluster.key"), "--host"]
        commands = [run + ["1"] + more + [host] for host in ("1", "2")]
    with open(os.path.join(folder, "log"), "w") as log:
        started = [subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log) for command in commands]
    try:
        wait(lambda: status(port)["phase"] == "ready")
        before = cpu_seconds(started)
        load = [os.path.join(arguments.target, "load"), "--address", f"127.0.0.1:{port}"]
        load += ["--rate", str(arguments.rate), "--seconds", str(arguments.seconds), "--batch", str(arguments.batch)]
        report = subprocess.run(load, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
        wait(lambda: status(port)["backlog_bytes"] == 0 and status(port)["published"] == status(port)["bound"])
        events = status(port)["events"]
        took = cpu_seconds(started) - before
        return took * 1e6 / events, events, json.loads(report)
    finally:
        for one in started:
            one.send_signal(signal.SIGTERM)
        for one in started:
            one.wait(timeout=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rate", type=int, default=20_000)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--batch", type=int, default=200)
    parser.add_argument("--target", default=os.path.join(HERE, "..", "target", "release"))
    arguments = parser.parse_args()
    kinds = ["threads", "processes", "hosts"]
    rows = {kind: [] for kind in kinds}
    for number in range(arguments.rounds):
        for kind in kinds:
            with tempfile.TemporaryDirectory() as folder:
                microseconds, events, _ = measure(arguments, kind, folder)
            rows[kind].append(microseconds)
            print(f"round {number + 1}: {kind}: {microseconds:.2f} µs CPU/event, {events} events", file=sys.stderr)
    print("| 2 workers as | µs CPU/event | / threads |\n|---|--:|--:|")
    for kind in kinds:
        ratios = [own / threads for own, threads in zip(rows[kind], rows["threads"])]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {kind} | {statistics.median(rows[kind]):.1f} | {spread if kind != 'threads' else ''} |")


if __name__ == "__main__":
    main()
