"""Accounts: an account's record decides where one is logged in, a browser's own where nobody is, and nothing is merged.

Who is logged in is what authentication has shown (`privacy_subject`), or what the application says (`Privacy-Subject`).
"""
import base64
import json
import threading
import time

import pytest

from harness.client import Visitor
from harness.policies import policy
from harness.proc import wait_for
from harness.redisd import Monitor
from harness.servers import new_keys
from harness.site import Loc, Site
from harness.upstream import Reply

REPLAY = policy(purposes={"session-replay": {"basis": "consent", "gpc": "deny", "subject": "required",
                                             "title": {"en": "Session replay"}}})
LONG = "l" * 600
FILES = {"passwords": "".join(f"{name}:{{SHA}}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n" for name in ("alice", "bob", LONG)),
         "page/index.html": "<p>page</p>", "page/denied.html": "<p>denied</p>"}
AUTH = {"nginx": 'auth_basic "x";\nauth_basic_user_file "@docroot@/passwords";',
        "httpd": 'AuthType Basic\nAuthName "x"\nAuthBasicProvider file\nAuthUserFile "@docroot@/passwords"\n'
                 "Require valid-user"}


def more(**raw):
    """AUTH with more lines for each server."""
    return {server: AUTH[server] + "\n" + raw.get(server, "") for server in AUTH}


def site(*locs, **other):
    """/app/ knows who is logged in, /me/ is where an account chooses, / knows nobody but a session."""
    return Site(Loc("/", proxy=True), Loc("/app/", proxy=True, subject=True, **AUTH),
                Loc("/ingest/", proxy=True, subject=True, require="session-replay", **AUTH),
                Loc("/me/", endpoint=True, subject=True, **AUTH), *locs,
                policy=other.pop("policy", REPLAY), files=FILES, **other)


def login(name, password="password"):
    return "Authorization: Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


ALICE, BOB = login("alice"), login("bob")


def choose(who, line, **purposes):
    answer = who.post_json("/me/consent", {"purposes": {k.replace("_", "-"): v for k, v in purposes.items()}}, [line])
    assert answer.status == 200, answer.text
    return answer


def allowed(who, line=None, extra=()):
    path = "/me/consent" if line else "/privacy/consent"
    answer = who.get(path, [*([line] if line else []), *extra])
    assert answer.status == 200, answer.text
    return {k for k, v in answer.json()["purposes"].items() if v["allowed"] and v["reason"] != "basis"}


def told(upstream):
    """What the application was told that is allowed, row 13 left out."""
    fields = [m.strip() for m in (upstream.last.get("Privacy-Consent") or "").split(",") if m.strip()]
    return {m for m in fields if "=" not in m} - {"security"}


def subjects(redis):
    return {key: redis.r.get(key) for key in redis.keys("privacy:subject:*")}


# ---- whose choices

@pytest.mark.asan
@pytest.mark.stores("redis")
def test_a_shared_device(serve, upstream, redis):
    who = Visitor(serve(site()))
    who.choose(preferences=True)                     # nobody is logged in
    assert allowed(who) == {"preferences"}
    assert allowed(who, ALICE) == set()              # a browser's grants are not an account's
    choose(who, ALICE, statistics=True)
    assert allowed(who, ALICE) == {"statistics"}
    assert allowed(who) == {"preferences"}           # A logs out
    assert allowed(who, BOB) == set()                # B logs in
    choose(who, BOB, marketing=True)
    assert allowed(who, BOB) == {"marketing"} and allowed(who, ALICE) == {"statistics"}
    assert allowed(who) == {"preferences"}
    for line, expected in ((ALICE, {"statistics"}), (BOB, {"marketing"})):
        assert who.get("/app/x", [line]).status == 200
        assert told(upstream) == expected
    who.get("/x", [ALICE])                           # no privacy_subject: nobody is known there
    assert told(upstream) == {"preferences"}
    assert allowed(Visitor(who.site), ALICE) == {"statistics"}, "on another device"
    assert len(redis.keys("privacy:consent:*")) == 3 and len(subjects(redis)) == 2


