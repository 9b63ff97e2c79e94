"""Redis that is slow, hung, gone, wrong or talking nonsense: pages are served, nothing is granted that was not, nobody waits."""
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.client import Visitor
from harness.proc import SLOW, wait_for
from harness.redisd import Redis
from harness.site import Loc, Site

pytestmark = pytest.mark.stores("redis")


def site(timeout="200ms", **more):
    return Site(Loc("/", proxy=True), Loc("/stats/", proxy=True, require="statistics"),
                Loc("/strict/", proxy=True, require="statistics", on_store_failure="deny"),
                main={"store_timeout": timeout, **more.pop("main", {})}, **more)


@pytest.fixture
def through(serve, fault):
    """A server that reaches its Redis through the fault proxy."""
    def start(**more):
        return serve(site(**more), fresh=True, redis_proxy=fault.port,
                     redis=_Via(serve.redis, fault))
    return start


class _Via:
    def __init__(self, redis, fault):
        self.port, self.password_file, self.socket = fault.port, redis.password_file, redis.socket


def granted(run, **purposes):
    who = Visitor(run)
    answer = None
    deadline = time.monotonic() + 5 * SLOW
    while time.monotonic() < deadline:  # the first connection may still be on its way
        answer = who.post_json("/privacy/consent", {"purposes": purposes or {"statistics": True}})
        if answer.status == 200:
            return who
        time.sleep(0.05)
    raise AssertionError(f"{answer.status} {answer.text}")


def recovers(check, seconds=8):
    assert wait_for(check, seconds), "that did not come"


MODES = ["stall", "half", "cut", "garble", "huge", "refuse", "text:-LOADING Redis is loading the dataset in memory",
         "text:-READONLY You can't write against a read only replica.", "text:-NOAUTH Authentication required.",
         "text:-NOPERM no permissions", "text:-CLUSTERDOWN down", "text:-MASTERDOWN Link with MASTER is down",
         "text:+what", "text:$-1", "text::7", "text:*-1"]


@pytest.mark.asan
@pytest.mark.parametrize("mode", MODES)
def test_a_fault_leaves_the_cookies_own_word(through, fault, mode):
    run = through()
    who = granted(run, statistics=True, marketing=False)
    assert who.get("/stats/x").status == 200
    fault.mode = mode
    if mode == "refuse":
        fault.cut_all()
    recovers(lambda: who.get("/strict/x").status == 403, 3)  # until then the link vouches for what the cache holds
    for _ in range(3):
        assert who.get("/x").status == 200
        assert who.get("/stats/x").status == 200, "on_store_failure token: the snapshot in the cookie counts"
        assert who.get("/strict/x").status == 403, "on_store_failure deny"
        assert "marketing" not in who.allowed()
    fault.mode = "pass"
    recovers(lambda: who.get("/strict/x").status == 200)


@pytest.mark.parametrize("mode", ["stall", "cut", "refuse"])
def test_what_still_holds_while_the_store_is_down(through, fault, own_redis, mode):
    run = through()
    who = granted(run)
    fault.mode = mode
    fault.cut_all()
    grant = who.post_json("/privacy/consent", {"purposes": {"marketing": True}})
    assert grant.status == 503 and grant.get("Retry-After") and grant.all("Set-Cookie") == []
    assert grant.get("Content-Type") == "application/problem+json"
    fresh = Visitor(run).post_json("/privacy/consent", {"purposes": {"marketing": True}})
    assert fresh.status == 503 and fresh.all("Set-Cookie") == []
    refusal = who.post_json("/privacy/consent", {"purposes": {"statistics": False}})
    assert refusal.status == 202 and refusal.json()["stored"] is False
    assert "statistics" not in who.allowed() and who.get("/stats/x").status == 403
    fault.mode = "pass"
    name = f"privacy:consent:{{{who.token.split('.')[2]}}}"

    def written():
        who.get("/x")
        return own_redis.r.hget(name, "refused") == "statistics"
    recovers(written)
    assert who.get("/stats/x").status == 403


def test_withdrawal_and_forms_while_the_store_is_down(through, fault):
    run = through()
    who = granted(run)
    fault.mode = "stall"
    assert who.post_form("/privacy/consent", {"choice": "refuse"}).status == 303
    assert who.allowed() == {"necessary"}
    other = granted_after(run, fault)
    fault.mode = "stall"
    assert other.request("DELETE", "/privacy/consent").status == 202 and other.allowed() == {"necessary"}


