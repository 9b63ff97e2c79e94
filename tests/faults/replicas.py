#!/usr/bin/env python3
"""What asynchronous replication loses, on Sentinel and on Cluster: choices that were acknowledged, then the primary is killed or
replaced. What Redis no longer holds is counted before any cookie is shown, then each cookie is shown once on the other server.

A refusal must hold wherever its cookie is shown, and be in Redis again; anything else that is lost is said, and counted. The last
line is `N passed, N failed`."""
import argparse
import json
import signal
import sys
import threading
import time

import redis as redis_py

from fleet import Fleet, ask, cookie_of, decided, now, site
from harness.client import Connection
from harness.proc import wait_for
from harness.topologies import Cluster, Sentinels


class Choice:
    """Of one visitor: what was acknowledged last, and when."""

    def __init__(self):
        self.cookie = self.id = None
        self.granted, self.refused = set(), set()
        self.acked = 0.0
        self.stored = True  # the last answer was 200, not 202


class Writer(threading.Thread):
    """New visitors who grant two things, and then refuse one of them, as fast as one node takes it."""

    def __init__(self, node, stop):
        super().__init__(daemon=True)
        self.node, self.stop = node, stop
        self.choices = []
        self.refusals = 0  # answered 503, 202 or not at all: not stored, and known not to be

    def send(self, who, purposes):
        body = json.dumps({"purposes": purposes}).encode()
        lines = [f"Host: {self.node.host}", "Content-Type: application/json", "Connection: close"]
        if who.cookie:
            lines.append(f"Cookie: {self.node.cookie_name}={who.cookie}")
        try:
            with Connection(self.node.port, timeout=10) as conn:
                answer = conn.request("POST", "/privacy/consent", lines, body)
        except OSError:
            return 0
        if answer.status in (200, 202):
            who.cookie = cookie_of(answer, self.node)
            who.id = who.cookie.split(".")[2]
            if answer.status == 200:
                who.acked = now()
        return answer.status

    def run(self):
        while not self.stop.is_set():
            who = Choice()
            if self.send(who, {"statistics": True, "preferences": True}) != 200:
                self.refusals += 1
                time.sleep(0.01)
                continue
            who.granted = {"statistics", "preferences"}
            status = self.send(who, {"statistics": False})
            if status in (200, 202):
                who.granted, who.refused, who.stored = {"preferences"}, {"statistics"}, status == 200
            elif status == 0:  # either
                continue
            self.choices.append(who)


def at_the_primary(store, visitor_id):
    try:
        return store.record(visitor_id)
    except (redis_py.exceptions.RedisError, LookupError):
        return None


class SentinelStore(Sentinels):
    title = "Sentinel"

    def holder(self, _):
        found = self.primary()
        if found is None:
            raise LookupError("no primary")
        return found

    def record(self, visitor_id):
        return self.holder(visitor_id).record(visitor_id)

    def cli(self, *words):
        return self.holder(words[1]).cli(*words)

    def kill(self):
        dead = self.primary()
        dead.stop()
        assert wait_for(lambda: self.primary() not in (None, dead), 30)

    def hang(self):
        hung = self.primary()
        hung.process.send(signal.SIGSTOP)
        def named(i):  # the sentinels' word alone: who hangs answers nothing
            return int(self.ask(i).sentinel_get_master_addr_by_name(self.name)[1])
        assert wait_for(lambda: all(named(i) != hung.port for i in range(3)), 20)
        hung.process.send(signal.SIGCONT)

    def replace(self):
        self.failover()


class ClusterStore(Cluster):
    title = "Cluster"

    def holder(self, key):
        found = self.owner(key)
        if found is None:
            raise LookupError("no primary")
        return found

    def record(self, visitor_id):
        return self.holder(f"privacy:consent:{{{visitor_id}}}").record(visitor_id)

    def cli(self, *words):
        return self.holder(words[1]).cli(*words)

    def kill(self):
        """Back only after its replica was promoted: started at once it would be a primary without records."""
        dead = self.primaries()[0]
        replica = self.replica_of(dead)
        dead.stop()
        assert wait_for(lambda: replica.r.role()[0] == "master", 30)

    def hang(self):
        hung = self.primaries()[0]
        replica = self.replica_of(hung)
        hung.process.send(signal.SIGSTOP)
        assert wait_for(lambda: replica.r.role()[0] == "master", 20)
        hung.process.send(signal.SIGCONT)

    def replace(self):
        self.failover(self.primaries()[0])


