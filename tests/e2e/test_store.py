"""Redis as the shared truth: one choice on all nodes, records as the operator reads and edits them."""
import json
import re

import pytest

from harness.client import Visitor
from harness.ctl import privacyctl, token
from harness.policies import policy
from harness.proc import wait_for
from harness.redisd import Monitor
from harness.site import Loc, Site

pytestmark = pytest.mark.stores("redis")
OTHER = {"nginx": "httpd", "httpd": "nginx"}
FILES = {"account/index.html": "<p>account</p>"}


def site(**more):
    return Site(Loc("/", proxy=True), Loc("/account/", min_age="13"), files=FILES, **more)


def granted(run, **purposes):
    who = Visitor(run)
    who.choose(**(purposes or {"statistics": True}))
    return who


def key(who):
    return f"privacy:consent:{{{who.consent()['id']}}}"


@pytest.mark.asan
def test_a_choice_on_one_server_holds_on_the_other(serve, server):
    here, there = serve(site()), serve(site(), server=OTHER[server])
    who = granted(here)
    elsewhere = Visitor(there)
    elsewhere.jar = who.jar
    assert "statistics" in elsewhere.allowed()
    stale = dict(who.jar)
    elsewhere.choose(statistics=False)
    who.jar = stale
    assert wait_for(lambda: "statistics" not in who.allowed(), 1), "a withdrawal there holds here, with the old cookie"


def test_the_record(serve, redis):
    who = granted(serve(site()), statistics=True, marketing=False)
    name = key(who)
    assert redis.keys() == [name] and redis.r.type(name) == "hash"
    record = redis.r.hgetall(name)
    assert record["v"] == "1" and record["id"] == who.consent()["id"] and record["site"] == "test"
    assert record["seq"] == "1" and record["policy"] == "2024-03-15" and record["method"] == "api"
    assert record["granted"] == "statistics" and record["refused"] == "marketing"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", record["at"]) and record["expires"] > record["at"]
    assert set(record) <= {"v", "id", "site", "seq", "policy", "granted", "refused", "at", "expires", "signals", "method",
                           "region", "age", "age_at", "age_proof", "restricted", "change", "proof"}
    for name in ("signals", "age", "restricted", "region"):
        assert name not in record, "a field is written only when set"
    assert 181 * 86400 < redis.r.ttl(key(who)) <= 400 * 86400


def test_seq_grows_with_each_choice(serve, redis):
    who = granted(serve(site()))
    name = key(who)
    for i, choice in enumerate((False, True, False), 2):
        who.choose(statistics=choice)
        assert redis.r.hget(name, "seq") == str(i)
    assert len(redis.keys()) == 1


def test_fields_of_the_operator_survive_a_choice(serve, redis):
    who = granted(serve(site()))
    redis.cli("HSET", key(who), "note", "called on Monday", "restricted", "1")
    who.choose(preferences=True)
    record = redis.r.hgetall(key(who))
    assert record["note"] == "called on Monday" and record["restricted"] == "1"


@pytest.mark.asan
def test_the_operator_marks_a_child(serve, server, redis):
    here, there = serve(site()), serve(site(), server=OTHER[server])
    who = granted(here)
    who.post_json("/privacy/age", {"birth_date": "1990-01-01"})
    assert who.get("/account/").status == 200
    redis.cli("HSET", key(who), "age", "under:13")
    assert who.get("/account/").status == 403 and who.allowed() == {"necessary"}
    elsewhere = Visitor(there)
    elsewhere.jar = who.jar
    assert elsewhere.get("/account/").status == 403
    who.post_json("/privacy/age", {"birth_date": "1990-01-01"})
    assert who.get("/account/").status == 403, "the child cannot answer again"


@pytest.mark.asan
def test_the_operator_refuses(serve, redis, upstream):
    who = granted(serve(site()), statistics=True, marketing=True)
    redis.cli("HSET", key(who), "refused", "marketing")
    assert "marketing" not in who.allowed() and "statistics" in who.allowed()
    redis.cli("HSET", key(who), "restricted", "1")
    assert who.consent()["purposes"]["statistics"]["reason"] == "restricted"


@pytest.mark.asan
def test_the_operator_deletes_the_record(serve, server, redis):
    here, there = serve(site()), serve(site(), server=OTHER[server])
    who = granted(here, statistics=True, marketing=False)
    redis.cli("DEL", key(who))
    for run in (here, there):
        elsewhere = Visitor(run)
        elsewhere.jar = dict(who.jar)
        purposes = elsewhere.consent()["purposes"]
        assert not purposes["statistics"]["allowed"], "an absent record cancels the grants"
        assert purposes["marketing"]["reason"] == "refused", "and never the refusals"


