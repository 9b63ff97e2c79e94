#!/usr/bin/env python3
"""What questions to the core cost, and how that grows: `micro.py` prints a table in Markdown."""
import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

BUILD = Path(os.environ.get("PRV_BUILD", Path(__file__).resolve().parents[3] / "build"))
ROUNDS = 5
# (question, what it is, the unit of its sizes, sizes, times)
QUESTIONS = (
    ("scan", "cookies of a field noted", "cookies", (1, 6, 32, 50, 200), 200_000),
    ("edit", "the field edited: ours goes, the others stay", "cookies", (1, 6, 32, 50, 200), 100_000),
    ("rule", "a cookie's name to its rule", "rules", (10, 100, 1000, 10_000), 1_000_000),
    ("decide", "the decision", "purposes", (1, 8, 16, 32), 1_000_000),
    ("first", "a token verified", "cookies", (6,), 200_000),
    ("repeat", "the whole begin of a request whose token repeats: field noted, token compared, cache asked", "cookies", (6,), 500_000),
    ("hit", "an entry of the cache, at random", "entries", (1000, 10_000, 100_000, 1_000_000, 10_000_000), 2_000_000),
    ("miss", "no entry of the cache", "entries", (1000, 100_000, 10_000_000), 2_000_000),
)
ENTRY = 160 + 64  # bytes that a size of the cache takes, with room for sets that are full


def run(question, size, times):
    done = subprocess.run([BUILD / "bench" / "micro", question, str(size), str(times)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"micro {question} {size}: {done.stderr}")
    return float(re.search(r"ns=([\d.]+)", done.stdout)[1])


def instructions(question, size, times=2000):
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={directory}/out", "--toggle-collect=measured",
                               str(BUILD / "bench" / "micro"), question, str(size), str(times)], capture_output=True, text=True)
        found = re.search(r"Collected : (\d+)", done.stderr)
        if done.returncode or not found:
            raise SystemExit(f"micro {question} {size} under callgrind: {done.stderr[-500:]}")
        return int(found[1]) / times


def available():
    return int(re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())[1]) * 1024


def sizes_of(question, sizes):
    """Without those that do not fit into memory."""
    return [s for s in sizes if question not in ("hit", "miss") or s * ENTRY < available() / 2]


def table(quick=False):
    """Markdown; sizes take turns, the median of the rounds counts."""
    rows = ["| | size | ns | instructions |", "| --- | --- | --: | --: |"]
    for question, what, unit, sizes, times in QUESTIONS:
        fitting = sizes_of(question, sizes)
        if quick:
            fitting = [s for s in fitting if s <= 100_000]
        took = {size: [] for size in fitting}
        for _ in range(1 if quick else ROUNDS):
            for size in fitting:
                took[size].append(run(question, size, times // (1 + size // 50) if unit == "cookies" else times))
        for size in fitting:
            # filling a large cache under valgrind takes minutes, and the instructions of a look do not grow
            counted = f"{instructions(question, size):,.0f}" if size <= 100_000 else ""
            rows.append(f"| {question}: {what} | {size:,} {unit} | {statistics.median(took[size]):,.0f} | {counted} |")
        for size in sorted(set(sizes) - set(fitting)):
            rows.append(f"| {question}: {what} | {size:,} {unit} | left out | {'quick' if quick else 'memory'} |")
    return "\n".join(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    print(table(parser.parse_args().quick))
    sys.exit(0)
