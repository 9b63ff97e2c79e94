"""`privacyctl explain` and the live servers decide alike on random policies, headers and states, row number included.

10,000 cases with store off, 10,000 with Redis, all of them on both servers.
"""
import json
import random
from datetime import datetime, timedelta, timezone

from harness.client import Connection, Visitor
from harness.ctl import explain, privacyctl
from harness.site import Loc, Site, Vhost

CASES = 10000  # each for store off and Redis
POLICIES = 20
SHOWN = ("rows", "purposes", "variant", "age", "region", "signals", "removed", "unknown")
REGIONS = ["FR", "DE", "US", "US-CA", "us", "JP", "", "FRA", "U", "GB", "US-", "F1"]
BASES = ["contract", "legal_obligation", "vital_interests", "public_task", "legitimate_interests", "consent", "consent"]
NAMES = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"]
VERSIONS = ["2024-03-15", "2024-03-15.2", "2025-01-01", "2023-06-30"]


def day(n):
    return (datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=n)).strftime("%Y-%m-%dT%H:%M:%SZ")


def make_purpose(rng):
    out = {"basis": rng.choice(BASES)}
    for signal in ("gpc", "dnt"):
        if rng.random() < 0.6:
            out[signal] = rng.choice(["ignore", "deny", "yield"])
    if out["basis"] in ("legitimate_interests", "public_task") and rng.random() < 0.4:
        out.update(objection=False, exempt="strictly necessary")
    elif rng.random() < 0.3:
        out["sale"] = True
        if out.get("gpc") == "ignore":
            del out["gpc"]
    if rng.random() < 0.1:
        out["off"] = True
    if rng.random() < 0.1:
        out["subject"] = "required"
    if rng.random() < 0.3:
        out["since"] = rng.choice(VERSIONS[:2] + VERSIONS[3:])
    return out


def make_policy(rng, i):
    names = rng.sample(NAMES, rng.randint(1, len(NAMES)))
    out = {"schema": 1, "policy": {"id": f"p{i}", "version": rng.choice(VERSIONS[1:3])},
           "purposes": {name: make_purpose(rng) for name in names},
           "cookies": {name: [f"c_{name}", f"w_{name}_*"] for name in names},
           "unknown_cookies": rng.choice(["allow", "report", "deny"]),
           "jurisdictions": {"opt-in": {"regions": ["FR", "DE"], "default": "deny", "notice": "opt-in"},
                             "opt-out": {"regions": ["US"], "default": "allow", "notice": "opt-out"},
                             "*": {"default": rng.choice(["deny", "allow"])}}}
    if rng.random() < 0.8:
        out["age"] = {"minimum": rng.choice([13, 16]), "unknown_region": 16, "sale_opt_in": 16,
                      "regions": {"FR": 15, "US": 13}}
    return out


def make_token(rng, policy, ids):
    names = list(policy["purposes"])
    granted = [n for n in names if rng.random() < 0.5]
    refused = [n for n in names if n not in granted and rng.random() < 0.4]
    at = rng.choice([-2, -2, -170, -190, -380])
    out = {"granted": ",".join(granted), "refused": ",".join(refused), "at": day(at), "seq": str(rng.randint(1, 4)),
           "policy": rng.choice(VERSIONS), "signals": rng.choice(["", "gpc", "dnt", "gpc,dnt"])}
    if rng.random() < 0.3:
        out["expires"] = day(rng.choice([-5, 5, 100]))
    if rng.random() < 0.3:
        out["age"] = rng.choice(["under:13", "ok:13", "ok:13,under:16", "ok:18", "under:16,parental:16", "under:18"])
        if rng.random() < 0.5:
            out["age_at"] = day(rng.choice([-3, -200]))
    if rng.random() < 0.1:
        out["restricted"] = "1"
    if rng.random() < 0.8:
        out["id"] = rng.choice(ids) if ids else new_id(rng)
        out["stored"] = rng.choice("01")
    return out


def new_id(rng):
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(25)) + rng.choice("aeimquy4")


def make_request(rng, policy, token):
    pairs = [f"{kind}_{n}{tail}=v" for n in policy["purposes"] for kind, tail in (("c", ""), ("w", "_x"))
             if rng.random() < 0.3]
    pairs += [n + "=1" for n in ("other", "c_nobody", "C_alpha") if rng.random() < 0.2]
    if token:
        pairs.append(mangled(rng, token))
    rng.shuffle(pairs)
    out = {"cookies": ["; ".join(pairs)] if pairs else []}
    for signal, values in (("gpc", ["1", "0", "true", "11", " 1"]), ("dnt", ["1", "0", "1xyz", "null"])):
        if rng.random() < 0.5:
            out[signal] = [rng.choice(values)]
    out["region"] = rng.choice(REGIONS)
    return out


def mangled(rng, token):
    kind = rng.random()
    if kind > 0.2:
        return token
    at = rng.randrange(token.index("=") + 1, len(token))
    if kind < 0.1:
        return token[:at]
    return token[:at] + rng.choice("abcXYZ019-_.") + token[at + 1:]


def lines(case, host):
    out = [f"Host: {host}", *(f"Cookie: {c}" for c in case["cookies"])]
    out += [f"Sec-GPC: {v}" for v in case.get("gpc", [])] + [f"DNT: {v}" for v in case.get("dnt", [])]
    if case["region"]:
        out.append(f"X-Region: {case['region']}")
    return out


def told(answer):
    field = answer.get("X-Told")
    assert field is not None, answer.headers
    return dict(zip(SHOWN, (v if v != "(null)" else "" for v in field.split("|"))))


