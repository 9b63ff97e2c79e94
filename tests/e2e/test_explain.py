"""privacyctl explain says what the live servers do: 10,000 random policies, headers and states a server, row numbers included."""
import json
import random
import re

from harness import policies
from harness.client import Visitor
from harness.ctl import explain, privacyctl, token
from harness.site import Loc, Site, Vhost

POLICIES = 10
CASES = 500  # a policy and store
VISITORS = 25
SHOWN = ("rows", "purposes", "signals", "region", "age", "id", "removed", "unknown", "variant")
BASES = ["contract", "legal_obligation", "vital_interests", "public_task", "legitimate_interests", "consent", "consent",
         "consent"]
NAMES = ["session", "_ga", "_ga_1", "_fbp", "lang", "device", "mystery", "SESSION", "x", "ad_1", "an_2"]


def random_policy(rng, number):
    purposes = {}
    for i in range(rng.randint(2, 8)):
        p = {"basis": rng.choice(BASES)}
        if p["basis"] == "consent" and rng.random() < 0.3:
            p["sale"] = True
        for signal in ("gpc", "dnt"):
            word = rng.choice(["ignore", "deny", "yield", None])
            if word and not (signal == "gpc" and word == "ignore" and p.get("sale")):
                p[signal] = word
        if p["basis"] in ("public_task", "legitimate_interests"):
            p["exempt"] = "a test"
            if rng.random() < 0.4:
                p["objection"] = False
        if rng.random() < 0.1:
            p["off"] = True
        if rng.random() < 0.1:
            p["subject"] = "required"
        if rng.random() < 0.2:
            p["since"] = rng.choice(["2023-01-01", "2024-03-15"])
        purposes[f"p{i}-{rng.choice('abc')}"] = p
    names = list(purposes)
    cookies = {}
    for cookie in ("session", "_ga*", "_fbp", "lang", "device", "ad_*", "an_*"):
        cookies.setdefault(rng.choice(names), []).append(cookie)
    return policies.policy(
        policy={"id": f"random{number}", "since": rng.choice(["2023-01-01", "2024-03-15"])}, cookies=cookies, vendors={
            "analytics": None, "adtech": None, "cards": None},
        unknown_cookies=rng.choice(["deny", "allow", "report"])) | {"purposes": purposes}


def random_fields(rng, names):
    """Fields of a token or record."""
    chosen = rng.sample(names, rng.randint(0, len(names)))
    cut = rng.randint(0, len(chosen))
    fields = {"granted": ",".join(chosen[:cut]), "refused": ",".join(chosen[cut:])}
    fields = {k: v for k, v in fields.items() if v}
    if rng.random() < 0.2:
        fields["policy"] = rng.choice(["2023-01-01", "2024-01-01", "2024-03-15"])
    if rng.random() < 0.15:
        fields |= {"at": "2021-01-01T00:00:00Z", "expires": "2021-07-01T00:00:00Z"}
    if rng.random() < 0.3:
        fields["signals"] = rng.choice(["gpc", "dnt", "gpc,dnt"])
    if rng.random() < 0.3:
        fields["age"] = rng.choice(["ok:13", "ok:16", "under:13", "under:16", "ok:13,under:16", "under:16,parental:16"])
    if rng.random() < 0.1:
        fields["restricted"] = "1"
    return fields


def random_id(rng):
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(25)) + rng.choice("aeimquy4")


def edited(rng, record):
    """The record as an operator, or an intruder, might have left it."""
    record = dict(record)
    for _ in range(rng.choice([0, 0, 1, 1, 2])):
        name, value = rng.choice([
            ("refused", rng.choice(["p0-a", "p1-b", "nobody", "p0-a,p1-a,p1-b,p1-c"])), ("age", "under:13"), ("age", "ok:99"),
            ("restricted", "1"), ("granted", "p0-a,p1-a,p2-b"), ("seq", "7"), ("seq", "x"), ("site", "another"),
            ("proof", None), ("granted", None), ("expires", "2021-01-01T00:00:00Z"), ("signals", "gpc"), ("v", "9"),
            ("policy", "2023-01-01"), ("id", None), ("at", None)])
        record.pop(name, None)
        if value is not None:
            record[name] = value
    return record


def random_case(rng, tokens):
    pairs = [f"{name}={rng.randint(0, 9)}" for name in rng.sample(NAMES, rng.randint(0, 6))]
    who = rng.choice(tokens) if rng.random() < 0.8 else None
    case = {"who": who, "gpc": rng.choice([[], [], ["1"], ["0"], ["x"]]), "dnt": rng.choice([[], [], ["1"], ["0"], ["1x"]]),
            "region": rng.choice(["", "", "FR", "US", "US-CA", "DE", "JP", "nowhere"])}
    if who:
        value = who["token"]
        if rng.random() < 0.1:
            value = value[:-1] + ("A" if value[-1] != "A" else "Q")
        pairs.insert(rng.randint(0, len(pairs)), f"__Host-privacy={value}")
    if pairs:
        case["cookies"] = ["; ".join(pairs)]
    return case


def header(server, name):
    if server == "nginx":
        return f"add_header X-{name} <$privacy_{name}> always;"
    return f'Header always set X-{name} "<%{{PRIVACY_{name.upper()}}}e>"'


def live(run, connection, number, case):
    lines = [f"Host: v{number}.example.test"]
    lines += [f"Cookie: {c}" for c in case.get("cookies", [])]
    lines += [f"Sec-GPC: {v}" for v in case["gpc"]] + [f"DNT: {v}" for v in case["dnt"]]
    if case["region"]:
        lines.append(f"X-Region: {case['region']}")
    answer = connection.request("GET", "/x.html", lines)
    assert answer.status == 200
    got = {name: (answer.get(f"X-{name}") or "<>").strip()[1:-1] for name in SHOWN}
    return {k: ("" if v == "(null)" else v) for k, v in got.items()}


