"""Sentinel and Cluster: primaries are found, followed and changed under load, and no acknowledged choice is lost on the way."""
import signal
import threading
import time

import pytest

from harness.client import Visitor
from harness.ctl import privacyctl
from harness.proc import wait_for
from harness.site import Loc, Site
from harness.topologies import Cluster, Sentinels

pytestmark = pytest.mark.stores("topology")


def site(topology, workers=2, log=False, **main):
    return Site(Loc("/", proxy=True), Loc("/stats/", proxy=True, require="statistics"), store=topology.url,
                server={"limit": "off"}, workers=workers, log=log, main={"store_password_file": topology.password_file, "store_timeout": "2s", **main})


@pytest.fixture(scope="session")
def session_sentinels():
    out = Sentinels()
    yield out
    out.close()


@pytest.fixture
def sentinels(session_sentinels):
    session_sentinels.repair()
    yield session_sentinels


@pytest.fixture(scope="session")
def session_cluster():
    out = Cluster()
    yield out
    out.close()


@pytest.fixture
def cluster(session_cluster):
    session_cluster.repair()
    yield session_cluster


def choose(who, limit=20, **purposes):
    """Retried while the store is away; what was answered with 200 is stored."""
    def tried():
        return who.post_json("/privacy/consent", {"purposes": purposes}).status == 200
    assert wait_for(tried, limit), "the choice was not taken"


def ident(who):
    return who.token.split(".")[2]


def stored(topology, who):
    return (topology if isinstance(topology, Cluster) else topology.primary()).record(ident(who))


def follows(run, topology, limit=10):
    """The only worker sends choices to the primary that the sentinels name."""
    def written():
        who = Visitor(run)
        choose(who, statistics=True)
        return bool(topology.primary().record(ident(who)))
    assert wait_for(written, limit)


def test_sentinel_finds_and_follows_the_primary(serve, sentinels):
    run = serve(site(sentinels, workers=1), fresh=True)
    who = Visitor(run)
    choose(who, statistics=True)
    first = sentinels.primary()
    assert first.record(ident(who))["granted"] == "statistics"
    sentinels.processes[0].kill()  # any one alive suffices
    sentinels.processes[1].kill()
    choose(Visitor(run), statistics=True)
    sentinels.repair()
    sentinels.failover()
    second = sentinels.primary()
    assert second is not first
    follows(run, sentinels)
    choose(who, statistics=False, marketing=True)
    assert second.record(ident(who))["refused"] == "statistics"
    assert who.get("/stats/x").status == 403
    for process in sentinels.processes:
        process.kill()
    choose(who, statistics=True)  # none is left: the primary that is known stays in use
    assert second.record(ident(who))["granted"] == "statistics,marketing"


class Load(threading.Thread):
    """Visitors who change their mind all the time. Each change reads the record and writes it."""

    def __init__(self, visitors):
        super().__init__(daemon=True)
        self.visitors, self.failed, self.acknowledged, self.rounds = visitors, [], {}, 0
        self.done = threading.Event()

    def run(self):
        while not self.done.is_set():
            value = self.rounds % 2 == 1
            for who in self.visitors:
                answer = who.post_json("/privacy/consent", {"purposes": {"statistics": value}})
                if answer.status == 200:
                    self.acknowledged[who] = value
                else:
                    self.failed.append((ident(who), answer.status, answer.text))
            self.rounds += 1

    def __enter__(self):
        self.start()
        self.turns(1)
        return self

    def turns(self, n):
        """Every visitor has had n turns from now on."""
        until = self.rounds + n + 1
        assert wait_for(lambda: self.rounds >= until, 30), "the load stands still"

    def __exit__(self, *_):
        self.done.set()
        self.join(30)

    def nothing_lost(self, topology):
        assert len(self.acknowledged) == len(self.visitors)
        for who, value in self.acknowledged.items():
            record = stored(topology, who)
            assert record.get("granted" if value else "refused") == "statistics", (value, record)


def visitors(run, n):
    out = [Visitor(run) for _ in range(n)]
    for who in out:
        choose(who, statistics=True)
    return out


def test_a_cluster_moves_under_load(serve, cluster):
    run = serve(site(cluster), fresh=True)
    people = visitors(run, 9)
    while len({cluster.owner(f"privacy:consent:{{{ident(who)}}}") for who in people}) < 3:
        people += visitors(run, 1)
    key = f"privacy:consent:{{{ident(people[0])}}}"
    source = cluster.owner(key)
    target = next(p for p in cluster.primaries() if p is not source)
    slot = source.r.cluster("keyslot", key)
    with Load(people) as load:
        cluster.move_slot(slot, source, target, during=lambda: load.turns(1))  # ASK before, MOVED after
        load.turns(2)
        assert cluster.owner(key) is target
        promoted = cluster.failover(target)
        load.turns(2)
        assert wait_for(lambda: cluster.owner(key) is promoted, 10)
        load.turns(2)
    load.nothing_lost(cluster)
    assert load.failed == []