@pytest.mark.asan
def test_hand_edits_never_add(serve, redis):
    who = granted(serve(site()), preferences=True)
    name = key(who)
    before = redis.r.hgetall(name)
    edits = [{"granted": "preferences,statistics,marketing"}, {"granted": "statistics"},
             {"granted": "preferences,statistics", "proof": before["proof"] + "x"}, {"proof": ""},
             {"expires": "2099-01-01T00:00:00Z"}, {"policy": "2030-01-01"}, {"at": "2025-01-01T00:00:00Z"},
             {"signals": "gpc,dnt"}, {"age": "ok:99"}, {"age": "ok:18,parental:18"}, {"seq": "999"}]
    for edit in edits:
        redis.cli("HSET", name, *[x for pair in edit.items() for x in pair])
        allowed = who.allowed()
        assert allowed <= {"necessary", "preferences", "security"}, edit
        assert who.consent()["age"] == "unknown", edit
        redis.r.delete(name)
        redis.r.hset(name, mapping=before)
        assert "preferences" in who.allowed()


def test_another_visitors_record_under_my_key(serve, redis):
    run = serve(site())
    rich, poor = granted(run, statistics=True, marketing=True), granted(run, preferences=True)
    theirs = redis.r.hgetall(key(rich))
    mine = key(poor)
    redis.r.delete(mine)
    redis.r.hset(mine, mapping=theirs)
    assert poor.allowed() <= {"necessary", "preferences", "security"}
    redis.r.hset(mine, "id", mine[-27:-1])
    assert poor.allowed() <= {"necessary", "preferences", "security"}


@pytest.mark.parametrize("field,value", [("seq", "x"), ("v", "2"), ("granted", "sta tistics"), ("at", "yesterday"),
                                         ("expires", "\x00\xff"), ("refused", "x" * 5000), ("age", "under:x")])
def test_unreadable_records(serve, redis, field, value):
    who = granted(serve(site()), statistics=True, marketing=False)
    redis.r.hset(key(who), field, value)
    answer = who.get("/x")
    assert answer.status == 200
    assert "marketing" not in who.allowed() and "security" in who.allowed()
    if field not in ("refused", "age"):
        assert "statistics" not in who.allowed()


def test_an_unreadable_record_is_read_for_what_lowers(serve, redis):
    who = granted(serve(site()))
    redis.cli("HSET", key(who), "seq", "many", "refused", "security", "age", "under:13")
    assert who.allowed() == {"necessary"} and who.get("/account/").status == 403


@pytest.mark.asan
@pytest.mark.parametrize("kind", ["string", "list", "stream"])
def test_a_key_of_another_type(serve, redis, kind):
    who = granted(serve(site()), statistics=True, marketing=False)
    name = key(who)
    redis.r.delete(name)
    {"string": lambda: redis.r.set(name, "x"), "list": lambda: redis.r.rpush(name, "x"),
     "stream": lambda: redis.r.xadd(name, {"a": "b"})}[kind]()
    assert "statistics" not in who.allowed() and who.get("/x").status == 200
    who.choose(preferences=True)
    assert redis.r.type(name) == "hash" and "preferences" in who.allowed()


def test_a_hand_made_key_gets_a_ttl(serve, redis):
    run = serve(site())
    who = granted(run)
    name = key(who)
    redis.cli("DEL", name)
    redis.cli("HSET", name, "age", "under:13")
    assert redis.r.ttl(name) == -1
    assert who.get("/account/").status == 403
    assert wait_for(lambda: redis.r.ttl(name) > 0, 3), "at first sight"


def test_a_token_from_before_the_store_is_adopted(serve, redis):
    """Made with store off: no record, flag unset. Its record is written at first sight."""
    run = serve(site())
    who = Visitor(run)
    who.token = token(run, id="abcdefghijklmnopqrstuvwxya", granted="statistics")
    assert "statistics" in who.allowed()
    name = "privacy:consent:{abcdefghijklmnopqrstuvwxya}"
    assert wait_for(lambda: redis.r.exists(name), 3) and redis.r.hget(name, "granted") == "statistics"
    assert redis.r.ttl(name) > 0 and "statistics" in who.allowed()


