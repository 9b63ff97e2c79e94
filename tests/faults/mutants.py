#!/usr/bin/env python3
"""The directed scenarios on one build: `mutants.py` on the shipped one, `mutants.py NAME` on a mutant (PRV_BUILD says where the
modules are; those of a mutant are built with MUTANTS=1). The last line is `N passed, N failed`."""
import sys

from scenarios import SCENARIOS, directed


def main():
    names = sys.argv[1:] or [None]
    unknown = [n for n in names if n is not None and n not in SCENARIOS]
    if unknown:
        sys.exit(f"no such mutant: {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    results = [good for name in names for _, good, _ in directed(name, lambda line: print(line, flush=True))]
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
