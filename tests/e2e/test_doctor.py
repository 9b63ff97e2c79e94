"""privacyctl doctor: each defect between a node and its Redis is provoked, and found in words; a good Redis has none."""
import json
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

from harness.client import Visitor
from harness.ctl import privacyctl
from harness.proc import BUILD, free_port
from harness.redisd import PASSWORD, Redis
from harness.servers import new_keys
from harness.site import Loc, Site
from harness.topologies import Cluster, Sentinels

GOOD = ("--appendonly", "yes", "--hash-max-listpack-value", "128")
ID = "abcdefghijklmnopqrstuvwxya"


def ops_password(redis):
    path = redis.dir / "ops-password"
    path.touch(mode=0o600)
    path.write_text("change-me-ops\n")
    return path


def doctor(redis, *more, user="privacy-ops", port=None, password=None):
    """({check: [finding]}, exit status)"""
    password = password or (ops_password(redis) if user == "privacy-ops" else redis.password_file)
    done = privacyctl("doctor", "--json", "--store", f"redis://{user}@127.0.0.1:{port or redis.port}",
                      "--password-file", password, *more, check=False)
    found = {}
    for one in json.loads(done.stdout):
        found.setdefault(one["check"], []).append(one)
    return found, done.returncode


def wrong(found):
    return {check for check, all_ in found.items() if any(f["level"] == "wrong" for f in all_)}


@pytest.fixture(scope="module")
def good():
    server = Redis(*GOOD)
    yield server
    server.close()


@pytest.fixture
def sick(good):
    """The good Redis, whose settings and users are put back."""
    good.r.flushall()
    names = ("maxmemory-policy", "maxmemory", "appendonly", "hash-max-listpack-value", "maxclients")
    before = {n: good.r.config_get(n)[n] for n in names}
    yield good
    for name, value in before.items():
        good.r.config_set(name, value)
    good.r.execute_command("REPLICAOF", "NO", "ONE")
    good.r.execute_command("ACL", "LOAD")
    good.r.connection_pool.disconnect()  # Redis ends connections when it loads its users anew


@pytest.mark.parametrize("user", ["privacy-ops", "privacy"])
def test_a_good_redis(good, user):
    found, status = doctor(good, user=user)
    assert status == 0 and wrong(found) == set()
    assert found["link"][0]["level"] == found["permissions"][0]["level"] == "ok"
    unseen = {c for c, all_ in found.items() if all_[0]["level"] == "unseen"}
    if user == "privacy-ops":
        assert unseen == set(), "the operator's user sees everything"
        assert {"connection", "version", "role", "eviction", "memory", "persistence", "clock", "records"} <= set(found)
    else:  # the least that a node may do; what it may not see it says
        assert {"eviction", "persistence", "clock", "records"} <= unseen


def test_in_words(sick):
    sick.r.config_set("maxmemory-policy", "allkeys-lru")
    done = privacyctl("doctor", "--store", f"redis://privacy-ops@127.0.0.1:{sick.port}", "--password-file",
                      ops_password(sick), check=False)
    assert done.returncode == 1 and done.stderr == ""
    assert re.search(r"^wrong   eviction: maxmemory-policy is allkeys-lru\.\n        When memory runs short .*\n"
                     r"        Mend: redis-cli CONFIG SET maxmemory-policy noeviction", done.stdout, re.M), done.stdout
    assert done.stdout.splitlines()[-1] == "1 wrong, 0 could not be seen"
    assert "change-me" not in done.stdout


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "volatile-lru", "allkeys-random"])
def test_eviction_and_what_mends_it(sick, policy):
    sick.r.config_set("maxmemory-policy", policy)
    found, status = doctor(sick)
    assert status == 1 and wrong(found) == {"eviction"} and policy in found["eviction"][0]["what"]
    command = re.match(r"redis-cli (CONFIG SET \S+ \S+),", found["eviction"][0]["mend"]).group(1)
    sick.r.execute_command(*command.split())
    assert doctor(sick)[1] == 0


def test_memory_is_nearly_full(sick):
    used = sick.r.info("memory")["used_memory"]
    sick.r.config_set("maxmemory", int(used * 1.02))
    found, status = doctor(sick)
    assert status == 1 and wrong(found) == {"memory"}


def test_persistence_is_off(sick):
    sick.r.config_set("appendonly", "no")
    found, status = doctor(sick)
    assert status == 1 and wrong(found) == {"persistence"} and "appendonly yes" in found["persistence"][0]["mend"]


def test_the_last_snapshot_failed():
    server = Redis(*GOOD)
    try:
        (server.dir / "var" / "dump.rdb").unlink(missing_ok=True)
        (server.dir / "var" / "dump.rdb").mkdir()  # nothing can be renamed to it
        (server.dir / "var" / "dump.rdb" / "x").write_text("")
        server.r.bgsave()
        for _ in range(200):
            if server.r.info("persistence")["rdb_last_bgsave_status"] != "ok":
                break
            time.sleep(0.05)
        found, status = doctor(server)
        assert status == 1 and "snapshot" in wrong(found)
    finally:
        server.close()