def granted_after(run, fault):
    fault.mode = "pass"
    return granted(run)


def test_under_age_while_the_store_is_down(through, fault):
    run = through()
    who = granted(run)
    fault.mode = "stall"
    answer = who.post_json("/privacy/age", {"birth_date": "2020-01-01"})
    assert answer.status == 202 and who.allowed() == {"necessary"}


@pytest.mark.asan
def test_nobody_waits_longer_than_the_deadline(through, fault):
    run = through(timeout="200ms")
    who = granted(run)
    fault.mode = "stall"
    start = time.monotonic()
    assert who.get("/x").status == 200
    assert time.monotonic() - start < 0.2 + 0.5 * SLOW
    start = time.monotonic()
    for _ in range(20):
        assert who.get("/x").status == 200
    assert time.monotonic() - start < 20 * 0.2, "a dead store costs the timeout once, not once a request"


@pytest.mark.asan
def test_many_requests_wait_together(through, fault, own_redis):
    """64 requests in flight for records that are not cached, with Redis 30 ms away, take about 30 ms."""
    run = through(timeout="2s")
    visitors = [granted(run) for _ in range(16)]
    fault.delay, fault.mode = 0.03, "delay"
    connections = [run.connect() for _ in range(64)]
    lines = [[f"Host: {run.host}", *visitors[i % 16].cookie_line()] for i in range(64)]
    for conn, line in zip(connections, lines):  # the connection to Redis is open in every worker
        assert conn.request("GET", "/stats/x", line).status == 200
    took = []
    for i in range(3):
        with own_redis.r.pipeline() as edits:  # every node forgets them
            for name in own_redis.keys("privacy:consent:*"):
                edits.hset(name, "note", str(i))
            edits.execute()
        time.sleep(0.2)
        start = time.monotonic()
        for conn, line in zip(connections, lines):
            conn.send("GET", "/stats/x", line)
        assert [conn.read().status for conn in connections] == [200] * 64
        took.append(time.monotonic() - start)
    # a busy machine adds to it; one by one it would be 64 x 30 ms
    assert 0.025 <= min(took) < 0.03 * 10 * SLOW, f"{min(took) * 1000:.0f} ms: the waits must overlap"


@pytest.mark.asan
def test_a_reply_too_many_hands_nobody_anothers_consent(through, fault, own_redis):
    run = through()
    rich, poor = granted(run, statistics=True, marketing=True), granted(run, preferences=True)
    record = own_redis.r.hgetall(f"privacy:consent:{{{rich.token.split('.')[2]}}}")
    flat = [x for pair in record.items() for x in pair]
    extras = [b"*0\r\n", b"$-1\r\n", b"+PONG\r\n",
              f"*{len(flat)}\r\n".encode() + b"".join(f"${len(x)}\r\n{x}\r\n".encode() for x in flat)]
    for extra in extras:
        fault.extra = extra
        fault.mode = "desync"
        for _ in range(4):
            with ThreadPoolExecutor(8) as pool:
                jobs = [pool.submit(poor.get, "/stats/x") for _ in range(4)]
                jobs += [pool.submit(rich.get, "/x") for _ in range(4)]
                answers = [job.result().status for job in jobs]
            assert answers[:4] == [403] * 4 and answers[4:] == [200] * 4
    recovers(lambda: rich.get("/strict/x").status == 200)


@pytest.mark.asan
def test_a_client_that_leaves_while_redis_sleeps(through, fault):
    run = through(timeout="400ms")
    who = granted(run)
    lines = [f"Host: {run.host}", *who.cookie_line()]
    fault.mode = "stall"
    for body in (b"", b"x" * 100_000):
        for wait in (0.0, 0.1):
            conn = run.connect()
            conn.send("POST" if body else "GET", "/x", lines, body)
            time.sleep(wait)
            conn.close()
    time.sleep(0.6)
    fault.mode = "pass"
    fault.cut_all()
    recovers(lambda: who.get("/strict/x").status == 200)


def test_a_client_that_leaves_an_endpoint_while_redis_sleeps(through, fault):
    run = through(timeout="400ms")
    who = granted(run)
    fault.mode = "stall"
    for method in ("GET", "POST", "DELETE"):
        conn = run.connect()
        body = b'{"purposes":{"statistics":false}}' if method == "POST" else b""
        conn.send(method, "/privacy/consent", [f"Host: {run.host}", "Content-Type: application/json", *who.cookie_line()], body)
        time.sleep(0.05)
        conn.close()
    time.sleep(0.6)
    fault.mode = "pass"
    fault.cut_all()
    recovers(lambda: who.get("/strict/x").status == 200)


