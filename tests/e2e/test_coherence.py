"""One truth on all nodes: what changes in Redis, by whomever, holds on every worker of every node, and what does not change is
not read again."""
import os
import signal
import time

import pytest

from harness.client import Visitor
from harness.faultproxy import LINK
from harness.proc import SLOW, wait_for
from harness.redisd import Monitor
from harness.site import Loc, Site

pytestmark = pytest.mark.stores("redis")
OTHER = {"nginx": "httpd", "httpd": "nginx"}
STATE = {"nginx": "add_header X-State $privacy_state always;", "httpd": 'Header always set X-State "%{PRIVACY_STATE}e"'}
SOON = 2 * SLOW


def site(timeout="500ms", **more):
    return Site(Loc("/", proxy=True, **STATE), main={"store_timeout": timeout}, workers=2, **more)


class _Via:
    def __init__(self, redis, fault):
        self.port, self.password_file, self.socket = fault.port, redis.password_file, redis.socket


def key(who):
    return f"privacy:consent:{{{who.token.split('.')[2]}}}"


def granted(run, **purposes):
    who = Visitor(run)
    assert wait_for(lambda: who.post_json("/privacy/consent", {"purposes": purposes or {"statistics": True}}).status == 200, 5)
    return who


def at(run, who):
    """The same browser at another node."""
    there = Visitor(run)
    there.jar = dict(who.jar)
    return there


def source(who):
    answer = who.get("/x")
    assert answer.status == 200
    return answer.get("X-State")


def cached(who):
    """Until an answer comes from an entry that is authoritative."""
    assert wait_for(lambda: source(who) == "cache", SOON), "the link never came up"


def reads(monitor):
    return [line for line in monitor.lines() if '"hgetall"' in line.lower()]


@pytest.mark.asan
def test_what_does_not_change_is_not_read_again(serve, redis):
    run = serve(site(), fresh=True)
    people = [granted(run) for _ in range(4)]
    for who in people:
        cached(who)
    monitor = Monitor(redis)
    for _ in range(25):
        for who in people:
            assert source(who) == "cache"
    time.sleep(1.2)  # nor later: nothing polls
    for who in people:
        assert source(who) == "cache"
    assert reads(monitor) == []
    redis.r.hset(key(people[0]), "note", "changed")
    assert source(people[0]) == "store" and source(people[0]) == "cache"
    for who in people[1:]:
        source(who)
    assert len(reads(monitor)) <= 2, "the changed record, and at most one that shares its set"
    monitor.close()


@pytest.mark.asan
@pytest.mark.parametrize("edit", ["refuse", "child", "delete", "expire", "flush", "another type", "rename"])
def test_an_edit_holds_on_every_node(serve, server, redis, edit):
    nodes = [serve(site(), fresh=True), serve(site(), fresh=True, server=OTHER[server]), serve(site(), fresh=True)]
    who = granted(nodes[0], statistics=True)
    browsers = [at(node, who) for node in nodes]
    for browser in browsers:
        cached(browser)
        assert "statistics" in browser.allowed()
    name = key(who)
    {"refuse": lambda: redis.cli("HSET", name, "refused", "statistics"),
     "child": lambda: redis.cli("HSET", name, "age", "under:13"),
     "delete": lambda: redis.cli("DEL", name),
     "expire": lambda: redis.r.pexpire(name, 5),
     "flush": lambda: redis.r.flushall(),
     "another type": lambda: redis.r.set(name, "x"),
     "rename": lambda: redis.r.rename(name, "privacy:consent:{elsewhere}")}[edit]()
    for browser in browsers:
        assert wait_for(lambda: "statistics" not in browser.allowed(), SOON), edit
        for _ in range(8):  # every worker
            assert "statistics" not in browser.allowed()


def test_a_new_grant_reaches_a_node_that_knew_none(serve, server, redis):
    """Also a negative entry is invalidated, and a cookie with a higher seq is never answered from an older entry."""
    here, there = serve(site(), fresh=True), serve(site(), fresh=True, server=OTHER[server])
    who = granted(here, statistics=True)
    elsewhere = at(there, who)
    cached(elsewhere)
    record = redis.r.hgetall(key(who))
    redis.r.delete(key(who))
    assert wait_for(lambda: "statistics" not in elsewhere.allowed(), SOON)
    cached(elsewhere)
    redis.r.hset(key(who), mapping=record)
    assert wait_for(lambda: "statistics" in elsewhere.allowed(), SOON)
    who.choose(marketing=True)
    newer = at(there, who)
    assert {"statistics", "marketing"} <= newer.allowed(), "at once: its seq is higher"


