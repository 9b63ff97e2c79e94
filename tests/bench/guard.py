#!/usr/bin/env python3
"""Instructions a request costs, against what is stored: `guard.py` fails on 3 % more or less, `guard.py --renew` stores anew.

What is compared is the difference between the server with the gate and the same server without it, counted in one run.
The last line is `N passed, N failed`.
"""
import argparse
import json
import statistics
import sys
from pathlib import Path

import callgrind
import rig

FIGURES = Path(__file__).with_name("instructions.json")
BOUND = 0.03
N = 1000
RENEWED = 3  # counts of which the median is stored, and decides where one alone would fail
# A visitor whose every request reads the store is left out: how many replies one read brings goes by time.
CASES = [case for case in callgrind.CASES if case[2] != "cold"]


def name_of(case):
    return " ".join(case)


def judged(name, counted, stored):
    """(good, sentence)."""
    if stored is None:
        return False, f"{name}: {counted:,.0f} instructions, and none are stored: make instructions-renew"
    off = counted / stored - 1
    said = f"{name}: {counted:,.0f} instructions added, {stored:,.0f} stored, {off:+.1%}"
    if abs(off) <= BOUND:
        return True, said
    if off > 0:
        return False, said + ": find out what costs more, or say why and make instructions-renew"
    return False, said + ": it became cheaper, make instructions-renew keeps it so"


def has_avx2():
    """The C library and OpenSSL take other ways on processors without it, and valgrind shows the program what there is."""
    return " avx2 " in Path("/proc/cpuinfo").read_text().replace("\n", " ")


def added(place, case, times):
    """The median of several counts, with the functions of the last: (instructions, gate, bare)."""
    counts = []
    for _ in range(times):
        gate, bare = callgrind.difference(place, case, N)
        counts.append(round(gate.total - bare.total))
    return round(statistics.median(counts)), gate, bare


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--renew", action="store_true")
    parser.add_argument("--top", type=int, default=25, help="functions that are shown for a case that fails")
    args = parser.parse_args()
    stored = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    if not has_avx2():
        print("0 passed, 0 failed, 1 skipped: the stored figures are those of processors with AVX2, which this one lacks")
        return 0
    fresh, failed = {}, 0
    place = rig.Place()
    try:
        for case in CASES:
            name = name_of(case)
            fresh[name], gate, bare = added(place, case, RENEWED if args.renew else 1)
            if args.renew:
                print(f"{name}: {fresh[name]:,}", flush=True)
                continue
            good, said = judged(name, fresh[name], stored.get(name))
            if not good and name in stored:
                fresh[name], gate, bare = added(place, case, RENEWED)
                good, said = judged(name, fresh[name], stored[name])
            print(("ok: " if good else "failed: ") + said, flush=True)
            if not good:
                failed += 1
                print(callgrind.table(gate, bare, args.top))
    finally:
        place.close()
    if args.renew:
        FIGURES.write_text(json.dumps(fresh, indent=2) + "\n")
        return 0
    print(f"{len(CASES) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
