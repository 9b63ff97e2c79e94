"""privacy_status: what it counts, on both servers alike, and who reads it."""
import json
import re

import pytest

from harness import policies
from harness.client import NAVIGATION, Visitor
from harness.metrics import Metrics, promtool, scrape, settled
from harness.proc import wait_for
from harness.site import Loc, Site, Vhost

FILES = {"gated/x.html": "<p>in</p>", "adult/x.html": "<p>adults</p>"}


def site(*more, **options):
    return Site(Loc("/", proxy=True), Loc("/gated/", require="statistics"), Loc("/adult/", min_age="18"),
                Loc("/metrics", status=True), *more, files=FILES, **options)


def total(m):
    return sum(v for n, _, v in m.samples if n == "privacy_requests_total")


def traffic(run, upstream):
    """A handful of everything; returns how many requests count."""
    upstream.headers = [("Set-Cookie", "_ga=1; Path=/"), ("Set-Cookie", "session=2; Path=/"), ("Set-Cookie", "_fbp=3; Path=/")]
    who = Visitor(run, ["X-Region: FR"], keeps_cookies=True)
    for _ in range(3):
        Visitor(run, ["X-Region: FR"]).get("/plain", ["Cookie: _ga=1; session=2; _fbp=3"])  # 2 go in, 2 out
    assert Visitor(run, ["X-Region: FR"]).get("/gated/x.html").status == 403
    assert Visitor(run, ["X-Region: FR"]).navigate("/adult/x.html").status == 303
    assert who.navigate("/privacy/").status == 200
    assert who.navigate("/privacy/age").status == 200
    who.choose(statistics=True, marketing=False)
    assert who.get("/gated/x.html").status == 200
    who.post_form("/privacy/consent", {"choice": "refuse"})
    assert who.get("/gated/x.html").status == 403
    assert run.get("/.well-known/gpc.json").status == 200
    return 7


def by_traffic(m):
    """What requests alone decide."""
    out = {k: v for k, v in m.counted().items()
           if not re.match("privacy_(store|cache|link|invalidations|requests)_", k[0])}
    return {**out, "requests": m("requests_total", mode="on")}


@pytest.mark.asan
def test_known_traffic(serve, server, upstream):
    run = serve(site(), fresh=True)
    n = traffic(run, upstream)
    m = settled(run, "requests_total", n)
    assert m("requests_total", mode="on") == n and m("requests_total", mode="report") == 0
    assert m("requests_total", state="none") == 5
    assert m("requests_total", state="degraded") == 0
    # five purposes a request: necessary by row 2, security on legitimate interests, until all is refused
    assert m("decisions_total") == 5 * n
    assert m("decisions_total", reason="basis", outcome="allow") == 2 * n - 1
    assert m("decisions_total", reason="granted", outcome="allow") == 1
    assert m("decisions_total", reason="refused", outcome="deny") == 1 + 4
    assert m("decisions_total", reason="none", outcome="deny") == 3 * 5 + 1
    assert m("refused_requests_total") == 2
    assert m("refused_requests_total", gate="require", reason="none", mode="on") == 1
    assert m("refused_requests_total", gate="require", reason="refused", mode="on") == 1
    assert m("asked_total", question="age", by="gate", mode="on") == 1
    assert m("asked_total", question="age", by="page") == 1
    assert m("asked_total", question="consent", by="page") == 1
    assert m("cookies_removed_total", direction="request") == 6
    assert m("cookies_removed_total", direction="response") == 6
    assert m("choices_total", purpose="statistics", choice="granted", method="api", jurisdiction="opt-in") == 1
    assert m("choices_total", purpose="marketing", choice="refused", method="api", jurisdiction="opt-in") == 1
    assert m("choices_total", choice="refused", method="form", jurisdiction="opt-in") == 4
    assert m("choices_total") == 6
    assert m("uncounted_total") == 0
    assert {l["site"] for _, l, _ in m.samples if "site" in l} == {"test"}