def test_redis_is_down_at_start(serve, own_redis):
    own_redis.stop()
    run = serve(site(), fresh=True)
    assert run.get("/x").status == 200
    assert Visitor(run).post_json("/privacy/consent", {"purposes": {"statistics": True}}).status == 503
    own_redis.start()
    who = granted(run)
    assert "statistics" in who.allowed()


@pytest.mark.asan
def test_redis_is_killed_and_comes_back(serve, own_redis):
    run = serve(site(), fresh=True)
    who = granted(run)
    own_redis.stop()
    assert who.get("/stats/x").status == 200 and who.get("/strict/x").status == 403
    own_redis.start()
    recovers(lambda: granted(run).get("/strict/x").status == 200)
    assert who.get("/stats/x").status == 403, "the new Redis is empty: the record is absent, its grants are cancelled"


@pytest.mark.asan
def test_redis_hangs_and_wakes(serve, own_redis):
    run = serve(site(), fresh=True)
    who = granted(run)
    own_redis.process.send(signal.SIGSTOP)
    try:
        recovers(lambda: who.get("/strict/x").status == 403, 3)
        assert who.get("/stats/x").status == 200
    finally:
        own_redis.process.send(signal.SIGCONT)
    recovers(lambda: who.get("/strict/x").status == 200)


def test_redis_is_killed_while_it_is_asked(through, fault, own_redis):
    run = through(timeout="2s")
    who = granted(run)
    fault.mode = "stall"
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(who.get, "/stats/x") for _ in range(4)]
        time.sleep(0.2)
        own_redis.stop()
        assert [job.result().status for job in jobs] == [200] * 4


def test_a_wrong_password(serve, own_redis):
    own_redis.password_file.write_text("not the password\n")
    run = serve(site(), fresh=True)
    assert run.get("/x").status == 200
    answer = Visitor(run).post_json("/privacy/consent", {"purposes": {"statistics": True}})
    assert answer.status == 503
    log = run.log()
    assert "WRONGPASS" in log or "password" in log or "AUTH" in log, log
    assert "not the password" not in log


def test_a_user_without_rights(serve, own_redis):
    own_redis.r.execute_command("ACL", "SETUSER", "privacy", "-hgetall")
    run = serve(site(), fresh=True)
    who = Visitor(run)
    from harness.ctl import token
    who.token = token(run, id="abcdefghijklmnopqrstuvwxya", granted="statistics", stored="1")
    assert who.get("/stats/x").status == 200 and who.get("/strict/x").status == 403
    own_redis.r.execute_command("ACL", "SETUSER", "privacy", "+hgetall")


def test_an_outage_after_which_the_last_seen_state_counts(through, fault, own_redis):
    """A refusal seen from Redis outlives an older cookie while Redis is away."""
    run = through()
    who = granted(run)
    stale = dict(who.jar)
    who.choose(statistics=False)
    who.get("/x")
    fault.mode = "stall"
    old = Visitor(run)
    old.jar = stale
    assert old.get("/stats/x").status == 403


def test_what_was_acknowledged_outlives_a_redis_that_was_killed(serve):
    """With the users of config/redis.acl: Redis replays its append-only file as `default`, and checks what that user may."""
    durable = Redis("--appendonly", "yes", "--appendfsync", "always")
    try:
        run = serve(site(), fresh=True, redis=durable)
        who = granted(run, statistics=True)
        who.choose(marketing=False)
        before = durable.record(who.token.split(".")[2])
        durable.stop()
        durable.start()
        assert durable.record(who.token.split(".")[2]) == before != {}
        recovers(lambda: who.get("/strict/x").status == 200)
        assert "ACL" not in durable.process.text()
    finally:
        durable.close()


def test_a_full_redis_takes_no_grants_and_every_refusal(serve):
    small = Redis("--maxmemory", "1", "--maxmemory-policy", "noeviction")
    try:
        run = serve(site(), fresh=True, redis=small)
        who = Visitor(run)
        assert who.post_json("/privacy/consent", {"purposes": {"statistics": True}}).status == 503
        assert who.post_json("/privacy/consent", {"purposes": {"statistics": False}}).status in (200, 202)
        assert "statistics" not in who.allowed()
    finally:
        small.close()
