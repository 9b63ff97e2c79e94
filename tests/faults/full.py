#!/usr/bin/env python3
"""`make faults`: ten thousand faults, what replication loses, and what everything costs. Words go to run.py: `--seed 7`.

The last line is `N passed, N failed`."""
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPLICATED = ["--faults", "40", "--limit", "120", "--nodes", "1", "--visitors", "6"]
PROGRAMS = (("run.py", sys.argv[1:]), ("run.py", ["--store", "sentinel", *REPLICATED]), ("run.py", ["--store", "cluster", *REPLICATED]),
            ("replicas.py", []), ("measure.py", []))


def main():
    passed = failed = 0
    for name, words in PROGRAMS:
        print(f"== {name} {' '.join(words)}", flush=True)
        last = ""
        with subprocess.Popen([sys.executable, "-u", HERE / name, *words], stdout=subprocess.PIPE, text=True) as child:
            for line in child.stdout:
                print(line, end="", flush=True)
                last = line
        counts = re.fullmatch(r"(\d+) passed, (\d+) failed\n", last)
        passed += int(counts.group(1)) if counts else 0
        failed += int(counts.group(2)) if counts else 1
        failed += bool(counts and child.returncode and counts.group(2) == "0")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