def test_a_dead_primary_of_a_cluster_keeps_only_its_own_records_away(serve, cluster):
    run = serve(site(cluster, store_timeout="300ms"), fresh=True)
    people = visitors(run, 12)
    while len({cluster.owner(f"privacy:consent:{{{ident(who)}}}") for who in people}) < 2:
        people += visitors(run, 1)
    dead = cluster.owner(f"privacy:consent:{{{ident(people[0])}}}")
    replica = cluster.replica_of(dead)
    others = [w for w in people if cluster.owner(f"privacy:consent:{{{ident(w)}}}") is not dead]
    theirs = [w for w in people if w not in others]
    assert others and theirs
    assert wait_for(lambda: dead.r.execute_command("WAIT", 1, 500) >= 1, 20)  # replication lags behind the answer
    with Load(others) as load:
        dead.stop()
        start = time.monotonic()
        assert theirs[0].post_json("/privacy/consent", {"purposes": {"marketing": True}}).status == 503
        for who in theirs:
            choose(who, marketing=True)
        took = time.monotonic() - start
        load.turns(2)
    assert load.failed == []
    load.nothing_lost(cluster)
    for who in theirs:
        assert stored(cluster, who)["granted"] == "statistics,marketing"
    assert replica.r.role()[0] == "master"
    assert took < 15


def test_a_killed_primary_of_sentinels_is_replaced(serve, sentinels):
    run = serve(site(sentinels, store_timeout="300ms"), fresh=True)
    people = visitors(run, 4)
    for who in people:
        choose(who, statistics=False)
    before = sentinels.primary()
    assert wait_for(lambda: before.r.execute_command("WAIT", 2, 500) == 2, 20)
    before.stop()
    assert wait_for(lambda: sentinels.primary() not in (None, before), 20)
    for who in people:
        assert sentinels.primary().record(ident(who))["refused"] == "statistics"
        choose(who, marketing=True)
        assert sentinels.primary().record(ident(who))["granted"] == "marketing"
    # What the fail-over lost, had it lost it: the record as it was before. The cookie's seq is higher.
    name = f"privacy:consent:{{{ident(people[0])}}}"
    token = people[0].token
    sentinels.primary().r.hset(name, mapping={"seq": 1, "refused": ""})
    other = serve(site(sentinels), fresh=True, server="httpd" if serve.server == "nginx" else "nginx")
    late = Visitor(other)
    late.token = token
    assert late.get("/stats/x").status == 403
    assert wait_for(lambda: sentinels.primary().record(ident(people[0])).get("refused") == "statistics", 10)


def test_privacyctl_goes_where_the_records_are(serve, sentinels, cluster):
    for topology in (sentinels, cluster):
        run = serve(site(topology), fresh=True)
        people = visitors(run, 4)
        password = run.dir / "ops"
        password.touch(mode=0o600)
        password.write_text("change-me-ops")
        options = ("--policy", run.dir / "policy.json", "--keys", run.dir / "keys", "--password-file", password,
                   "--store", topology.url.replace("privacy@", "privacy-ops@"))
        for who in people:
            privacyctl("consent", "withdraw", ident(who), *options)
            assert stored(topology, who)["refused"]
        counted = privacyctl("consent", "count", *options)
        total = sum(len(n.keys("privacy:consent:*")) for n in ([topology.primary()] if topology is sentinels
                                                               else cluster.primaries()))
        assert f"records {total}\n" in counted


def remembered(run, who):
    """The worker answers from its cache: everybody who could change the record is heard."""
    def seen():
        target = f"/x?{time.monotonic_ns()}"
        who.get(target)
        return run.logged(target)["state"] == "cache"
    assert wait_for(seen, 15), run.log()


def test_changes_are_heard_from_every_primary_and_its_successor(serve, sentinels, cluster):
    for topology in (sentinels, cluster):
        run = serve(site(topology, log=True), fresh=True)
        people = visitors(run, 6)

        def owner(who):
            return topology.primary() if topology is sentinels else cluster.owner(f"privacy:consent:{{{ident(who)}}}")
        while topology is cluster and len({owner(w) for w in people[2:]}) < 3:
            people += visitors(run, 1)

        def refused_at_once(who):
            remembered(run, who)
            assert who.get("/stats/x").status == 200
            owner(who).r.hset(f"privacy:consent:{{{ident(who)}}}", "refused", "statistics")
            assert wait_for(lambda: who.get("/stats/x").status == 403, 2, 0.005)
        for who in people[2:]:
            refused_at_once(who)
        before = owner(people[0])
        topology.failover() if topology is sentinels else topology.failover(before)
        assert wait_for(lambda: owner(people[0]) not in (None, before), 20)
        refused_at_once(people[0])


def test_a_grant_waits_for_replicas(serve, sentinels):
    run = serve(site(sentinels, store_wait="2", store_timeout="1s"), fresh=True)
    who = Visitor(run)
    choose(who, statistics=True)
    replicas = [s for s in sentinels.redises if s is not sentinels.primary()]
    assert all(s.record(ident(who))["granted"] == "statistics" for s in replicas)
    before = stored(sentinels, who)
    replicas[0].process.send(signal.SIGSTOP)
    try:
        answer = who.post_json("/privacy/consent", {"purposes": {"marketing": True}})
        assert answer.status == 503 and answer.all("Set-Cookie") == []
        assert stored(sentinels, who) == before, "taken back"
        assert "marketing" not in who.allowed() and "statistics" in who.allowed()
        answer = who.post_json("/privacy/consent", {"purposes": {"statistics": False}})
        assert answer.status == 202 and answer.json()["stored"] is False
        assert who.get("/stats/x").status == 403
    finally:
        replicas[0].process.send(signal.SIGCONT)
    choose(who, marketing=True)
    assert stored(sentinels, who)["granted"] == "marketing"