def said(out):
    got = {k: out[k] for k in ("signals", "region", "age", "id", "removed", "unknown", "variant")}
    got["purposes"] = ",".join(p["name"] for p in out["purposes"] if p["allowed"])
    got["rows"] = [p["row"] for p in out["purposes"]]
    return got


def with_link(redis):
    redis.r.execute_command("ACL", "SETUSER", "privacy", "+client|tracking")
    redis.r.execute_command("ACL", "LOG", "RESET")


def test_explain_equals_the_live_server(serve, server, store, request):
    rng = random.Random(f"{server} and {store}, always the same")
    texts = [random_policy(rng, i) for i in range(POLICIES)]
    raw = "\n".join(header(server, name) for name in SHOWN)
    site = Site(vhosts=[Vhost(f"v{i}.example.test", Loc("/", **{server: raw}), Loc("/privacy/", endpoint=True), mode="on",
                              policy=f"@docroot@/p{i}.json") for i in range(POLICIES)],
                files={"x.html": "<p>x</p>", **{f"p{i}.json": json.dumps(t) for i, t in enumerate(texts)}})
    redis = serve.redis
    if redis:  # thousands of edits, each to hold at once: without the link every request reads
        redis.r.execute_command("ACL", "SETUSER", "privacy", "-client|tracking")
        request.addfinalizer(lambda: with_link(redis))
    run = serve(site, fresh=True)
    rows_seen, wrong, total = set(), [], 0
    for i, text in enumerate(texts):
        names = list(text["purposes"])
        path, keys = run.docroot / f"p{i}.json", run.dir / "keys"
        visitors = [make_visitor(rng, run, names, path, redis, i) for _ in range(VISITORS)]
        cases = [random_case(rng, visitors) for _ in range(CASES)]
        results = []
        with run.connect() as connection:
            for case in cases:
                who = case["who"]
                if redis:
                    case["record"] = None
                    if who:
                        key = f"privacy:consent:{{{who['id']}}}"
                        record = edited(rng, who["record"]) if who["record"] and rng.random() < 0.9 else None
                        case["record"] = record
                        pipe = redis.r.pipeline()
                        pipe.delete(key)
                        if record:
                            pipe.hset(key, mapping=record)
                        pipe.execute()
                results.append(live(run, connection, i, case))
        asked = [{k: v for k, v in case.items() if k != "who"} for case in cases]
        for case, result, out in zip(asked, results, explain(path, keys, asked)):
            expected = said(out)
            result["rows"] = [int(n) for n in re.findall(r"\d+", re.sub(r"[a-z][a-z0-9-]*[=:]", "", result["rows"]))]
            rows_seen.update(expected["rows"])
            total += 1
            for listed in ("removed", "unknown"):
                expected[listed], result[listed] = (set(x[listed].split(",")) for x in (expected, result))
            if expected != result:
                wrong.append((i, case, {k: (expected[k], result[k]) for k in expected if expected[k] != result[k]}))
    assert not wrong, f"{len(wrong)} of {total} differ; the first: policy {wrong[0][0]}, {wrong[0][1]}: {wrong[0][2]}"
    assert total == POLICIES * CASES and rows_seen >= {1, 2, 4, 5, 6, 7, 8, 9, 11, 13, 14, 15}


def make_visitor(rng, run, names, path, redis, number):
    """A token with an id of its own and, with a store, sometimes the record that the endpoint wrote."""
    fields = random_fields(rng, names) | {"id": random_id(rng), "seq": str(rng.choice([1, 2, 9]))}
    if redis and rng.random() < 0.7:
        fields = {}
        body = {"purposes": {n: rng.random() < 0.6 for n in rng.sample(names, rng.randint(1, len(names)))}}
        host = f"Host: v{number}.example.test"
        who = Visitor(run, [host])
        answer = who.post_json("/privacy/consent", body, ["Sec-GPC: 1"] if rng.random() < 0.3 else [])
        if answer.status == 200 and who.jar.get("__Host-privacy", "..").split(".")[2]:
            value = who.jar["__Host-privacy"]
            name = value.split(".")[2]
            return {"token": value, "id": name, "record": redis.record(name)}
        fields = random_fields(rng, names) | {"id": random_id(rng), "stored": "1"}
    elif redis and rng.random() < 0.5:
        fields["stored"] = "1"
    value = privacyctl("token", "--policy", path, "--keys", run.dir / "keys",
                       *(f"{k}={v}" for k, v in fields.items())).strip().split("=")[-1]
    return {"token": value, "id": fields["id"], "record": None}


def test_explain_equals_the_gates(serve):
    """The verdict on privacy_require, for each single purpose."""
    run = serve(Site(Loc("/"), *(Loc(f"/{p}/", require=p) for p in ("statistics", "marketing", "security")),
                     files={f"{p}/x.html": "<p>x</p>" for p in ("statistics", "marketing", "security")}))
    cookie = token(run, granted="statistics", refused="security")
    for lines, case in (([], {}), ([f"Cookie: __Host-privacy={cookie}"], {"cookies": [f"__Host-privacy={cookie}"]}),
                        (["X-Region: US"], {"region": "US"}), (["X-Region: US", "Sec-GPC: 1"], {"region": "US", "gpc": ["1"]})):
        for purpose in ("statistics", "marketing", "security"):
            verdict = explain(run.dir / "policy.json", run.dir / "keys", [{**case, "require": [purpose]}])[0]["verdict"]
            status = run.get(f"/{purpose}/x.html", *lines).status
            assert (verdict, status) in (("pass", 200), ("refuse", 403)), (lines, purpose)