@pytest.mark.stores("redis")
def test_an_accounts_record(serve, redis):
    run = serve(site())
    who = Visitor(run)
    assert choose(who, ALICE, statistics=True).set_cookies() == {}, "the browser has chosen nothing"
    (key, pointer), = subjects(redis).items()
    record = redis.record(pointer)
    assert key == f"privacy:subject:{{{record['subject']}}}" and record["id"] == pointer
    assert record["granted"] == "statistics" and record["method"] == "api"
    assert abs(redis.r.ttl(key) - redis.r.ttl(f"privacy:consent:{{{pointer}}}")) <= 1 and redis.r.ttl(key) > 0
    assert who.get("/me/consent", [ALICE]).json()["id"] == pointer
    choose(who, ALICE, statistics=False, marketing=True)
    assert redis.record(pointer)["seq"] == "2" and allowed(who, ALICE) == {"marketing"}
    assert who.request("DELETE", "/me/consent", [ALICE]).status == 200
    assert allowed(who, ALICE) == set() and redis.record(pointer)["seq"] == "3"


@pytest.mark.stores("redis")
def test_what_a_browser_refuses_holds_for_all_accounts(serve, redis):
    run = serve(site())
    away, here = Visitor(run), Visitor(run)
    choose(away, ALICE, statistics=True, preferences=True)
    here.choose(statistics=False)
    assert allowed(here, ALICE) == {"preferences"}
    choose(here, ALICE, statistics=True)             # later, and here: it is meant
    assert allowed(here, ALICE) == {"preferences", "statistics"}
    assert allowed(here, BOB) == set()
    assert here.consent()["purposes"]["statistics"]["choice"] == "refused", "the browser keeps its own"
    choose(here, BOB, statistics=True)
    assert allowed(here, BOB) == {"statistics"} and allowed(here, ALICE) == {"preferences"}
    here.choose(statistics=False)                    # and again
    assert allowed(here, BOB) == set()
    assert allowed(away, BOB) == {"statistics"}


@pytest.mark.stores("redis")
def test_a_childs_browser(serve, redis):
    run = serve(site(Loc("/adult/", proxy=True, subject=True, min_age="policy", **AUTH)))
    grown, child = Visitor(run, ["X-Region: US"]), Visitor(run, ["X-Region: US"])
    assert grown.post_json("/me/age", {"birth_date": "1980-01-01"}, [ALICE]).status == 200
    assert grown.get("/adult/x", [ALICE]).status == 200
    assert child.post_json("/privacy/age", {"birth_date": "2020-01-01"}).status == 200
    assert child.get("/adult/x", [ALICE]).status == 403
    assert grown.get("/adult/x", [BOB]).status == 403, "A's age is not B's"
    assert grown.get("/adult/x", [ALICE]).status == 200


# ---- only behind authentication

@pytest.mark.asan
@pytest.mark.stores("redis")
def test_a_claim_is_no_account(serve, upstream, redis):
    run = serve(site(Loc("/open/", proxy=True, subject=True),
                     Loc("/any/", proxy=True, subject=True, nginx=more(nginx="satisfy any;\nallow all;")["nginx"],
                         httpd=AUTH["httpd"] + "\nRequire all granted"),
                     Loc("/satisfy/", proxy=True, subject=True, nginx=more(nginx="satisfy any;\nallow 127.0.0.1;\ndeny all;")["nginx"],
                         httpd=more(httpd="Satisfy Any\nOrder deny,allow\nDeny from all\nAllow from 127.0.0.1")["httpd"])))
    who = Visitor(run)
    choose(who, ALICE, statistics=True)
    for line in (ALICE, login("alice", "wrong")):
        for path in ("/open/x", "/any/x", "/satisfy/x"):
            assert who.get(path, [line]).status == 200, path
            assert told(upstream) == set(), path
    assert who.get("/app/x", [login("alice", "wrong")]).status == 401
    assert who.get("/me/consent", [login("alice", "wrong")]).status == 401
    assert who.get("/app/x", [ALICE]).status == 200 and told(upstream) == {"statistics"}


@pytest.mark.asan
@pytest.mark.stores("redis")
def test_a_failing_authentication_shows_no_accounts_page(serve, server, upstream, redis):
    """The page for 401 inherits all, and httpd gives it the claimed user."""
    page = {"nginx": "error_page 401 /page/denied.html;", "httpd": "ErrorDocument 401 /page/denied.html"}
    run = serve(site(Loc("/page/", proxy=True, subject=True, nginx=AUTH["nginx"], httpd=AUTH["httpd"]),
                     Loc("/gate/", proxy=True, subject=True, **more(**page)), nginx=page["nginx"], httpd=page["httpd"]))
    who = Visitor(run)
    choose(who, ALICE, statistics=True)
    for path in ("/gate/x", "/page/x"):              # what httpd proxies as its page has that one's status
        assert who.get(path, [login("alice", "wrong")]).status == (200 if server == "httpd" and path == "/page/x" else 401)
    assert len(upstream.requests) == (server == "httpd")
    for got in upstream.requests:
        assert told(upstream) == set(), got.target


