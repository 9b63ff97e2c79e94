"""The promises of the source policy that this version keeps, by row, with the project's own policy.json."""
import datetime
import json

import pytest

from harness import policies
from harness.client import NAVIGATION, Visitor
from harness.ctl import token
from harness.policies import policy, shipped
from harness.redisd import Monitor
from harness.site import Loc, Site

PAGES = ("/", "/news", "/insights/x", "/ingest/v1/web/start", "/account/x", "/collect/x")


def site(more=(), **options):
    locs = [Loc("/", proxy=True), Loc("/insights/", proxy=True, require="statistics"),
            Loc("/ingest/", proxy=True, require="session-replay"), Loc("/account/", proxy=True, min_age="policy"),
            Loc("/collect/", proxy=True, vendor="google-analytics"), Loc("/b2b/", proxy=True, vendor="rb2b")]
    options.setdefault("policy", shipped())
    return Site(*locs, *more, **options)


def granted(run, *headers, **purposes):
    who = Visitor(run, headers)
    who.choose(**(purposes or {"statistics": True}))
    return who


@pytest.mark.asan
def test_commitment_03_analytics_only_when_granted(serve, upstream):
    """`_ga` is neither set nor forwarded until granted."""
    upstream.cookies = ["_ga=1; Path=/", "_ga_ABC=2", "_gid=3"]
    run = serve(site())
    answer = run.get("/", "Cookie: _ga=1; _ga_ABC=2; _gid=3; __utma=4")
    assert answer.set_cookies() == {} and upstream.last.cookies() == []
    who = granted(run)
    assert set(who.get("/", ["Cookie: _ga=1"]).set_cookies()) == {"_ga", "_ga_ABC", "_gid"}
    assert "_ga" in upstream.last.cookies()
    who.choose(statistics=False)
    assert who.get("/", ["Cookie: _ga=1"]).set_cookies() == {}


def test_commitment_03_the_servers_own_visitor_cookies_too(serve):
    run = serve(site(nginx="userid on;\nuserid_name uid;", httpd="CookieTracking On\nCookieName uid"))
    assert run.get("/").set_cookies() == {}
    who = granted(run)
    who.jar.pop("uid", None)
    assert "uid" in who.get("/").set_cookies()


@pytest.mark.parametrize("region", ["FR", "US", "US-CA", None])
@pytest.mark.parametrize("gpc", [False, True])
@pytest.mark.parametrize("choice", [None, True, False])
def test_commitment_05_rb2b_for_us_visitors_only(serve, upstream, region, gpc, choice):
    run = serve(site())
    who = Visitor(run, [f"X-Region: {region}"] if region else [])
    if choice is not None:
        who.choose(marketing=choice)
    answer = who.get("/b2b/x", ["Sec-GPC: 1"] if gpc else [])
    passes = (region or "").startswith("US") and not gpc and choice is not False
    assert answer.status == (200 if passes else 204) and len(upstream.seen("/b2b/x")) == passes


@pytest.mark.asan
@pytest.mark.parametrize("known", ["by password", "by the application"])
def test_commitment_06_session_replay_for_logged_in_users(serve, server, store, upstream, known):
    """The ingest path takes recordings of who is logged in and consents; of nobody else, and not on any other's consent."""
    from test_accounts import ALICE, AUTH, BOB, FILES
    run = serve(site([Loc("/in/", proxy=True, subject=True, require="session-replay", **AUTH),
                      Loc("/me/", endpoint=True, subject=True, **AUTH)], files=FILES))
    start, choose = ("/in/v1/web/start", "/me/consent") if known == "by password" else ("/ingest/v1/web/start", "/privacy/consent")

    def as_(who, name):
        if known == "by password":
            return {"alice": [ALICE], "bob": [BOB], "-": []}[name]
        upstream.headers = [("Privacy-Subject", name)]
        who.get("/login")
        upstream.headers = []
        return []

    who = Visitor(run)
    who.choose(**{"session-replay": True})
    who.request("POST", start, as_(who, "-"))
    lines = as_(who, "alice")
    who.request("POST", start, lines)
    assert upstream.seen(start) == []
    assert who.post_json(choose, {"purposes": {"session-replay": True}}, lines).status == 200
    assert who.request("POST", start, lines).status == 200 and len(upstream.seen(start)) == 1
    who.request("POST", start, [*lines, "Sec-GPC: 1"])
    who.request("POST", start, as_(who, "bob"))
    who.request("POST", start, as_(who, "-"))
    assert len(upstream.seen(start)) == 1