@pytest.mark.parametrize("without,command", [
    ("-hgetall", "HGETALL"), ("-evalsha", "EVALSHA"), ("-hset", "HSET"), ("-del", "DEL"), ("-expireat", "EXPIREAT"),
    ("-expire", "EXPIRE"), ("-hdel", "HDEL"), ("-exists", "EXISTS"), ("-get", "GET"), ("-role", "ROLE"),
    ("-client|id", "CLIENT ID"), ("-client|tracking", "CLIENT TRACKING"), ("-subscribe", "SUBSCRIBE")])
@pytest.mark.parametrize("who", ["node", "ops"])
def test_permissions_of_the_node(sick, without, command, who):
    """The same, asked by the node's own user and by the operator's."""
    sick.r.execute_command("ACL", "SETUSER", "privacy", without)
    found, status = doctor(sick, user="privacy" if who == "node" else "privacy-ops")
    said = [f for f in found["permissions"] if f["level"] == "wrong"]
    assert status == 1 and len(said) == 1 and said[0]["what"].endswith(f" may not {command}.")
    assert "+" + without[1:] in said[0]["mend"] and said[0]["why"].startswith("Then ")
    link = without in ("-client|id", "-client|tracking", "-subscribe") and who == "node"
    assert wrong(found) == ({"permissions", "link"} if link else {"permissions"})
    if link:
        assert command in [f for f in found["link"] if f["level"] == "wrong"][0]["what"]


def test_other_keys_and_channels(sick):
    sick.r.execute_command("ACL", "SETUSER", "privacy", "resetkeys", "~elsewhere:*", "resetchannels")
    found, status = doctor(sick)
    said = {f["what"].split(" may not ")[1] for f in found["permissions"] if f["level"] == "wrong"}
    assert status == 1 and {"HGETALL.", "HSET.", "SUBSCRIBE."} <= said and "PING." not in said
    assert doctor(sick, "--prefix", "elsewhere:", user="privacy")[1] == 1, "the channel alone is missing"


def test_a_node_without_scripts(sick):
    sick.r.execute_command("ACL", "SETUSER", "privacy", "-eval")
    found, status = doctor(sick, user="privacy")
    assert status == 1 and any("may not EVAL" in f["what"] for f in found["permissions"])
    assert any(f["level"] == "unseen" for f in found["permissions"])


def test_a_default_user_that_may_nothing(sick):
    sick.r.execute_command("ACL", "SETUSER", "default", "off", "resetkeys", "-@all")
    found, status = doctor(sick)
    assert status == 1 and wrong(found) == {"append-only file"} and "after a restart" in found["append-only file"][0]["why"]
    assert doctor(sick, user="privacy")[1] == 0, "a node's user may not see it"


def test_the_user_of_the_nodes_by_name(sick):
    found, status = doctor(sick, "--node-user", "nobody-at-all")
    assert status == 1 and "no user nobody-at-all" in found["permissions"][0]["what"]
    sick.r.execute_command("ACL", "SETUSER", "web", "on", ">x", "~privacy:*", "+@all", "&*", "-hset")
    found, status = doctor(sick, "--node-user", "web")
    assert status == 1 and "web may not HSET" in found["permissions"][0]["what"]
    found, status = doctor(sick, "--node-user", "web", user="privacy")
    assert found["permissions"][0]["level"] == "unseen" and "DRYRUN" in found["permissions"][0]["what"]


def test_a_replica(sick):
    sick.r.execute_command("REPLICAOF", "127.0.0.1", "1")
    for user in ("privacy", "privacy-ops"):
        found, status = doctor(sick, user=user)
        assert status == 1 and "role" in wrong(found)
        assert found["role"][0]["what"] == "This is a replica of 127.0.0.1:1."


def test_records_that_are_not_packed(sick):
    long = ",".join(f"purpose-{i}" for i in range(10))
    sick.r.config_set("hash-max-listpack-value", "64")
    sick.r.hset(f"privacy:consent:{{{ID}}}", mapping={"id": ID, "refused": long})
    sick.r.hset(f"privacy:consent:{{{ID[:-1]}q}}", mapping={"id": ID, "refused": "marketing"})
    found, status = doctor(sick)
    assert status == 1 and wrong(found) == {"record size"} and "1 of 2 records" in found["record size"][0]["what"]
    sick.r.config_set("hash-max-listpack-value", "128")
    sick.r.delete(f"privacy:consent:{{{ID}}}")
    sick.r.hset(f"privacy:consent:{{{ID}}}", mapping={"id": ID, "refused": long})
    assert doctor(sick)[1] == 0