@pytest.mark.stores("redis")
def test_auth_request(serve, upstream, redis):
    """nginx's own; httpd: an authentication that fails in the same place."""
    upstream.app = lambda r: Reply(200 if r.target != "/auth" or r.get("Authorization") == ALICE[15:] else 401)
    run = serve(site(Loc("/auth", proxy=True, exact=True, nginx="internal;", httpd="Require all denied"),
                     Loc("/sub/", proxy=True, subject=True, require="session-replay", nginx="auth_request /auth;",
                         httpd=AUTH["httpd"])))
    who = Visitor(run)
    choose(who, ALICE, session_replay=True)
    assert who.get("/sub/x", [ALICE]).status == 200
    assert who.get("/sub/x", [login("alice", "wrong")]).status == 401
    assert who.get("/sub/x").status == 401
    assert len(upstream.seen("/sub/x")) == 1


# ---- gates that need an account

@pytest.mark.asan
def test_a_gate_for_accounts(serve, upstream):
    run = serve(site(Loc("/bare/", proxy=True, require="session-replay")))
    who = Visitor(run)
    who.choose(session_replay=True)
    assert who.get("/bare/x").status == 403          # row 4: whatever the browser says
    assert who.get("/ingest/x").status == 401
    answer = who.get("/ingest/x", [ALICE])
    assert answer.status == 403 and "session-replay" in answer.text
    choose(who, ALICE, session_replay=True)
    assert who.get("/ingest/x", [ALICE]).status == 200
    assert who.get("/ingest/x", [BOB]).status == 403
    assert who.get("/bare/x", [ALICE]).status == 403
    assert [r.target for r in upstream.requests] == ["/ingest/x"]
    assert who.get("/privacy/consent").json()["purposes"]["session-replay"]["reason"] == "anonymous"


@pytest.mark.asan
@pytest.mark.parametrize("path", ["/page/", "/return/", "/redirect/", "/rewrite/x", "/named/x", "/teapot/x"])
def test_nothing_answers_before_the_gate_could(serve, upstream, path):
    """`return` and `rewrite` never come to authentication; httpd: mod_rewrite."""
    asks = {"subject": True, "require": "session-replay"}
    moved = 'RewriteEngine On\nRewriteRule . /secret [R=302]'
    run = serve(site(Loc("/page/", **asks),
                     Loc("/return/", nginx='return 200 "secret";', httpd=moved, **asks),
                     Loc("/redirect/", nginx="return 302 /secret;", httpd=moved.replace("302", "301"), **asks),
                     Loc("/rewrite/", nginx="rewrite ^ /elsewhere/ last;", httpd="RewriteEngine On\nRewriteRule . /elsewhere/", **asks),
                     Loc("/named/", nginx="error_page 418 = @open;\nreturn 418;", httpd=moved, **asks),
                     Loc("/teapot/", nginx="error_page 418 /elsewhere/x;\nreturn 418;", httpd=moved, **asks),
                     Loc("/elsewhere/", proxy=True), nginx="location @open { return 200 secret; }"))
    who = Visitor(run)
    for line in ([], [ALICE], [login("alice", "wrong")]):
        answer = who.get(path, line)
        assert answer.status == 403 and "secret" not in answer.text and not answer.get("Location"), (path, line)
    assert upstream.requests == []


@pytest.mark.stores("redis")
def test_a_gate_that_only_the_account_passes(serve, upstream, redis):
    """The browser has not granted it, the account has; and the other way round."""
    run = serve(site(Loc("/stats/", proxy=True, subject=True, require="statistics", **AUTH)))
    who = Visitor(run)
    choose(who, ALICE, statistics=True)
    assert who.get("/stats/x", [ALICE]).status == 200
    browser = Visitor(run)
    browser.choose(statistics=True)
    assert browser.get("/stats/x", [BOB]).status == 403
    assert browser.get("/stats/x", [ALICE]).status == 200