def test_commitment_08_self_managed_installs_never_track(serve, upstream):
    """Whatever the cookie says: every tracking purpose and vendor is off."""
    own = shipped("policy.self-managed.json")
    tracking = [name for name, p in own["purposes"].items() if p.get("off")]
    assert {"statistics", "session-replay", "marketing"} <= set(tracking)
    run = serve(Site(Loc("/", proxy=True), *(Loc(f"/v-{v}/", proxy=True, vendor=v) for v in own["vendors"]), policy=own))
    who = Visitor(run, ["X-Region: US"])
    who.post_json("/privacy/consent", {"purposes": {p: True for p in tracking}})
    who.token = token(run, granted=",".join(tracking))
    assert not set(tracking) & who.allowed()
    upstream.cookies = ["_ga=1", "_fbp=2", "ko_id=3", "session=4"]
    assert set(who.get("/", ["Cookie: _ga=1; _fbp=2; ko_id=3"]).set_cookies()) == {"session"}
    assert upstream.last.cookies() == []
    for name, vendor in own["vendors"].items():
        if vendor.get("off") or own["purposes"][vendor["purpose"]].get("off"):
            assert who.get(f"/v-{name}/x").status == 204


@pytest.mark.asan
def test_commitment_09_refusing_blocks_only_what_needs_it(serve):
    run = serve(site())
    who = Visitor(run)
    assert who.post_form("/privacy/consent", {"choice": "refuse"}).status == 303
    statuses = {path: who.navigate(path).status for path in ("/", "/news", "/any/page", "/privacy/", "/privacy/consent")}
    assert set(statuses.values()) == {200}, statuses
    assert who.get("/insights/x").status == 403 and who.get("/collect/x").status == 204


def date(years, days=0):
    today = datetime.datetime.now(datetime.timezone.utc).date() + datetime.timedelta(days=days)
    return (today.replace(year=today.year - years) if (today.month, today.day) != (2, 29)
            else today.replace(year=today.year - years, day=28)).isoformat()


@pytest.mark.asan
@pytest.mark.parametrize("region,years", [("US", 13), ("DK", 15), ("FR", 15), ("DE", 16), ("GB", 13), (None, 16)])
def test_commitment_12_age_of_the_region(serve, region, years):
    run = serve(site())
    lines = [f"X-Region: {region}"] if region else []
    for birth, status in ((date(years), 200), (date(years, 1), 403)):
        who = Visitor(run, lines)
        assert who.get("/account/x").status == 403, "unknown is no pass"
        assert who.post_json("/privacy/age", {"birth_date": birth}).status == 200
        assert who.get("/account/x").status == status


def test_commitment_12_a_birthday_on_29_february(serve):
    who = Visitor(serve(site()), ["X-Region: DE"])
    assert who.post_json("/privacy/age", {"birth_date": "2008-02-29"}).status == 200
    assert who.get("/account/x").status == 200


@pytest.mark.asan
@pytest.mark.parametrize("teller", ["application", "operator", "privacyctl"])
def test_commitment_13_learning_of_a_child_closes_the_account(serve, server, store, upstream, request, teller):
    run = serve(site())
    who = granted(run)
    who.post_json("/privacy/age", {"birth_date": "1990-01-01"})
    assert who.get("/account/x").status == 200
    if teller == "application" or store == "off":
        upstream.headers = [("Privacy-Subject-Age", "under:13")]
        who.get("/news")
        upstream.headers = []
    else:
        redis = request.getfixturevalue("redis")
        who_id = who.consent()["id"]
        if teller == "operator":
            redis.cli("HSET", f"privacy:consent:{{{who_id}}}", "age", "under:13")
        else:
            from harness.ctl import privacyctl
            (run.dir / "ops").write_text("change-me-ops\n")
            (run.dir / "ops").chmod(0o600)
            privacyctl("age", who_id, "under:13", "--policy", run.dir / "policy.json", "--keys", run.dir / "keys",
                       "--store", f"redis://privacy-ops@127.0.0.1:{redis.port}", "--password-file", run.dir / "ops")
    assert who.get("/account/x").status == 403
    other = Visitor(serve(site(), server={"nginx": "httpd", "httpd": "nginx"}[server]))
    other.jar = dict(who.jar)
    assert other.get("/account/x").status == 403, "on every node"


BASES = ["contract", "legal_obligation", "vital_interests", "public_task", "legitimate_interests", "consent"]


