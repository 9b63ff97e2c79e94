#!/usr/bin/env python3
"""What `make check` runs of this folder: the checker against histories made by hand, the directed scenarios on the build that is
shipped and on each mutant, what a withdrawal and a stopped Redis cost, and a short run of random faults. The last line is `N passed, N failed`."""
import argparse
import os
import random
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def say(line):
    print(line, flush=True)


def program(name, words, least, build):
    """A process of its own: which modules servers load is decided once, by PRV_BUILD. It says at least so many `ok`."""
    done = subprocess.run([sys.executable, HERE / name, *words], env={**os.environ, "PRV_BUILD": str(build)},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout, end="", flush=True)
    lines = [l for l in done.stdout.splitlines() if l.startswith(("ok  ", "FAIL"))]
    if len(lines) < least:
        yield name, False, f"said {len(lines)} times ok or not, {least} were to come; it ended with {done.returncode}"
    for line in lines:
        yield line[5:], line.startswith("ok"), ""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=120)
    parser.add_argument("--limit", type=float, default=40)
    parser.add_argument("--seed", type=int, default=None)
    args = parser.parse_args()
    os.environ.setdefault("PRV_BUILD", str(HERE.parents[1] / "build"))
    mutant_build = Path(os.environ.get("PRV_MUTANT_BUILD", Path(os.environ["PRV_BUILD"]) / "mutants"))
    from run import arguments, standalone
    from scenarios import SCENARIOS, directed
    from selftest import selftest

    results = []
    quick = ["--nodes", "1", "--count", "20", "--stops", "1", "--seconds", "0.7"]
    for source in (selftest(), directed(tell=say), program("mutants.py", list(SCENARIOS), 2 * len(SCENARIOS), mutant_build),
                   program("measure.py", quick, 16, os.environ["PRV_BUILD"])):
        for what, good, found in source:
            results.append(good)
            if not good:
                say(f"failed: {what}: {found}")
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(1 << 30)
    say(f"seed {seed}")
    problems = standalone(arguments(["--faults", str(args.faults), "--limit", str(args.limit), "--seed", str(seed)]))
    results.append(not problems)
    for _ in problems:
        say(f"failed: random faults, seed {seed}")
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