@pytest.mark.stores("redis")
def test_require_as_authorisation(serve, server, upstream, redis):
    """httpd's own; nginx: the same by privacy_require."""
    if server == "httpd":
        loc = Loc("/auth/", proxy=True, subject=True,
                  httpd=AUTH["httpd"].replace("Require valid-user", "<RequireAll>\nRequire valid-user\n"
                                              "Require privacy-purpose session-replay\n</RequireAll>"))
    else:
        loc = Loc("/auth/", proxy=True, subject=True, require="session-replay", nginx=AUTH["nginx"])
    who = Visitor(serve(site(loc)))
    assert who.get("/auth/x").status == 401
    assert who.get("/auth/x", [ALICE]).status in (401, 403)
    choose(who, ALICE, session_replay=True)
    assert who.get("/auth/x", [ALICE]).status == 200
    assert who.get("/auth/x", [login("alice", "wrong")]).status == 401


# ---- what caches may keep

@pytest.mark.stores("redis")
def test_answers_that_depended_on_the_account(serve, upstream, redis):
    upstream.headers = [("Cache-Control", "public, max-age=60")]
    who = Visitor(serve(site(Loc("/quiet/", proxy=True, forward="off", subject=True, **AUTH))))
    answer = who.get("/app/x", [ALICE])
    assert answer.get("Cache-Control") == "private, no-store" and "authorization" in answer.vary()
    answer = who.get("/quiet/x", [ALICE])
    assert answer.get("Cache-Control") == "public, max-age=60" and answer.vary() == set()
    answer = who.get("/x", [ALICE])
    assert answer.get("Cache-Control") == "public, max-age=60" and "authorization" not in answer.vary()


# ---- GPC

@pytest.mark.stores("redis")
def test_gpc_is_written_down_once(serve, upstream, redis):
    run = serve(site())
    who, elsewhere = Visitor(run, ["X-Region: US"]), Visitor(run, ["X-Region: US"])
    choose(who, ALICE, marketing=True, statistics=True)
    assert "marketing" in allowed(who, ALICE)
    who.get("/app/x", [ALICE, "Sec-GPC: 1"])
    assert "marketing" not in told(upstream)
    pointer = subjects(redis).popitem()[1]
    assert wait_for(lambda: redis.record(pointer).get("gpc") == "1", 5)
    record = redis.record(pointer)
    assert set(record["refused"].split(",")) == {"marketing", "session-replay"} and record["granted"] == "statistics"
    assert record["method"] == "signal"
    assert "marketing" not in allowed(elsewhere, ALICE), "on another device, without the signal"
    watch = Monitor(redis)
    for _ in range(3):
        who.get("/app/x", [ALICE, "Sec-GPC: 1"])
    written = [l for l in watch.lines() if any(word in l.upper() for word in ("EVALSHA", '"SET"', '"HSET"'))]
    watch.close()
    assert written == []

    choose(elsewhere, ALICE, marketing=True)         # only this undoes it
    assert "marketing" in allowed(elsewhere, ALICE)
    seq = redis.record(pointer)["seq"]
    who.get("/app/x", [ALICE, "Sec-GPC: 1"])
    assert "marketing" not in told(upstream), "the signal holds where it is sent"
    time.sleep(0.3)
    assert redis.record(pointer)["seq"] == seq and "marketing" in allowed(elsewhere, ALICE)


@pytest.mark.stores("redis")
def test_gpc_of_an_account_that_chose_nothing(serve, redis):
    run = serve(site())
    who, elsewhere = Visitor(run, ["X-Region: US"]), Visitor(run, ["X-Region: US"])
    assert "marketing" in allowed(elsewhere, ALICE)  # opt-out
    assert redis.keys() == [], "nothing is kept of who only visits"
    who.get("/app/x", ["Sec-GPC: 1"])                # not logged in
    assert redis.keys() == []
    who.get("/app/x", [ALICE, "Sec-GPC: 1"])
    assert wait_for(lambda: len(redis.keys()) == 2, 5)
    assert wait_for(lambda: "marketing" not in allowed(elsewhere, ALICE), 5)
    assert who.jar == {} and all(redis.r.ttl(key) > 0 for key in redis.keys())