@pytest.mark.stores("redis")
def test_keys_of_another_node(serve, redis):
    run = serve(Site(Loc("/")), fresh=True)
    who = Visitor(run)
    who.choose(statistics=True)
    policy, keys = run.dir / "policy.json", run.dir / "keys"
    found, _ = doctor(redis, "--policy", policy, "--keys", keys)
    assert found["keys"][0]["level"] == "ok" and "all of 1 records" in found["keys"][0]["what"]
    other = run.dir / "other-keys"
    other.touch(mode=0o600)
    other.write_text(new_keys())
    found, status = doctor(redis, "--policy", policy, "--keys", other)
    assert status == 1 and "1 of 1 records of test have grants" in found["keys"][0]["what"]


def test_no_redis_no_login(good):
    def said(url, *more):
        done = privacyctl("doctor", "--store", url, *more, check=False)
        assert done.returncode == 1, done.stdout
        return done.stdout
    out = said(f"redis://127.0.0.1:{free_port()}")
    assert "wrong   connection: Redis at 127.0.0.1:" in out and "Connection refused" in out and "start Redis" in out
    assert "does not accept the user or the password" in said(
        f"redis://privacy@127.0.0.1:{good.port}", "--password-file", ops_password(good))
    assert "asks for a password" in said(f"redis://127.0.0.1:{good.port}")
    assert "No such file" in said("redis+unix:///nowhere/at/all.sock")
    done = privacyctl("doctor", "--store", "http://x", check=False)
    assert done.returncode == 1 and "privacy_store must be" in done.stderr
    assert privacyctl("doctor", check=False).returncode == 1
    assert PASSWORD not in out


# ---- what a real Redis does not do on demand: a Redis in between that answers some commands itself

class Between:
    def __init__(self, target, answers=None, delay=0.0):
        self.target, self.answers, self.delay = target, answers or {}, delay
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    @staticmethod
    def _read(f):
        """One value as raw bytes, and as words if it is a command."""
        line = f.readline()
        if not line:
            return b"", []
        if line[:1] == b"$" and int(line[1:]) >= 0:
            body = f.read(int(line[1:]) + 2)
            return line + body, [body[:-2]]
        if line[:1] == b"*":
            raw, words = line, []
            for _ in range(max(int(line[1:]), 0)):
                more, word = Between._read(f)
                raw, words = raw + more, words + word
            return raw, words
        return line, []

    def _serve(self, client):
        with client, socket.create_connection(("127.0.0.1", self.target)) as redis:
            asked, answered = client.makefile("rb"), redis.makefile("rb")
            while True:
                raw, words = self._read(asked)
                if not raw:
                    return
                name = b" ".join(words[:2]).decode("latin-1").upper()
                own = next((v for k, v in self.answers.items() if name.startswith(k)), None)
                redis.sendall(raw)
                reply, _ = self._read(answered)
                time.sleep(self.delay)
                client.sendall(own(reply) if callable(own) else own if own is not None else reply)

    def close(self):
        self.sock.close()


def bulk(text):
    return b"$%d\r\n%s\r\n" % (len(text), text)


@pytest.mark.parametrize("name,answer,check,words", [
    ("TIME", lambda _: b"*2\r\n" + bulk(b"%d" % (time.time() + 60)) + bulk(b"0"), "clock", "ahead of"),
    ("TIME", lambda _: b"*2\r\n" + bulk(b"%d" % (time.time() - 5)) + bulk(b"999999"), "clock", "behind"),
    ("INFO SERVER", bulk(b"# Server\r\nredis_version:6.2.14\r\n"), "version", "6.2.14"),
    ("INFO CLIENTS", bulk(b"connected_clients:9900\r\nmaxclients:10000\r\n"), "connections", "9900 of 10000"),
    ("INFO PERSISTENCE", bulk(b"loading:1\r\naof_enabled:1\r\n"), "loading", "loading"),
    ("INFO PERSISTENCE", bulk(b"aof_enabled:1\r\naof_last_write_status:err\r\n"), "append-only file", "failed"),
])
def test_defects_that_are_played(good, name, answer, check, words):
    between = Between(good.port, {name: answer})
    try:
        found, status = doctor(good, port=between.port)
        assert status == 1 and wrong(found) == {check} and words in found[check][0]["what"]
    finally:
        between.close()