def test_a_token_that_says_stored_is_not_adopted(serve, redis):
    run = serve(site())
    who = Visitor(run)
    who.token = token(run, id="abcdefghijklmnopqrstuvwxya", granted="statistics", refused="marketing", stored="1")
    assert "statistics" not in who.allowed() and who.consent()["purposes"]["marketing"]["choice"] == "refused"


def test_a_newer_token_than_the_record(serve, redis):
    """Redis lost the last write; the visitor's own refusal has the higher seq and is written again."""
    who = granted(serve(site()), statistics=True)
    name = key(who)
    before = redis.r.hgetall(name)
    who.choose(statistics=False)
    redis.r.delete(name)
    redis.r.hset(name, mapping=before)
    assert "statistics" not in who.allowed()
    assert wait_for(lambda: redis.r.hget(name, "seq") == "2", 3)
    assert redis.r.hget(name, "refused") == "statistics"


def test_two_changes_at_once(serve, redis):
    """Ten choices from one visitor at the same moment: none is lost silently, seq counts those that were made."""
    from concurrent.futures import ThreadPoolExecutor
    who = granted(serve(site()))

    def change(i):
        mine = Visitor(who.site)
        mine.jar = dict(who.jar)
        return mine.post_json("/privacy/consent", {"purposes": {"preferences": bool(i % 2)}}).status

    with ThreadPoolExecutor(10) as pool:
        done = list(pool.map(change, range(10)))
    assert set(done) <= {200, 202, 503} and 200 in done
    assert int(redis.r.hget(key(who), "seq")) == 1 + done.count(200)


def test_records_of_another_policy(serve, redis):
    """Several policies, one Redis: a record of another id counts as absent."""
    who = granted(serve(site()))
    name = key(who)
    redis.r.hset(name, "site", "another")
    assert "statistics" not in who.allowed()
    other = Visitor(serve(site(policy=policy(policy={"id": "another"}))))
    other.jar = dict(who.jar)
    assert "statistics" not in other.allowed()


def test_another_prefix(serve, redis):
    run = serve(site(main={"store_prefix": "shop:"}, store="redis://admin@127.0.0.1:@redis@"))
    who = granted(run)
    assert redis.keys() == [f"shop:consent:{{{who.consent()['id']}}}"]


def test_another_database(serve, redis):
    import redis as client
    run = serve(site(store="redis://admin@127.0.0.1:@redis@/3"))
    granted(run)
    assert redis.keys() == [] and client.Redis("127.0.0.1", redis.port, db=3, username="admin", password="").dbsize() == 1


@pytest.mark.asan
def test_a_unix_socket(serve, redis):
    run = serve(site(store="redis+unix://@redis_socket@"))
    redis.r.execute_command("ACL", "SETUSER", "default", "on", "nopass")
    try:
        assert "statistics" in granted(run).allowed() and len(redis.keys()) == 1
    finally:
        redis.r.execute_command("ACL", "SETUSER", "default", "off")


def test_requests_without_a_token_ask_nothing(serve, redis):
    run = serve(site())
    refused = granted(run, statistics=False)
    granted(run).get("/x")  # the connection is up
    monitor = Monitor(redis)
    for _ in range(5):
        run.get("/x", "Cookie: _ga=1; session=2")
        refused.get("/x")
    assert not [l for l in monitor.lines() if "consent:" in l]
    monitor.close()


def test_privacyctl_and_the_servers_agree_on_records(serve, redis):
    run = serve(site())
    who = granted(run)
    name = who.consent()["id"]
    store = ["--store", f"redis://privacy-ops@127.0.0.1:{redis.port}", "--password-file", run.dir / "ops"]
    (run.dir / "ops").write_text("change-me-ops\n")
    (run.dir / "ops").chmod(0o600)
    both = ["--policy", run.dir / "policy.json", "--keys", run.dir / "keys", *store]
    assert json.loads(privacyctl("consent", "get", name, *both))["granted"] == "statistics"
    privacyctl("consent", "set", name, "marketing=grant", "statistics=refuse", *both)
    assert {"marketing"} <= who.allowed() and "statistics" not in who.allowed()
    privacyctl("age", name, "under:13", *both)
    assert who.get("/account/").status == 403
    privacyctl("age", name, "ok:18", *both)
    assert who.get("/account/").status == 200
    privacyctl("consent", "withdraw", name, *both)
    assert who.allowed() == {"necessary"}
    assert name in privacyctl("consent", "list", *both) and "records 1" in privacyctl("consent", "count", *both)