def explained(result):
    out = {k: result[k] for k in ("variant", "age", "region", "signals", "removed", "unknown")}
    out["rows"] = ",".join(str(p["row"]) for p in result["purposes"])
    out["purposes"] = ",".join(p["name"] for p in result["purposes"] if p["allowed"])
    return out


def the_site(policies):
    nginx = 'add_header X-Told "' + "|".join(f"$privacy_{v}" for v in SHOWN) + '" always;'
    httpd = 'Header always set X-Told "' + "|".join("%%{PRIVACY_%s}e" % v.upper() for v in SHOWN) + '"'
    vhosts = [Vhost(f"p{i}.test", Loc("/", nginx=nginx, httpd=httpd), Loc("/privacy/", endpoint=True), mode="on",
                    policy=f"@docroot@/p{i}.json") for i in range(len(policies))]
    files = {f"p{i}.json": json.dumps(p) for i, p in enumerate(policies)}
    return Site(Loc("/", nginx=nginx, httpd=httpd), vhosts=vhosts, files=files, workers=1)


def edits(rng, record, policy):
    """A record as somebody may have left it: as written, edited by hand, of another type, gone."""
    names = list(policy["purposes"])
    kind = rng.random()
    if kind < 0.12:
        return None
    if kind < 0.17:
        return "unreadable"
    record = dict(record)
    if kind < 0.45:
        field, value = rng.choice([
            ("age", "under:13"), ("age", "ok:18"), ("age", "under:16,ok:13"), ("age", "nonsense"), ("age", "x,under:13"),
            ("refused", rng.choice(names)), ("granted", ",".join(names)), ("restricted", "1"), ("seq", "7"), ("seq", "x"),
            ("expires", day(300)), ("signals", "gpc,dnt"), ("policy", "2030-01-01"), ("proof", "a.b.c"), ("site", "p999"),
            ("id", new_id(rng)), ("v", "2"), ("at", "yesterday"), ("note", "mine")])
        record[field] = value
    elif kind < 0.55:
        record.pop(rng.choice(list(record)))
    return record or None


def put(pipe, key, record):
    pipe.delete(key)
    if record == "unreadable":
        pipe.set(key, "no hash")
    elif record:
        pipe.hset(key, mapping=record)
        pipe.expire(key, 3600)


def real_records(rng, run, redis, policies):
    """Records that a server wrote: per policy {id: fields}."""
    out = []
    for i, policy in enumerate(policies):
        mine = {}
        choosable = [n for n, p in policy["purposes"].items() if not p.get("off") and
                     (p["basis"] == "consent" or p["basis"] in ("public_task", "legitimate_interests") and
                      p.get("objection", True))]
        for _ in range(12 if choosable else 0):
            choice = {n: rng.random() < 0.6 for n in choosable if rng.random() < 0.8} or {choosable[0]: True}
            choice[rng.choice(list(choice))] = True
            signal = rng.choice([[], ["Sec-GPC: 1"], ["DNT: 1"]])
            body = json.dumps({"purposes": choice}).encode()
            with Connection(run.port) as c:
                answer = c.request("POST", "/privacy/consent", [f"Host: p{i}.test", "Content-Type: application/json",
                                                                *signal], body)
            assert answer.status == 200, answer.text
            mine[answer.json()["id"]] = None
        for visitor in mine:
            mine[visitor] = redis.r.hgetall("privacy:consent:{%s}" % visitor)
            assert mine[visitor]["proof"]
        out.append(mine)
    return out


def test_explain_equals_the_servers(serve, store, request):
    rng = random.Random(20240315)
    policies = [make_policy(rng, i) for i in range(POLICIES)]
    run = serve(the_site(policies), fresh=True)
    redis = request.getfixturevalue("redis") if store == "redis" else None
    records = real_records(rng, run, redis, policies) if redis else [{} for _ in policies]
    rows_seen, wrong = set(), []
    for i, policy in enumerate(policies):
        path = run.dir / f"p{i}.json"
        path.write_text(json.dumps(policy))
        each = CASES // POLICIES
        ids = list(records[i])
        tokens = [make_token(rng, policy, ids) for _ in range(each)]
        if redis and ids:  # one visitor after the other, so that a write queued for one never meets the next case's record
            for n, token in enumerate(tokens):
                if "id" in token:
                    token["id"] = ids[n % len(ids)]
        text = privacyctl("token", "--policy", path, "--keys", run.dir / "keys", "--cookie-name", run.cookie_name,
                          "--batch", stdin="".join(json.dumps(t) + "\n" for t in tokens))
        cases, answers = [], []
        with Connection(run.port) as c:
            for token, cookie in zip(tokens, text.split()):
                case = make_request(rng, policy, cookie if rng.random() < 0.9 else None)
                if redis:
                    record = None
                    if token.get("id") in records[i]:
                        record = edits(rng, records[i][token["id"]], policy)
                        pipe = redis.r.pipeline()
                        put(pipe, "privacy:consent:{%s}" % token["id"], record)
                        pipe.execute()
                    case["record"] = record
                answers.append(told(c.request("GET", "/", lines(case, f"p{i}.test"))))
                cases.append(case)
        for case, answer, result in zip(cases, answers, explain(path, run.dir / "keys", cases, "--cookie-name",
                                                                run.cookie_name)):
            rows_seen.update(p["row"] for p in result["purposes"])
            if explained(result) != answer:
                wrong.append((f"p{i}", case, explained(result), answer))
    assert not wrong, f"{len(wrong)} differ, the first: {json.dumps(wrong[0], indent=1)}"
    expected = {1, 2, 4, 5, 6, 7, 8, 9, 11, 13, 14, 15}
    assert rows_seen >= expected, f"the cases never reached rows {sorted(expected - rows_seen)}"
