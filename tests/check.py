#!/usr/bin/env python3
"""`make check`: builds, runs every part, and sums up what passed.

The last line is `N passed, N failed` (with `, N skipped` if any were); the exit status is 0 only if nothing failed.
With --asan: both servers built with the address and undefined-behaviour sanitizers, the marked end-to-end subset.
With --store: unit tests, and the end-to-end tests that are about the store, against Redis and again against Valkey.
"""
import argparse
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
BUILD = Path(os.environ.get("PRV_BUILD", ROOT / "build"))
MAKE = os.environ.get("MAKE", "make").split()
SANITIZE = os.environ.get("PRV_SANITIZE", "")
FUZZ_SECONDS = int(os.environ.get("PRV_FUZZ_SECONDS", "3"))


class Tally:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.failures = []

    def add(self, part, ok, what):
        if ok:
            self.passed += 1
        else:
            self.failed += 1
            self.failures.append(f"{part}: {what}")


def run(argv, **more):
    return subprocess.run([str(a) for a in argv], cwd=ROOT, **more)


def make(tally, target, jobs, *words):
    words = [f"BUILD={BUILD}", *words]
    done = run([*MAKE, "--no-print-directory", f"-j{jobs}", target, *words])
    if done.returncode:
        tally.add("build", False, f"make {target} {' '.join(words)}")
    return done.returncode == 0


def build(tally, args):
    """The product, the unit tests and the fuzz targets; a part that does not build is one failure."""
    words = [f"SANITIZE={SANITIZE}"] if SANITIZE else []
    targets = ["all"] if args.asan else ["all", "unit-build"] if args.store else ["all", "unit-build", "fuzz-build", "mutants"]
    return all([make(tally, target, args.jobs, *words) for target in targets])