@pytest.mark.stores("redis")
def test_a_grant_made_with_the_signal_on(serve, redis):
    run = serve(site())
    who, elsewhere = Visitor(run, ["X-Region: US", "Sec-GPC: 1"]), Visitor(run, ["X-Region: US"])
    choose(who, ALICE, marketing=True)
    pointer = subjects(redis).popitem()[1]
    for _ in range(2):
        who.get("/app/x", [ALICE])
    time.sleep(0.3)
    record = redis.record(pointer)
    assert record["granted"] == "marketing" and record["refused"] == "session-replay" and record["gpc"] == "1"
    assert "marketing" in allowed(elsewhere, ALICE) and "marketing" not in allowed(who, ALICE)


# ---- the application says who is logged in

def session(upstream, who, value, status=200):
    values = value if isinstance(value, list) else [value]
    upstream.headers = [("Privacy-Subject", v) for v in values]
    answer = who.get("/session")
    upstream.headers = []
    assert answer.status == status and answer.all("Privacy-Subject") == []
    return answer


@pytest.mark.asan
@pytest.mark.stores("redis")
def test_login_and_logout_by_the_application(serve, upstream, redis):
    run = serve(site(Loc("/bare/", proxy=True, require="session-replay")))
    who = Visitor(run)
    assert session(upstream, who, "-").set_cookies() == {}, "no cookie for nobody"
    answer = session(upstream, who, "alice")
    assert list(answer.set_cookies()) == ["__Host-privacy"] and answer.get("Cache-Control") == "private, no-store"
    assert told(upstream) == set(), "from the next request on"
    assert session(upstream, who, "alice").set_cookies() == {}, "once"
    assert who.get("/bare/x").status == 403
    who.choose(session_replay=True, statistics=True)
    assert who.get("/bare/x").status == 200
    assert allowed(Visitor(run), ALICE) == {"session-replay", "statistics"}, "the same account by password"
    token = who.token

    assert session(upstream, who, "-").set_cookies()
    assert who.get("/bare/x").status == 403 and allowed(who) == set()
    session(upstream, who, "bob")
    assert allowed(who) == set()
    who.choose(preferences=True)
    assert allowed(who) == {"preferences"}
    assert allowed(who, ALICE) == {"session-replay", "statistics"}, "who authenticates wins"
    for values in (["alice", "bob"], ["alice", "-"], ["a" * 513]):
        session(upstream, who, "alice")
        assert allowed(who) == {"session-replay", "statistics"}
        session(upstream, who, values)
        assert allowed(who) == set(), values
    session(upstream, who, ["alice", "alice"])
    assert allowed(who) == {"session-replay", "statistics"}
    assert len(token) <= 240


@pytest.mark.stores("redis")
def test_a_browser_keeps_its_own_through_a_session(serve, upstream, redis):
    who = Visitor(serve(site()))
    who.choose(preferences=True, statistics=False)
    mine = who.consent()["id"]
    session(upstream, who, "alice")
    assert allowed(who) == set() and who.consent()["id"] is None
    choice = who.choose(statistics=True, marketing=True)
    assert allowed(who) == {"statistics", "marketing"} and choice.json()["id"] not in (None, mine)
    session(upstream, who, "-")
    assert allowed(who) == {"preferences"} and who.consent()["id"] == mine
    assert who.consent()["purposes"]["statistics"]["choice"] == "refused"


@pytest.mark.asan
@pytest.mark.stores("redis")
def test_nobody_says_who_they_are(serve, upstream, redis):
    run = serve(site(Loc("/vendor/", proxy=True, vendor="cards")))
    who = Visitor(run)
    choose(who, ALICE, statistics=True)
    for field in ("Privacy-Subject: alice", "privacy-subject: alice", "Privacy_Subject: alice"):
        assert allowed(who, extra=[field]) == set()
        who.get("/x", [field])
        assert told(upstream) == set() and upstream.last.all("Privacy-Subject") == []
    upstream.headers = [("Privacy-Subject", "alice")]
    assert who.get("/vendor/x").set_cookies() == {}, "a vendor has no say"
    assert who.jar == {}


# ---- what is kept