@pytest.mark.stores("off", "redis")
def test_both_servers_count_the_same(serve, server, upstream, redis):
    """One after the other, the same traffic: every number is the same, but where a state came from and how the store was asked:
    with a store that depends on what arrived first."""
    found = []
    for kind in ("nginx", "httpd"):
        run = serve(site(), fresh=True, server=kind)
        found.append(by_traffic(settled(run, "requests_total", traffic(run, upstream))))
    assert found[0] == found[1]


@pytest.mark.asan
def test_promtool_has_nothing_to_say(serve, upstream):
    run = serve(site(), fresh=True)
    settled(run, "requests_total", traffic(run, upstream))
    answer = run.get("/metrics")
    assert answer.get("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.get("Cache-Control") == "no-store" and "accept" in answer.vary()
    assert promtool(answer.text) == (0, "")
    assert promtool("no_metric{") != (0, "")


@pytest.mark.asan
def test_json_says_the_same(serve, upstream):
    run = serve(site(), fresh=True)
    m = settled(run, "requests_total", traffic(run, upstream))
    answer = run.get("/metrics", "Accept: text/html;q=0.5, application/json")
    assert answer.get("Content-Type") == "application/json" and answer.get("Cache-Control") == "no-store"
    shown = []
    for name, family in answer.json().items():
        assert family["type"] in ("counter", "gauge", "histogram") and family["help"]
        for sample in family["samples"]:
            number, part = sample.pop("value"), sample.pop("part", None)
            shown.append((name + (f"_{part}" if part else ""), sample, number))
    assert [(n, l, v) for n, l, v in m.samples] == shown
    assert run.get("/metrics", "Accept: application/json;q=0").get("Content-Type").startswith("text/plain")


@pytest.mark.asan
def test_counters_survive_a_reload(serve, upstream):
    plain = site()
    run = serve(plain, fresh=True)
    n = traffic(run, upstream)
    before = settled(run, "requests_total", n)
    run.reload()
    m = scrape(run)
    assert by_traffic(m) == by_traffic(before)

    # a policy without one purpose and with another: what is called the same goes on, the rest is not shown
    policy = policies.policy()
    policy["purposes"]["newsletter"] = {"basis": "consent"}
    policy["purposes"].pop("preferences")
    policy["cookies"].pop("preferences", None)
    policy["vendors"] = {k: v for k, v in policy["vendors"].items() if v["purpose"] != "preferences"}
    run.write(site(policy=policy, store=plain.store))
    run.reload()
    m = scrape(run)
    assert m("choices_total", purpose="statistics") == before("choices_total", purpose="statistics") == 2
    assert before("choices_total", purpose="preferences") == 1 and m("choices_total", purpose="preferences") == 0
    Visitor(run, ["X-Region: FR"]).choose(newsletter=True)
    m = scrape(run)
    assert m("choices_total", purpose="newsletter", choice="granted") == 1
    assert m("requests_total") == n

    # another policy id: another site, which begins at nothing
    policy = policies.policy()
    policy["policy"]["id"] = "other"
    run.write(site(policy=policy, store=plain.store))
    run.reload()
    m = scrape(run)
    assert m("requests_total", site="other") == 0 and m("requests_total") == 0 and m("choices_total") == 0
    run.write(site(store=plain.store))
    run.reload()
    assert scrape(run)("requests_total", site="test") == n


def test_a_reload_under_load_loses_nothing(serve, upstream):
    """Old and new workers count into the same zone."""
    import threading
    run = serve(site(), fresh=True)
    done, stop = [0] * 4, threading.Event()

    def knock(i):
        while not stop.is_set():
            try:
                done[i] += run.get("/x").status == 200
            except OSError:
                pass
    threads = [threading.Thread(target=knock, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for _ in range(2):
        run.reload()
    stop.set()
    for t in threads:
        t.join()
    assert sum(done) > 10
    # a connection that a retiring worker closed may have been counted though its client saw nothing
    counted = wait_for(lambda: (m := scrape(run))("requests_total") >= sum(done) and m("requests_total"), 5)
    assert sum(done) <= counted <= sum(done) + 16


@pytest.mark.asan
def test_report_mode_says_what_would_have_been(serve, upstream):
    run = serve(site(mode="report"), fresh=True)
    upstream.headers = [("Set-Cookie", "_ga=1; Path=/"), ("Set-Cookie", "session=2; Path=/")]
    for _ in range(2):
        assert Visitor(run, ["X-Region: FR"]).get("/x", ["Cookie: _ga=1; _fbp=4; session=2"]).all("Set-Cookie")
        assert len(upstream.last.cookies()) == 3
    assert Visitor(run, ["X-Region: FR"]).get("/gated/x.html").status == 200
    assert Visitor(run, ["X-Region: FR"]).get("/adult/x.html").status == 200
    m = settled(run, "requests_total", 4)
    assert m("requests_total", mode="report", state="none") == 4
    assert m("cookies_removed_total", mode="report", direction="request") == 4
    assert m("cookies_removed_total", mode="report", direction="response") == 2
    assert m("refused_requests_total", mode="report", gate="require", reason="none") == 1
    assert m("asked_total", mode="report", question="age", by="gate") == 1
    assert m("cookies_removed_total", mode="on") == 0 and m("refused_requests_total", mode="on") == 0


def test_the_smallest_configuration_counts(serve, server, upstream):
    """`privacy report;` alone: no policy, no key, everything unclassified and only counted."""
    bare = Site(Loc("/", proxy=True), Loc("/metrics", status=True), mode="report", endpoint=False, region=False,
                main={"policy": None, "key_file": None})
    bare.store = "off"
    run = serve(bare, fresh=True)
    run.get("/x", "Cookie: a=1")
    m = settled(run, "requests_total", 1)
    assert m("requests_total", mode="report", state="none") == 1 and m("cookies_removed_total") == 0
    assert promtool(run.get("/metrics").text) == (0, "")


@pytest.mark.asan
def test_it_is_never_gated_and_works_where_privacy_is_off(serve, server, upstream):
    run = serve(site(Loc("/gated/metrics", status=True), vhosts=[
        Vhost("watch.example.test", Loc("/", status=True), mode="off")]), fresh=True)
    run.get("/x")
    settled(run, "requests_total", 1)
    assert scrape(run, "/gated/metrics")("requests_total") == 1, "a gate inherited from /gated/ does not hold here"
    assert scrape(run, "/", host=f"watch.example.test:{run.port}")("requests_total") == 1
    for method in ("POST", "DELETE"):
        answer = run.request(method, "/metrics")
        assert answer.status == 405 and answer.get("Allow") == "GET, HEAD"
    head = run.request("HEAD", "/metrics")
    assert head.status == 200 and head.body == b""
    assert scrape(run)("requests_total") == 1, "looking is not counted"


def test_who_may_look_is_the_servers_own_rule(serve, server):
    rule = {"nginx": "deny all;", "httpd": "Require all denied"}[server]
    run = serve(site(Loc("/closed", status=True, **{server: rule})))
    assert run.get("/closed").status == 403 and run.get("/metrics").status == 200


@pytest.mark.stores("off")
def test_it_stands_alone(serve, server):
    if server == "nginx":
        status, said = serve.check(site(Loc("/both", status=True, proxy=True)))
        assert status != 0 and "privacy_status stands beside another directive" in said
    else:  # it wins
        run = serve(site(Loc("/both", status=True, proxy=True)))
        assert "privacy_build_info" in run.get("/both").text


@pytest.mark.stores("off")
def test_the_smallest_zone(serve, upstream):
    run = serve(site(main={"zone": "small:256k"}), fresh=True)
    m = settled(run, "requests_total", traffic(run, upstream))
    assert m("choices_total") == 6 and m("uncounted_total") == 0


@pytest.mark.stores("off")
def test_limited_calls(serve):
    run = serve(site(main={"limit": "1r/m burst=1"}), fresh=True)
    body = json.dumps({"purposes": {"statistics": False}}).encode()
    said = [run.request("POST", "/privacy/consent", ["Content-Type: application/json"], body).status for _ in range(4)]
    assert said.count(429) == 2 and scrape(run)("limited_calls_total", site="test") == 2
    assert run.get("/x", *NAVIGATION).status in (200, 502)


@pytest.mark.asan
@pytest.mark.stores("redis")
def test_the_store_shows(serve, upstream, own_redis):
    run = serve(site(main={"store_timeout": "300ms"}), fresh=True)
    who = Visitor(run, ["X-Region: FR"])
    who.choose(statistics=True)
    assert who.get("/x").status == 200
    m = settled(run, "requests_total", 1)
    assert m("store_operations_total", outcome="answered") >= 2
    assert m("store_operations_total", outcome="answered") == m("store_operation_duration_seconds_count")
    assert 0 < m("store_operation_duration_seconds_sum") < 2 * m("store_operation_duration_seconds_count")
    assert m("store_operation_duration_seconds_bucket", le="+Inf") == m("store_operation_duration_seconds_count")
    assert m("store_breaker_open") == 0 and m("store_breaker_openings_total") == 0

    own_redis.stop()
    run.reload()  # what the cache holds is not asked for; new processes
    for _ in range(2):
        Visitor(run, ["X-Region: FR"]).post_json("/privacy/consent", {"purposes": {"statistics": True}})
    m = scrape(run)
    assert m("store_breaker_open") == 1 and m("store_breaker_openings_total") == 1
    assert m("store_operations_total", outcome="unsent") + m("store_operations_total", outcome="failed") >= 2
    stranger = Visitor(run, ["X-Region: FR"])
    stranger.token = who.token
    assert stranger.get("/x").status == 200
    settled(run, "requests_total", 1, state="degraded")
    assert promtool(run.get("/metrics").text) == (0, "")

    own_redis.start()
    back = wait_for(lambda: run.get("/x", *who.cookie_line()).status == 200 and
                    scrape(run)("store_breaker_open") == 0, 10)
    assert back and scrape(run)("store_breaker_openings_total") == 1


@pytest.mark.stores("off")
def test_without_a_store_there_is_nothing_of_one(serve):
    assert "privacy_store" not in serve(site()).get("/metrics").text


@pytest.mark.stores("off")
def test_more_policies_than_the_zone_has_room_for(serve, upstream):
    """Those beyond are served as ever; that they are not counted is said."""
    files, hosts, n = {}, [], 60
    for i in range(n):
        policy = policies.policy()
        policy["policy"]["id"] = f"p{i}"
        files[f"p{i}.json"] = json.dumps(policy)
        hosts.append(Vhost(f"h{i}.example.test", Loc("/", proxy=True), mode="on", policy=f"@docroot@/p{i}.json"))
    run = serve(Site(Loc("/", proxy=True), Loc("/metrics", status=True), main={"zone": "small:256k"}, vhosts=hosts, files=files),
                fresh=True)
    left_out = set(re.findall(r"no room to count the requests of policy ['\"](\w+)", run.log()))
    assert 1 < len(left_out) <= n - 8, "the smallest zone has room for eight"
    without = next(i for i in range(n) if f"p{i}" in left_out)
    counted = next(i for i in range(n) if f"p{i}" not in left_out)
    for i in (counted, without):
        assert run.get("/x", host=f"h{i}.example.test:{run.port}").status == 200
    m = settled(run, "uncounted_total", 1)
    assert m("requests_total", site=f"p{counted}") == 1 and m("requests_total", site=f"p{without}") == 0
    assert promtool(m.text) == (0, "")


@pytest.mark.asan
@pytest.mark.stores("redis")
def test_the_cache_and_the_link_show(serve, upstream, own_redis):
    run = serve(site(), fresh=True)
    who = Visitor(run, ["X-Region: FR"])
    who.choose(statistics=True)  # nginx connects for the first who needs it
    assert wait_for(lambda: scrape(run)("link_up") == 1, 10)
    epoch = scrape(run)("cache_epoch")
    visitor = who.token.split(".")[2]

    def looked(path="/x"):
        before = scrape(run)
        who.get(path)
        after = scrape(run)
        return {r: n for r in ("hit", "negative", "miss")
                if (n := after("cache_lookups_total", result=r) - before("cache_lookups_total", result=r))}
    assert wait_for(lambda: looked() == {"hit": 1}, 10), "in the end the entry vouches for the record"
    assert looked() == {"hit": 1}
    before = scrape(run)("invalidations_total")
    own_redis.r.hset(f"privacy:consent:{{{visitor}}}", "refused", "statistics")
    assert wait_for(lambda: scrape(run)("invalidations_total") == before + 1, 10)
    assert looked() == {"miss": 1}
    assert looked() == {"hit": 1}
    own_redis.r.delete(f"privacy:consent:{{{visitor}}}")
    assert wait_for(lambda: scrape(run)("invalidations_total") == before + 2, 10)
    assert looked() == {"miss": 1}
    assert wait_for(lambda: looked() == {"negative": 1}, 10)

    lost = scrape(run)("link_losses_total")
    own_redis.stop()
    assert wait_for(lambda: scrape(run)("link_up") == 0, 10)
    assert wait_for(lambda: scrape(run)("link_losses_total") == lost + 1, 10)
    own_redis.start()
    assert wait_for(lambda: scrape(run)("link_up") == 1, 10)
    m = scrape(run)
    assert m("cache_epoch") > epoch and promtool(m.text) == (0, "")


@pytest.mark.stores("off")
def test_a_cookie_that_repeats_is_a_hit(serve, upstream):
    run = serve(site(), fresh=True)
    who = Visitor(run, ["X-Region: FR"])
    run.get("/x")
    assert scrape(run)("cache_lookups_total") == 0, "who brings nothing is not looked for"
    who.choose(statistics=False)
    for _ in range(3):
        who.get("/x")
    m = settled(run, "requests_total", 4)
    assert m("cache_lookups_total", result="miss") == 1 and m("cache_lookups_total", result="hit") == 2


@pytest.mark.stores("off")
def test_evictions(serve, upstream):
    """More visitors than the smallest zone holds."""
    from harness.ctl import privacyctl
    run = serve(site(main={"zone": "small:256k"}), fresh=True)
    lines = "".join(json.dumps({"refused": "statistics", "seq": str(i + 1)}) + "\n"
                    for i in range(5000))
    tokens = privacyctl("token", "--policy", run.dir / "policy.json", "--keys", run.dir / "keys", "--batch", stdin=lines).split()
    for i in range(0, len(tokens), 500):  # nginx ends a connection after 1000 requests
        with run.connect() as conn:
            for token in tokens[i:i + 500]:
                assert conn.request("GET", "/gated/x.html", [f"Host: {run.host}", f"Cookie: {token}"]).status == 403
    m = settled(run, "requests_total", 5000)
    assert m("cache_lookups_total", result="miss") == 5000
    room = 256 * 1024 / 72
    assert 5000 - room < m("cache_evictions_total") < 5000 - room / 2


@pytest.mark.stores("redis")
def test_what_an_account_chooses_is_counted_once(serve, upstream, own_redis):
    from test_accounts import ALICE, choose, site as accounts
    run = serve(accounts(Loc("/metrics", status=True)), fresh=True)
    who = Visitor(run, ["X-Region: FR"])
    choose(who, ALICE, statistics=True, marketing=False)
    m = settled(run, "choices_total", 2)
    assert m("choices_total", purpose="statistics", choice="granted", method="api", jurisdiction="opt-in") == 1
    assert m("choices_total", purpose="marketing", choice="refused") == 1
    own_redis.stop()
    answer = who.post_json("/me/consent", {"purposes": {"statistics": True, "marketing": False}}, [ALICE])
    assert answer.status == 202
    m = settled(run, "choices_total", 3)
    assert m("choices_total", choice="granted") == 1, "what grants did not happen while the store is away"