def test_a_node_without_redis_grants_nothing_that_was_invalidated(serve, fault, own_redis):
    """FLUSHALL and DEL leave tombstones: until a read succeeds nothing older grants."""
    run = serve(site(timeout="100ms"), fresh=True, redis=_Via(own_redis, fault))
    who, other = granted(run, statistics=True), granted(run, statistics=True)
    cached(who), cached(other)
    own_redis.r.delete(key(who))
    fault.mode, fault.link_mode = "stall", "pass"
    assert wait_for(lambda: "statistics" not in who.allowed(), SOON)
    assert "statistics" in other.allowed(), "it was not changed"
    own_redis.r.flushall()
    assert wait_for(lambda: "statistics" not in other.allowed(), SOON)
    assert other.consent()["purposes"]["statistics"]["reason"] in ("none", "unavailable")


@pytest.mark.asan
def test_a_read_in_flight_is_overtaken_by_its_invalidation(serve, fault, own_redis):
    """The reply left Redis before the record changed and arrives after the invalidation: it is used once and not kept."""
    run = serve(site(timeout="2s"), fresh=True, redis=_Via(own_redis, fault))
    who = granted(run, statistics=True)
    cached(who)
    name = key(who)
    own_redis.r.hset(name, "note", "makes every worker read again")
    fault.delay, fault.mode, fault.link_mode = 0.3, "delay", "pass"
    conn = run.connect()
    conn.send("GET", "/x", [f"Host: {run.host}", *who.cookie_line()])
    time.sleep(0.1)  # Redis has answered; the answer is on its way
    own_redis.r.hset(name, "refused", "statistics")
    assert conn.read().status == 200
    conn.close()
    fault.mode = "pass"
    for _ in range(8):
        assert "statistics" not in who.allowed(), "the older reply was kept"
    assert source(who) in ("store", "cache") and "statistics" not in who.allowed()


def holder_of(run, redis):
    found = []
    assert wait_for(lambda: found.append(run.holder(redis.links())) or found[-1], SOON), "nobody holds the link"
    return found[-1]


def linked(run, redis, who):
    """The holder, once the link is up and `who` is cached."""
    cached(who)
    assert len(redis.links()) == 1, "one link a zone"
    return holder_of(run, redis)


@pytest.mark.asan
def test_another_takes_over_when_the_holder_is_killed(serve, own_redis):
    run = serve(site(), fresh=True, redis=own_redis)
    serve.tolerate("signal 9")
    serve.tolerate("exit signal Killed")
    people = [granted(run) for _ in range(3)]
    held = linked(run, own_redis, people[0])
    os.kill(held, signal.SIGKILL)
    # a process takes part from its first visitor on, and the one that answered so far is gone
    assert wait_for(lambda: source(people[0]) and run.holder(own_redis.links()) not in (held, None), SOON), \
        f"links {own_redis.links()}, workers {run.workers()}, killed {held}\n{run.log()[-2000:]}"
    for who in people:
        cached(who)
    own_redis.r.hset(key(people[0]), "refused", "statistics")
    assert wait_for(lambda: "statistics" not in people[0].allowed(), SOON)


@pytest.mark.asan
def test_another_takes_over_when_the_holder_is_stopped(serve, own_redis):
    """Within a second the others no longer trust what a stopped process does not hear; and when it wakes up it takes
    nothing back."""
    run = serve(site(), fresh=True, redis=own_redis)
    who = granted(run)
    held = linked(run, own_redis, who)
    os.kill(held, signal.SIGSTOP)
    stopped = time.monotonic()
    try:
        own_redis.r.hset(key(who), "refused", "statistics")
        lines = [f"Host: {run.host}", *who.cookie_line()]

        def refused():
            # a connection that the stopped process was given is never answered
            with run.connect(timeout=0.3) as conn:
                try:
                    answer = conn.request("GET", "/privacy/consent", lines)
                except OSError:
                    return False
                return not answer.json()["purposes"]["statistics"]["allowed"]
        assert wait_for(refused, 5 * SLOW)
        assert time.monotonic() - stopped < 3 * SLOW
        assert wait_for(lambda: own_redis.links() and run.holder(own_redis.links() - {0}) and len(own_redis.links()) == 2, SOON)
    finally:
        os.kill(held, signal.SIGCONT)
    assert wait_for(lambda: len(own_redis.links()) == 1, SOON), "the one that woke up lets go"
    assert holder_of(run, own_redis) != held
    cached(who)
    own_redis.r.hdel(key(who), "refused")
    assert wait_for(lambda: "statistics" in who.allowed(), SOON)
    for _ in range(8):
        own_redis.r.hset(key(who), "refused", "statistics")
        assert wait_for(lambda: "statistics" not in who.allowed(), SOON)
        own_redis.r.hdel(key(who), "refused")
        assert wait_for(lambda: "statistics" in who.allowed(), SOON)