def experiment(store, fleet, how, seconds):
    """Returns a row of counts."""
    stop = threading.Event()
    writers = [Writer(node, stop) for node in fleet.nodes for _ in range(2)]
    for writer in writers:
        writer.start()
    time.sleep(seconds)
    print(f"    {sum(len(w.choices) for w in writers)} visitors; {store.title}: {how}", flush=True)
    struck = now()
    getattr(store, how)()
    time.sleep(0.5)
    stop.set()
    for writer in writers:
        writer.join(30)
    store.repair()
    print(f"    repaired after {now() - struck:.1f} s", flush=True)
    choices = [c for w in writers for c in w.choices]
    row = {"acknowledged": sum(c.stored for c in choices), "by cookie": sum(not c.stored for c in choices), "taken back": 0, "refusals gone": 0, "grants gone": 0, "oldest ms": 0.0, "later": 0,
           "broken": [], "degraded": 0, "restored": 0, "grants missing": 0}
    lost = []
    for who in choices:
        held = at_the_primary(store, who.id)
        assert held is not None, "no primary answers"
        if set(filter(None, held.get("refused", "").split(","))) >= who.refused and \
           set(filter(None, held.get("granted", "").split(","))) >= who.granted:
            continue
        lost.append(who)
        if not who.stored:
            continue  # Redis never had it, and that was said
        row["taken back"] += 1
        row["refusals gone"] += bool(who.refused - set(held.get("refused", "").split(",")))
        row["grants gone"] += bool(who.granted - set(held.get("granted", "").split(",")))
        if who.acked <= struck:
            row["oldest ms"] = max(row["oldest ms"], 1000 * (struck - who.acked))
        else:
            row["later"] += 1
    fleet.well(30)
    for who in choices:
        for node in (fleet.nodes[0], fleet.nodes[-1]):
            allowed, state = decided(ask(node, who.cookie))
            row["degraded"] += state == "degraded"
            if allowed & who.refused:
                row["broken"].append(f"{node.name} allows {', '.join(allowed & who.refused)} of {who.id} from {state}")
        row["grants missing"] += not who.granted <= allowed
    time.sleep(1)
    for who in lost:
        row["restored"] += bool(who.refused) and who.refused <= set((at_the_primary(store, who.id) or {}).get("refused", "").split(","))
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="of each way to lose a primary")
    parser.add_argument("--seconds", type=float, default=2.0, help="of choices before it is lost")
    args = parser.parse_args()
    results = []
    for kind in (SentinelStore, ClusterStore):
        store = kind()
        try:
            fleet = Fleet(store, 1, 1, 2, url=store.url,
                          where=site(timeout_ms=400, store=store.url, store_password_file=str(store.password_file)))
            try:
                fleet.well(30)
                for how in ("kill", "hang", "replace"):
                    for _ in range(args.rounds):
                        row = experiment(store, fleet, how, args.seconds)
                        good = not row["broken"]
                        results.append(good)
                        print(f"{'ok  ' if good else 'FAIL'} {store.title}, primary {how}: {row['acknowledged']} choices answered 200, "
                              f"{row['by cookie']} 202; {row['taken back']} of the former lost by Redis ({row['refusals gone']} refusals, {row['grants gone']} grants; oldest "
                              f"{row['oldest ms']:.0f} ms before it, {row['later']} answered later); cookies shown: "
                              f"{len(row['broken'])} refusals broken, {row['restored']} written again, "
                              f"{row['grants missing']} grants missing", flush=True)
                        for line in row["broken"][:5]:
                            print("    " + line)
            finally:
                fleet.close()
        finally:
            store.close()
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