def unit(tally, _):
    """cmocka programs; each says how many of its tests passed and failed."""
    for program in sorted((BUILD / "tests").glob("test_*")):
        if program.suffix:
            continue
        done = run([program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        passed = sum(map(int, re.findall(r"\[  PASSED  \] (\d+) test", done.stdout)))
        failed = sorted(set(re.findall(r"\[  FAILED  \] ([A-Za-z_]\w*)", done.stdout)))
        tally.passed += passed
        for name in failed:
            tally.add("unit", False, f"{program.name}: {name}")
        if failed or done.returncode:
            print(done.stdout)
        if done.returncode and not failed:
            tally.add("unit", False, f"{program.name} ended with {done.returncode}")
        print(f"unit  {program.name}: {passed} passed, {len(failed)} failed")


def fuzz(tally, _):
    """Every target over its seeds, then a short run of its own from them."""
    for target in sorted(BUILD.glob("fuzz/fuzz_*")):
        if target.suffix:
            continue
        area = target.name[len("fuzz_"):]
        seeds = TESTS / "fuzz" / "seeds" / area
        corpus = BUILD / "fuzz" / "corpus" / area
        corpus.mkdir(parents=True, exist_ok=True)
        have = [seeds] if seeds.is_dir() else []
        for name, argv in (("seeds", ["-runs=0", *have]),
                           (f"{FUZZ_SECONDS} s", [f"-max_total_time={FUZZ_SECONDS}", "-timeout=10", corpus, *have])):
            done = run([target, f"-artifact_prefix={BUILD}/fuzz/", *argv], stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, errors="replace")
            tally.add("fuzz", done.returncode == 0, f"{area} ({name})")
            print(f"fuzz  {area} ({name}): {'passed' if done.returncode == 0 else 'FAILED'}")
            if done.returncode:
                print(done.stdout[-4000:])


def guards(tally, _):
    """Each check_*.py is one test; it prints what is wrong and ends with 1."""
    for script in sorted((TESTS / "guards").glob("check_*.py")):
        if script.name == "check_counts.py":
            continue  # reads the report of the end-to-end run: comes after it
        guard(tally, script)


def guard(tally, script, *args):
    done = run([sys.executable, script, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    tally.add("guard", done.returncode == 0, script.stem)
    print(f"guard {script.stem}: {'passed' if done.returncode == 0 else 'FAILED'}")
    if done.returncode:
        print(done.stdout)


def end_to_end(tally, args, what="e2e", where=(TESTS / "e2e",), env=None):
    report = BUILD / f"{what}.xml"
    report.unlink(missing_ok=True)
    subset = ["-m", "asan"] if args.asan else []
    done = run([sys.executable, "-m", "pytest", "-q", "-c", TESTS / "e2e" / "pytest.ini", *where,
                f"--junitxml={report}", "-o", "junit_family=xunit1", *subset], env={**os.environ, **(env or {})})
    if not report.exists():
        tally.add(what, False, "pytest wrote no report")
        return
    before = tally.failed
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        if case.find("skipped") is not None:
            tally.skipped += 1
        elif case.find("failure") is not None or case.find("error") is not None:
            tally.add(what, False, name)
        else:
            tally.passed += 1
    if done.returncode and tally.failed == before:
        tally.add(what, False, f"pytest ended with {done.returncode}")
    if not args.asan:
        guard(tally, TESTS / "guards" / "check_counts.py", report)


def counting(tally, part, script):
    """A script that counts its own tests, names those that failed, and ends with how many."""
    done = run([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout)
    counts = re.search(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped.*)?\s*\Z", done.stdout, re.M)
    if not counts:
        tally.add(part, False, f"{script.name} ended with {done.returncode} and no counts")
        return
    tally.passed += int(counts.group(1))
    tally.skipped += int(counts.group(3) or 0)
    named = re.findall(r"^failed: (.*)", done.stdout, re.M)
    for line in named:
        tally.add(part, False, line)
    if (done.returncode or int(counts.group(2))) and not named:
        tally.add(part, False, f"{script.name} ended with {done.returncode}")


def faults(tally, _):
    """The short form of tests/faults."""
    counting(tally, "faults", TESTS / "faults" / "short.py")


def instructions(tally, _):
    """What a request costs, against what it cost."""
    counting(tally, "instructions", TESTS / "bench" / "guard.py")


# What is about the store, and the servers that it is tried with.
STORE = ("test_store*.py", "test_faults*.py", "test_tls.py", "test_acl.py", "test_recipes.py", "test_directives.py")
SERVERS = ("redis-server", "valkey-server")


def stores(tally, args):
    for pattern in STORE:
        tally.add("store", any((TESTS / "e2e").glob(pattern)), f"there is no {pattern}")
    files = sorted({path for pattern in STORE for path in (TESTS / "e2e").glob(pattern)})
    for server in SERVERS:
        print(f"== {server}", flush=True)
        end_to_end(tally, args, f"e2e-{server}", files, {"PRV_REDIS_SERVER": server})


PARTS = {"build": build, "guards": guards, "unit": unit, "fuzz": fuzz, "faults": faults, "e2e": end_to_end,
         "instructions": instructions, "store": stores}
PARTS_OF = {"asan": ("build", "e2e"), "store": ("build", "unit", "store"),
            "check": ("build", "guards", "unit", "fuzz", "instructions", "faults", "e2e")}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", default="2")
    parser.add_argument("--asan", action="store_true")
    parser.add_argument("--store", action="store_true")
    parser.add_argument("--only", choices=PARTS, help="one part, on what is built")
    args = parser.parse_args()
    os.environ["PRV_BUILD"] = str(BUILD)
    BUILD.mkdir(parents=True, exist_ok=True)
    names = [args.only] if args.only else PARTS_OF["asan" if args.asan else "store" if args.store else "check"]
    tally = Tally()
    for name in names:
        start = time.monotonic()
        print(f"== {name}", flush=True)
        PARTS[name](tally, args)
        print(f"== {name}: {time.monotonic() - start:.0f} s", flush=True)
    for line in tally.failures:
        print(f"failed: {line}")
    more = f", {tally.skipped} skipped" if tally.skipped else ""
    print(f"{tally.passed} passed, {tally.failed} failed{more}")
    return 1 if tally.failed or not tally.passed else 0


if __name__ == "__main__":
    sys.exit(main())
