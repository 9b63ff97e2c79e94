"""config/redis.acl permits what the sources send, and nothing else. That a run needs no more is seen after every test that
uses Redis: its ACL LOG must be empty (conftest.py)."""
import re

import pytest

from harness.client import Visitor
from harness.proc import ROOT
from harness.site import Loc, Site

pytestmark = pytest.mark.stores("redis")

# Sent to sentinels, which have users of their own; permitted to everybody.
NOT_OURS = {"sentinel", "auth"}
# The keys of INTERFACE 7 that are still to come, so that an operator's file need not change with them.
LATER = {"rpush", "lrange", "ltrim", "zadd", "zrem", "zrangebyscore"}
# Only a server binds an account to its record, and waits for replicas.
SERVERS_OWN = {"set", "wait"}
# What only some configurations need.
SOMETIMES = {"select", "wait"}


def permitted(user):
    line = next(l for l in (ROOT / "config" / "redis.acl").read_text().splitlines() if l.startswith(f"user {user} "))
    assert "-@all" in line and "+@" not in line and "allkeys" not in line and "~*" not in line
    return set(re.findall(r"\+([a-z|]+)", line))


def text(*patterns):
    files = [path for pattern in patterns for path in sorted(ROOT.glob(pattern))]
    assert files
    return "\n".join(re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S) for path in files)


def sent(source, commands):
    """Command names in C: PRV_STR("GET"), PRV_STR("CLIENT"), PRV_STR("ID"), {{"CLIENT", "ID"}, …}, redis.call('HGET', …)."""
    literal = r'(?:PRV_STR\()?"([A-Z]{2,})"\)?'
    found = {w.lower() for w in re.findall(r"redis\.p?call\('([A-Z]+)'", source)}
    starts = r"(?:PRV_STR\(|DOCTOR_ASK\(d, |\{\{)"
    for match in re.finditer(starts + r'"([A-Z]{2,})"\)?(?:[;,\s]|words\[\w+(?:\+\+)?\] = )*(?:' + literal + ")?", source):
        first, second = match.group(1).lower(), (match.group(2) or "").lower()
        name = f"{first}|{second}"
        found.add(name if name in commands else first)
    return {name for name in found if name in commands and name.split("|")[0] not in NOT_OURS}


@pytest.fixture
def commands(redis):
    return set(redis.r.execute_command("COMMAND LIST"))


def node(commands):
    files = [p.relative_to(ROOT).as_posix() for p in sorted((ROOT / "core" / "redis").glob("*.c")) if p.name != "sync.c"]
    return sent(text(*files), commands)


def test_what_the_servers_send_is_what_they_may(server, commands):
    uses = node(commands)
    assert {"ping", "select", "hgetall", "hget", "hset", "hdel", "del", "exists", "expire", "expireat", "evalsha", "eval"} <= uses
    may = permitted("privacy")
    assert uses <= may, f"sent and not permitted: {sorted(uses - may)}"
    assert may - uses <= LATER, f"permitted and never sent: {sorted(may - uses - LATER)}"
    assert not LATER & uses, "no longer to come"


def test_what_privacyctl_sends_is_what_it_may(server, commands):
    uses = sent(text("core/redis/*.c", "core/privacyctl/*.c"), commands) - SERVERS_OWN
    assert {"scan", "info"} <= uses
    assert uses <= permitted("privacy-ops"), sorted(uses - permitted("privacy-ops"))


def test_the_doctor_asks_for_what_the_servers_send(server, commands):
    asks = sent(text("core/privacyctl/doctor_acl.c"), commands) - {"acl|dryrun"}
    assert asks == node(commands) - SOMETIMES, "and what only some configurations need is not asked for"


def test_the_page_names_each_permission(server):
    page = (ROOT / "config" / "REDIS.md").read_text()
    named = set(re.findall(r"`\+([a-z|]+)`", page))  # `+client|id` and its like
    assert named == permitted("privacy"), sorted(named ^ permitted("privacy"))


FORBIDDEN = [("FLUSHALL",), ("KEYS", "*"), ("SCAN", "0"), ("CONFIG", "GET", "*"), ("ACL", "LIST"), ("MONITOR",), ("SHUTDOWN",),
             ("SCRIPT", "LOAD", "return 1"), ("DUMP", "privacy:consent:{a}"), ("GET", "session:1"), ("HGETALL", "session:1"),
             ("SET", "other", "1"), ("EVAL", "return 1", "1", "other"), ("PUBLISH", "__redis__:invalidate", "x"),
             ("SUBSCRIBE", "other"), ("CLIENT", "KILL", "TYPE", "normal"), ("RENAME", "privacy:a", "privacy:b"),
             ("PERSIST", "privacy:consent:{a}"), ("REPLICAOF", "127.0.0.1", "1"), ("DEBUG", "SLEEP", "1")]


@pytest.mark.parametrize("words", FORBIDDEN, ids=lambda words: "-".join(w.lower() for w in words[:2]))
def test_a_server_that_was_taken_over_can_do_little_else(server, redis, words):
    answer = redis.r.execute_command("ACL", "DRYRUN", "privacy", *words)
    assert answer != "OK" and "permission" in str(answer).lower(), answer


def test_the_log_sees_what_is_refused(serve, redis):
    """The fixture's own eyes: a run is quiet, a refusal is not."""
    run = serve(Site(Loc("/", proxy=True), Loc("/account/", min_age="13"), files={"account/index.html": "<p>account</p>"}))
    who = Visitor(run)
    who.choose(statistics=True)
    who.post_json("/privacy/age", {"birth_date": "1990-01-01"})
    who.choose(statistics=False)
    assert redis.refused() == []
    redis.r.execute_command("ACL", "SETUSER", "privacy", "-hset")
    try:
        assert who.post_json("/privacy/consent", {"purposes": {"statistics": True}}).status == 503
        assert redis.refused() == ["privacy: command hset"]
    finally:
        redis.r.execute_command("ACL", "SETUSER", "privacy", "+hset")
        redis.r.execute_command("ACL", "LOG", "RESET")