@pytest.mark.parametrize("basis", BASES)
def test_commitment_14_lawful_bases(serve, basis):
    """bases x {none, grant, refuse, object}"""
    changed = policy(purposes={"statistics": {"basis": basis, "gpc": "ignore", "dnt": "ignore", "exempt": "a test"}})
    run = serve(Site(Loc("/"), policy=changed))
    fixed = basis in BASES[:3]
    objectable = basis in BASES[3:5]

    def allowed(who):
        return "statistics" in who.allowed()

    assert allowed(Visitor(run)) is (fixed or objectable)
    who = Visitor(run)
    who.post_json("/privacy/consent", {"purposes": {"statistics": True}})
    assert allowed(who) is True
    who = Visitor(run)
    who.post_json("/privacy/consent", {"purposes": {"statistics": False}})
    assert allowed(who) is fixed
    who = Visitor(run)
    who.post_form("/privacy/consent", {"choice": "save", "object": "statistics"})
    assert allowed(who) is fixed or not objectable
    who = Visitor(run)
    who.request("DELETE", "/privacy/consent")
    assert allowed(who) is fixed


@pytest.mark.asan
def test_commitment_17_never_sold(serve):
    run = serve(site())
    document = run.get("/.well-known/gpc.json").json()
    assert document["gpc"] is True and set(document) == {"gpc", "lastUpdate"}
    sale = {n for n, p in shipped()["purposes"].items() if p.get("sale")}
    assert sale
    who = granted(run, "X-Region: US", **{n.replace("-", "_"): True for n in sale})
    assert sale <= who.allowed() and not sale & who.allowed(["Sec-GPC: 1"])
    assert not sale & Visitor(run, ["X-Region: US"]).allowed(["Sec-GPC: 1"])


@pytest.mark.asan
def test_commitment_18_tampering_is_no_consent(serve, store, request):
    run = serve(site())
    who = granted(run)
    head, mac = who.token.rsplit(".", 1)
    for forged in (f"{head}.{mac[::-1]}", f"{head}.", head, f"{head}.{'A' * 22}"):
        answer = run.get("/insights/x", f"Cookie: {run.cookie_name}={forged}")
        assert answer.status == 403
    if store == "redis":
        redis = request.getfixturevalue("redis")
        redis.cli("HSET", f"privacy:consent:{{{who.consent()['id']}}}", "granted", "statistics,marketing,preferences")
        assert "marketing" not in who.allowed() and "preferences" not in who.allowed()
        assert run.keys_text.split()[2] not in str(redis.record(who.consent()["id"]))


@pytest.mark.asan
@pytest.mark.parametrize("path", PAGES + ("/privacy/", "/privacy/age", "/privacy/opt-out", "/b2b/x"))
def test_commitment_20_a_client_that_keeps_no_cookie(serve, path):
    """No redirect loop and no error page: at most three hops to an answer."""
    run = serve(site())
    seen = [path]
    for _ in range(4):
        answer = run.get(path, *NAVIGATION, *([f"Referer: {run.origin}{seen[-2]}"] if len(seen) > 1 else []))
        if answer.status != 303:
            break
        path = answer.get("Location").replace(run.origin, "")
        seen.append(path)
    assert answer.status in (200, 204, 403) and len(seen) <= 3, seen
    assert answer.status < 500


@pytest.mark.asan
def test_commitment_22_a_vendor_learns_nothing_that_names_the_visitor(serve, upstream):
    run = serve(site())
    who = granted(run)
    who.jar.update(session="s1", _ga="GA1", sessionid="d1")
    answer = who.get("/collect/x", ["Authorization: Basic dXNlcjpwdw==", "Privacy-Consent: all",
                                    "X-Forwarded-For: 203.0.113.77", "X-Real-IP: 203.0.113.77",
                                    "Forwarded: for=203.0.113.77"])
    assert answer.status == 200
    text = "\n".join(upstream.last.lines).lower()
    assert upstream.last.cookies() == ["_ga"]
    assert "authorization" not in text and "\nprivacy-" not in text and "__host-privacy" not in text
    assert "203.0.113.77" not in text and "127.0.0.1\n" not in text.replace(f"127.0.0.1:{run.port}", "")