def test_a_reload_hands_the_link_on(serve, own_redis):
    run = serve(site(), fresh=True, redis=own_redis)
    who = granted(run)
    held = linked(run, own_redis, who)
    run.reload()
    assert wait_for(lambda: source(who) and holder_of(run, own_redis) != held, 5 * SLOW)
    cached(who)
    own_redis.r.hset(key(who), "refused", "statistics")
    assert wait_for(lambda: "statistics" not in who.allowed(), SOON)


@pytest.mark.asan
@pytest.mark.parametrize("how", ["stall", "cut", "garble", "huge", "desync", "refuse", "mute", "text:-ERR no", "text:$-1"])
def test_a_link_that_is_not_heard_vouches_for_nothing(serve, fault, own_redis, how):
    """Redis itself answers: then each request reads, and what changes holds at once."""
    run = serve(site(), fresh=True, redis=_Via(own_redis, fault))
    who = granted(run)
    cached(who)
    if how in ("refuse", "mute"):
        fault.inject(how, LINK)
        for _ in range(20):
            fault.inject(how, LINK) if how == "mute" else None
    else:
        fault.link_mode = how
    own_redis.r.hset(key(who), "refused", "statistics")
    assert wait_for(lambda: "statistics" not in who.allowed(), SOON), "at most a second is declared"
    own_redis.r.hdel(key(who), "refused")
    assert wait_for(lambda: "statistics" in who.allowed(), SOON)
    fault.single[LINK].clear()
    fault.link_mode = None
    assert wait_for(lambda: source(who) == "cache", 5 * SLOW), "the link came back"


def test_a_link_that_is_refused_says_so_once(serve, own_redis):
    own_redis.r.execute_command("ACL", "SETUSER", "privacy", "-client|tracking")
    run = serve(site(), fresh=True, redis=own_redis)
    who = granted(run)
    for _ in range(5):
        assert source(who) == "store"
        own_redis.r.hset(key(who), "refused", "statistics")
        assert "statistics" not in who.allowed()
        own_redis.r.hdel(key(who), "refused")
        assert "statistics" in who.allowed()
    assert run.log().count("the invalidation link is refused") == 1
    own_redis.r.execute_command("ACL", "SETUSER", "privacy", "+client|tracking")


def test_killing_the_link_costs_nobody_anything(serve, own_redis):
    run = serve(site(), fresh=True, redis=own_redis)
    who = granted(run)
    cached(who)
    for _ in range(5):
        own_redis.r.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        assert who.get("/x").status == 200 and "statistics" in who.allowed()
        cached(who)
        own_redis.r.hset(key(who), "refused", "statistics")
        assert wait_for(lambda: "statistics" not in who.allowed(), SOON)
        own_redis.r.hdel(key(who), "refused")
        assert wait_for(lambda: "statistics" in who.allowed(), SOON)
    assert "deciding without it" not in run.log()


def test_a_cached_visitor_waits_for_nothing_when_redis_stops(serve, own_redis):
    """The link notices first, and opens the breaker: neither a cached visitor nor, from then on, a new one waits."""
    run = serve(site(timeout="400ms"), fresh=True, redis=own_redis)
    who, stranger = granted(run), granted(run)
    cached(who)
    own_redis.process.send(signal.SIGSTOP)
    try:
        slow = []
        until = time.monotonic() + 3
        while time.monotonic() < until:
            start = time.monotonic()
            assert who.get("/x").status == 200 and "statistics" in who.allowed()
            if time.monotonic() - start > 0.3:
                slow.append(time.monotonic() - start)
            time.sleep(0.01)
        assert slow == [], "somebody waited for a Redis that is stopped"
        start = time.monotonic()
        for _ in range(20):
            assert stranger.get("/x").status == 200
        assert time.monotonic() - start < 0.4 * 4 * SLOW
    finally:
        own_redis.process.send(signal.SIGCONT)
    cached(who)