@pytest.mark.stores("redis")
def test_no_account_is_named_anywhere(serve, upstream, redis):
    name = "zoe.wherever@example.test"
    run = serve(site(log=True), fresh=True)
    who = Visitor(run, ["Sec-GPC: 1"])
    session(upstream, who, name)
    who.choose(statistics=True, preferences=False)
    who.get("/x")
    session(upstream, who, [name, name + "2"])
    assert wait_for(lambda: len(redis.keys()) == 2, 5)
    held = []
    for key in redis.keys():
        held += [key, json.dumps(redis.r.hgetall(key) if redis.r.type(key) == "hash" else redis.r.get(key))]
    text = "".join(held) + run.log() + json.dumps(run.access()) + json.dumps(who.jar)
    assert "zoe" not in text.lower() and "wherever" not in text.lower()


@pytest.mark.stores("redis")
def test_a_name_that_is_too_long(serve, upstream, redis):
    run = serve(site(), fresh=True)
    who = Visitor(run)
    assert who.get("/app/x", [login(LONG)]).status == 200
    assert run.log().count("nobody counts as logged in") == 1 and LONG not in run.log()
    assert who.get("/ingest/x", [login(LONG)]).status == 403


# ---- Redis says something else, or nothing

@pytest.mark.stores("redis")
def test_a_known_account_is_not_read_again(serve, upstream, redis):
    """Neither the pointer nor the record, nor that there is none; and what redis-cli changes is known at once."""
    who = Visitor(serve(site()))
    choose(who, ALICE, statistics=True, preferences=True)

    def quiet():
        for line in (ALICE, BOB):
            who.get("/app/x", [line])
        watch = Monitor(redis)
        for line in (ALICE, BOB) * 5:
            assert who.get("/app/x", [line]).status == 200
        lines = [l for l in watch.lines(0.1) if '"HGETALL"' in l or '"GET"' in l]
        watch.close()
        return lines == []
    assert wait_for(quiet, 10), "read again and again"
    (pointer, mine), = subjects(redis).items()
    for change, left in ((("HSET", f"privacy:consent:{{{mine}}}", "refused", "preferences"), {"statistics"}),
                         (("DEL", pointer), set())):
        redis.cli(*change)
        assert wait_for(lambda: allowed(who, ALICE) == left, 2), change
    assert wait_for(quiet, 10), "read again and again, though there is none"
    redis.r.set(pointer, mine)
    assert wait_for(lambda: allowed(who, ALICE) == {"statistics"}, 2)



@pytest.mark.stores("redis")
def test_pointers(serve, redis):
    run = serve(site())
    who = Visitor(run)
    choose(who, ALICE, statistics=True)
    choose(who, BOB, marketing=True)
    alice = next(k for k, v in subjects(redis).items() if redis.record(v).get("granted") == "statistics")
    bob = next(k for k in subjects(redis) if k != alice)
    hers, his = redis.r.get(alice), redis.r.get(bob)
    redis.r.set(alice, his)                          # another's record
    assert wait_for(lambda: allowed(who, ALICE) == set(), 5)
    choose(who, ALICE, preferences=True)             # the next choice repairs it
    assert redis.r.get(alice) == hers and allowed(who, ALICE) == {"statistics", "preferences"}
    redis.r.delete(f"privacy:consent:{{{hers}}}")    # a pointer to nothing
    assert wait_for(lambda: allowed(who, ALICE) == set(), 5)
    choose(who, ALICE, statistics=True)
    assert redis.r.get(alice) == hers and allowed(who, ALICE) == {"statistics"}
    redis.r.set(alice, "no id")
    assert wait_for(lambda: allowed(who, ALICE) == set(), 5)
    redis.r.delete(alice)
    redis.r.rpush(alice, "no string")
    assert wait_for(lambda: allowed(who, ALICE) == set(), 5)
    redis.r.delete(alice)                            # another's record, renamed
    redis.r.set(alice, his)
    redis.r.hset(f"privacy:consent:{{{his}}}", "subject", alice[17:-1])
    assert wait_for(lambda: allowed(who, ALICE) == set() and allowed(who, BOB) == set(), 5)