@pytest.mark.parametrize("name,answer,check", [
    ("TIME", b"*2\r\n$3\r\nabc\r\n$1\r\n0\r\n", "clock"), ("TIME", b":5\r\n", "clock"), ("TIME", b"*0\r\n", "clock"),
    ("TIME", b"*2\r\n" + bulk(b"9" * 18) + bulk(b"0"), "clock"),
    ("ROLE", b"*1\r\n$5\r\nslave\r\n", "role"), ("ROLE", b"+master\r\n", "role"), ("ROLE", b"$-1\r\n", "role"),
    ("INFO MEMORY", b"*0\r\n", "eviction"), ("INFO MEMORY", bulk(b"nonsense"), "eviction"),
])
def test_answers_that_make_no_sense_are_not_seen(good, name, answer, check):
    between = Between(good.port, {name: answer})
    try:
        found, status = doctor(good, port=between.port)
        assert found[check][0]["level"] == "unseen" and wrong(found) == set() and status == 0
    finally:
        between.close()


def test_a_slow_redis(good):
    between = Between(good.port, delay=0.08)
    try:
        found, status = doctor(good, port=between.port)
        assert status == 1 and wrong(found) == {"connection"} and "raise privacy_store_timeout" in found["connection"][0]["mend"]
    finally:
        between.close()


# ---- several Redis

@pytest.fixture(scope="module")
def cluster():
    server = Cluster()
    for node in server.nodes:
        for name, value in (("appendonly", "yes"), ("hash-max-listpack-value", "128")):
            node.r.config_set(name, value)
    yield server
    server.close()


def at_cluster(cluster, *more):
    path = ops_password(cluster.nodes[0])
    done = privacyctl("doctor", "--store", cluster.url.replace("privacy@", "privacy-ops@"), "--password-file", path, *more, check=False)
    return done.stdout, done.returncode


def test_each_primary_of_a_cluster(cluster):
    out, status = at_cluster(cluster)
    assert status == 0, out
    for node in cluster.primaries():
        assert f"\n127.0.0.1:{node.port}\n" in "\n" + out
    assert out.count("role: This is a primary.") == 3 and out.count("link: Redis pushes changes") == 3
    sick = cluster.primaries()[1]
    sick.r.config_set("maxmemory-policy", "allkeys-lru")
    try:
        out, status = at_cluster(cluster, "--json")
        found = [f for f in json.loads(out) if f["level"] == "wrong"]
        assert status == 1 and [(f["check"], f["redis"]) for f in found] == [("eviction", f"127.0.0.1:{sick.port}")]
    finally:
        sick.r.config_set("maxmemory-policy", "noeviction")


@pytest.mark.parametrize("without,command", [("-cluster|slots", "CLUSTER SLOTS"), ("-asking", "ASKING")])
def test_permissions_in_a_cluster(cluster, without, command):
    sick = cluster.primaries()[0]
    sick.r.execute_command("ACL", "SETUSER", "privacy", without)
    try:
        out, status = at_cluster(cluster, "--json")
        found = [f for f in json.loads(out) if f["level"] == "wrong"]
        assert status == 1 and [(f["what"], f["redis"]) for f in found] == [
            (f"privacy may not {command}.", f"127.0.0.1:{sick.port}")]
        assert "+" + without[1:] in found[0]["mend"]
    finally:
        sick.r.execute_command("ACL", "SETUSER", "privacy", "+" + without[1:])


def test_records_of_a_cluster(cluster):
    for i in range(30):
        key = f"privacy:consent:{{{i:02d}{ID[2:]}}}".replace("0", "x").replace("1", "y").replace("8", "z").replace("9", "w")
        cluster.owner(key).r.hset(key, mapping={"refused": "marketing"})
    out, status = at_cluster(cluster)
    assert status == 0 and re.search(r"record size: All of \d\d records looked at are list-packed", out), out


def test_watch_follows_every_primary(cluster):
    path = ops_password(cluster.nodes[0])
    popen = subprocess.Popen([BUILD / "privacyctl", "watch", "--store", cluster.url.replace("privacy@", "privacy-ops@"),
                              "--password-file", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert "(and 2 more)" in popen.stderr.readline()
        owners = set()
        for letter in "abcdefghijkl":
            visitor = letter * 25 + "a"
            key = f"privacy:consent:{{{visitor}}}"
            owners.add(cluster.owner(key).port)
            cluster.owner(key).r.hset(key, mapping={"refused": "marketing", "seq": "3"})
            line = popen.stdout.readline()
            assert f" {visitor} refused marketing; seq 3" in line
        assert len(owners) == 3
    finally:
        popen.send_signal(signal.SIGINT)
        assert popen.wait(10) == 0


def test_through_sentinels():
    sentinels = Sentinels()
    try:
        for node in sentinels.redises:
            node.r.config_set("appendonly", "yes")
        path = ops_password(sentinels.redises[0])
        done = privacyctl("doctor", "--json", "--store", sentinels.url.replace("privacy@", "privacy-ops@"), "--password-file", path,
                          check=False)
        found = json.loads(done.stdout)
        assert done.returncode == 0 and {f["redis"] for f in found} == {f"127.0.0.1:{sentinels.redises[0].port}"}
    finally:
        sentinels.close()
