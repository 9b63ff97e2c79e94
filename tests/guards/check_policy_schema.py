#!/usr/bin/python3
"""The JSON Schema of the policy file agrees with the compiler, as far as a schema can.

Both sample policies and every good vector validate. Every bad vector that is JSON fails, unless its mistake is one
that a schema cannot see (BEYOND). The catalogue of cookies is well-formed and speaks of the sample's purposes.
"""
import json
import pathlib
import re
import sys

import jsonschema

ROOT = pathlib.Path(__file__).resolve().parents[2]
VECTORS = ROOT / "tests" / "vectors" / "policy"
SAMPLES = ["policy.json", "policy.self-managed.json"]
CATALOGUE_MIN = 120

# Mistakes that only the compiler sees: names that must exist elsewhere, the calendar, order, what may stand only once.
BEYOND = {
    "authority-twice", "age-region-twice", "strings-language-twice", "title-language-twice", "vendor-region-twice",
    "jurisdiction-region-twice", "cookie-two-lists", "cookie-two-prefixes",
    "cookie-vendor", "cookies-purpose", "vendor-purpose-far", "vendor-purpose-unknown",
    "effective-no-such-day", "purpose-since-date", "version-no-such-day",
    "since-later", "purpose-since-later", "vendor-since-later",
    "purpose-33", "purpose-hash-collision", "cookie-life-long", "lifetime-history", "lifetime-maximum",
    "too-deep",
}


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


def unique(pairs):
    names = [name for name, _ in pairs]
    if len(names) != len(set(names)):
        raise ValueError("duplicate member")
    return dict(pairs)


def load_bad(path):
    """The value, or None where the text itself is wrong: that is for the parser, not for a schema."""
    try:
        return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError):
        return None


def check_catalogue(problems):
    pattern = re.compile(r"[!#$%&'+.0-9A-Z^_`a-z|~-]{1,128}\*?")
    purposes = load(ROOT / "config" / "policy.json")["purposes"]
    catalogue = load(ROOT / "config" / "catalogue.json")
    cookies = catalogue["cookies"]
    if catalogue["schema"] != 1 or len(cookies) < CATALOGUE_MIN:
        problems.append(f"catalogue.json: schema {catalogue['schema']}, {len(cookies)} cookies")
    seen = set()
    for cookie in cookies:
        name = cookie.get("name", "")
        if set(cookie) != {"name", "purpose", "owner", "note"} or not all(cookie.values()):
            problems.append(f"catalogue.json: {cookie}: expected name, purpose, owner and note")
        elif not pattern.fullmatch(name) or name in seen:
            problems.append(f"catalogue.json: {name}: malformed, or stands twice")
        elif cookie["purpose"] not in purposes:
            problems.append(f"catalogue.json: {name}: no purpose {cookie['purpose']}")
        seen.add(name)


def main():
    problems = []
    schema = load(ROOT / "config" / "policy.schema.json")
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    good = [ROOT / "config" / name for name in SAMPLES] + sorted((VECTORS / "good").glob("*.json"))
    for path in good:
        for error in validator.iter_errors(load(path)):
            problems.append(f"{path.name}: {error.json_path}: {error.message[:200]}")
    bad = sorted((VECTORS / "bad").glob("*.json"))
    for path in bad:
        value = load_bad(path)
        if value is None:
            continue
        valid = validator.is_valid(value)
        if valid and path.stem not in BEYOND:
            problems.append(f"{path.name}: the schema takes what the compiler refuses")
        if not valid and path.stem in BEYOND:
            problems.append(f"{path.name}: the schema refuses it; take it off BEYOND")
    if len(good) < 7 or len(bad) < 150:
        problems.append(f"only {len(good)} good and {len(bad)} bad policies were found")
    stale = BEYOND - {path.stem for path in bad}
    problems += [f"BEYOND names {name}, which is no vector" for name in sorted(stale)]
    check_catalogue(problems)
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"policy schema: {len(good)} good, {len(bad)} bad, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