@pytest.mark.stores("redis")
def test_two_nodes_create_one_record(serve, redis):
    nodes = [serve(site(), server="nginx"), serve(site(), server="httpd")]
    purposes = ["statistics", "preferences"]
    for round_ in range(10):
        redis.r.flushall()
        start = threading.Barrier(2)

        def choice(i):
            who = Visitor(nodes[i])
            start.wait()
            choose(who, ALICE, **{purposes[i]: True})
        threads = [threading.Thread(target=choice, args=(i,)) for i in range(2)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert len(redis.keys("privacy:consent:*")) == 1 and len(subjects(redis)) == 1
        record = redis.record(subjects(redis).popitem()[1])
        assert set(record["granted"].split(",")) == set(purposes) and record["seq"] == "2", (round_, record)


@pytest.mark.stores("redis")
def test_the_store_is_away(serve, upstream, own_redis):
    run = serve(site(), fresh=True)
    who = Visitor(run)
    who.choose(preferences=True)
    choose(who, ALICE, statistics=True, marketing=True)
    for _ in range(run.site.workers * 8):            # every worker's shared memory is one: seen once is enough
        assert allowed(who, ALICE) == {"statistics", "marketing"}
    own_redis.stop()
    assert allowed(who, ALICE) == {"statistics", "marketing"}, "as last seen on this node"
    assert allowed(who, BOB) == set(), "nothing of the browser's"
    assert who.post_json("/me/consent", {"purposes": {"preferences": True}}, [ALICE]).status == 503
    answer = who.post_json("/me/consent", {"purposes": {"statistics": False}}, [ALICE])
    assert answer.status == 202 and answer.json()["stored"] is False
    assert allowed(who, ALICE) == {"marketing"}
    own_redis.start()
    assert wait_for(lambda: who.get("/me/consent", [ALICE]) and own_redis.r.ping(), 5)


@pytest.mark.stores("redis")
def test_a_refusal_is_owed_to_the_account(serve, own_redis):
    own_redis.close()
    from harness.redisd import Redis
    kept = Redis("--appendonly", "yes", "--appendfsync", "always", port=own_redis.port)
    try:
        run = serve(site(), fresh=True, redis=kept)
        who, elsewhere = Visitor(run), Visitor(run)
        choose(who, ALICE, statistics=True, marketing=True)
        kept.stop()
        assert who.post_json("/me/consent", {"purposes": {"statistics": False}}, [ALICE]).status == 202
        kept.start()
        assert wait_for(lambda: allowed(who, ALICE) == {"marketing"} and allowed(elsewhere, ALICE) == {"marketing"}, 10)
        time.sleep(1.1)                              # times are kept in seconds
        choose(elsewhere, ALICE, statistics=True)    # and it is owed once
        for _ in range(3):
            who.navigate("/app/x", [ALICE])
        time.sleep(0.3)
        assert allowed(elsewhere, ALICE) == {"marketing", "statistics"}
    finally:
        kept.close()


# ---- without a store

@pytest.mark.asan
@pytest.mark.stores("off")
def test_a_cookie_alone_holds_one_set_of_choices(serve, upstream):
    who = Visitor(serve(site()))
    who.choose(preferences=True)
    assert allowed(who, ALICE) == set()
    choose(who, ALICE, session_replay=True)
    assert who.get("/ingest/x", [ALICE]).status == 200
    assert allowed(who, BOB) == set() and allowed(who) == set()
    who.navigate("/x")
    who.navigate("/app/x", [BOB])
    assert allowed(who, ALICE) == {"session-replay"}
    choose(who, BOB, statistics=False)
    assert allowed(who, ALICE) == set()


# ---- configuration

@pytest.mark.stores("redis")
def test_a_key_is_needed(serve, server, redis):
    keys = "\n".join(line for line in new_keys().splitlines() if not line.startswith("subject")) + "\n"
    status, said = serve.check(Site(Loc("/"), Loc("/l/", subject=True), keys=keys))
    assert status != 0 and 'a key of use "subject"' in said
    assert {"nginx": "privacy_subject", "httpd": "PrivacySubject"}[server] in said
    status, said = serve.check(Site(Loc("/"), keys=keys))
    assert status == 0, said


@pytest.mark.stores("redis")
@pytest.mark.parametrize("nginx,httpd", [("$http_x_user", '"%{HTTP:X-User}"'), ("$arg_user", '"%{QUERY_STRING}"'),
                                         ("u$cookie_user", "\"req('X-User')\""), ("$remote_user", '"%{REMOTE_USER}"')])
def test_a_warning_for_what_clients_say(serve, server, nginx, httpd, redis):
    value = {"nginx": nginx, "httpd": httpd}[server]
    status, said = serve.check(Site(Loc("/"), Loc("/l/", subject=value)))
    assert status == 0, said
    assert ("what the client itself says" in said) == (nginx != "$remote_user")