@pytest.mark.asan
def test_commitment_07_statistics_hold_nothing_personal(serve, upstream):
    """A full run, then every word that the counters show is one of ours or of the policy."""
    from harness.metrics import settled
    run = serve(site(server={"limit": "off"}, more=[Loc("/metrics", status=True)]), fresh=True)
    who = Visitor(run, ["User-Agent: Unmistakable/7", "X-Region: FR", "X-Forwarded-For: 203.0.113.77",
                        "Referer: https://from.example/secret", "Cookie: my_own_cookie=v1; _ga=GA1.2.3"])
    upstream.headers = [("Set-Cookie", "their_cookie=abc; Path=/"), ("Privacy-Subject-Age", "ok:18")]
    who.choose(statistics=True, marketing=False)
    visitor = who.token.split(".")[2]
    for path in PAGES + ("/b2b/x", "/privacy/", "/privacy/age"):
        who.navigate(path)
    who.post_json("/privacy/age", {"birth_date": "1991-07-19"})
    who.request("DELETE", "/privacy/consent")
    text = settled(run, "choices_total", 2 + len([p for p in who.consent()["purposes"].values() if p["choice"]])).text
    text += run.get("/metrics", "Accept: application/json").text
    for word in (visitor, who.token, "Unmistakable", "203.0.113", "127.0.0.1", "from.example", "my_own_cookie", "their_cookie",
                 "_ga", "GA1", "1991", "07-19", "/insights", "/b2b", '"FR"'):
        assert word.lower() not in text.lower(), word
    known = json.dumps(shipped()) + " none token cache store degraded on report request response vendor require age gate page consent "
    known += "opt-out form api allow deny off basis unavailable anonymous restricted refused gpc dnt granted default hit negative miss "
    known += "answered failed late unsent +Inf *"
    import re
    for name, value in re.findall(r'([a-z_]+)="([^"]*)"', text):
        assert name in ("version", "le") or value in known, f"{name}={value}"


@pytest.mark.asan
@pytest.mark.parametrize("value,on", [("1", True), ("0", False), ("1abc", True), ("null", False), ("", False), ("yes", False)])
def test_commitment_23_do_not_track(serve, upstream, value, on):
    run = serve(site())
    us = Visitor(run, ["X-Region: US"])
    answer = us.get("/", [f"DNT: {value}", "Cookie: _fbp=1; _ga=2"])
    assert ("_fbp" not in upstream.last.cookies()) is on and ("_ga" not in upstream.last.cookies()) is on
    assert answer.all("Tk") and answer.get("Tk") in ("T", "C", "D"), "never N: other visitors are tracked"
    document = run.get("/.well-known/dnt/", f"DNT: {value}").json()
    assert document["tracking"] in ("T", "C", "D") and document["policy"] and document["controller"]


@pytest.mark.stores("redis")
def test_commitment_25_nothing_is_kept_of_who_only_visits_or_refuses(serve, redis):
    run = serve(site())
    who = Visitor(run, ["User-Agent: Unmistakable/7", "Referer: https://from.example/secret"])
    for path in PAGES + ("/privacy/", "/privacy/consent", "/privacy/age", "/privacy/policy", "/privacy/opt-out"):
        who.navigate(path)
    assert who.jar == {} and redis.keys() == []
    who.post_form("/privacy/consent", {"choice": "refuse"})
    who.navigate("/")
    assert redis.keys() == [] and who.consent()["id"] is None and who.token.split(".")[2] == ""


@pytest.mark.stores("redis")
def test_commitment_25_redis_never_hears_who_it_is(serve, redis, upstream):
    """MONITOR during a full run: no address, user agent, referrer or birth date."""
    run = serve(site())
    monitor = Monitor(redis)
    who = Visitor(run, ["User-Agent: Unmistakable/7", "Referer: https://from.example/secret", "X-Region: FR",
                        "X-Forwarded-For: 203.0.113.77", "Accept-Language: cy"])
    who.choose(statistics=True, marketing=False)
    who.post_json("/privacy/age", {"birth_date": "1991-07-19"})
    upstream.headers = [("Privacy-Subject-Age", "ok:18")]
    for path in PAGES:
        who.navigate(path)
    who.request("DELETE", "/privacy/consent")
    text = "\n".join(l.split("]", 1)[-1] for l in monitor.lines())
    monitor.close()
    assert "EVALSHA" in text and "HGETALL" in text
    for word in ("Unmistakable", "from.example", "1991", "07-19", "203.0.113", "127.0.0.1", "session="):
        assert word not in text, word
    record = json.dumps(redis.record(who.token.split(".")[2]))
    assert "region" in record and "Unmistakable" not in record


def test_the_shipped_policies_compile():
    from harness.ctl import privacyctl
    for name in ("policy.json", "policy.self-managed.json"):
        assert "0 warnings" in privacyctl("policy", "check", "--strict", policies.ROOT / "config" / name)
