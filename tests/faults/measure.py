#!/usr/bin/env python3
"""How soon a withdrawal holds elsewhere, and what a stopped Redis costs: asked of the servers themselves, on one machine.

The last line is `N passed, N failed`; --strict asks for the targets of a quiet machine."""
import argparse
import os
import signal
import sys
import threading
import time

from fleet import DURABLE, Fleet, Redis, ask, decided, now, site
from harness.client import Connection
from harness.proc import wait_for
from scenarios import Actor

TIMEOUT_MS = 400


def quantile(values, q):
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]


class Poller(threading.Thread):
    """Asks one node for one cookie without a pause; notes when the purpose is first denied. anew: on a connection of its own each
    time, which a stopped worker does not accept."""

    def __init__(self, node, cookie, purpose, anew):
        super().__init__(daemon=True)
        self.node, self.cookie, self.purpose, self.anew = node, cookie, purpose, anew
        self.ready, self.denied, self.states = threading.Event(), None, set()
        self.asked = 0

    def run(self):
        deadline = now() + 10
        with Connection(self.node.port) as conn:
            while now() < deadline:
                try:
                    answer = ask(self.node, self.cookie, navigate=False, conn=None if self.anew else conn,
                                 timeout=0.3)
                except OSError:
                    continue
                allowed, state = decided(answer)
                self.asked += 1
                if self.purpose not in allowed:
                    self.denied = now()
                    return
                if state == "cache":
                    self.ready.set()


def withdrawals(fleet, here, others, count, disturb=None):
    """ms from the acknowledged withdrawal `here` to the first refusal at each of the others, by the older cookie."""
    took = []
    for _ in range(count):
        who = Actor(fleet)
        who.granted_at(here, statistics=True)
        cookie = who.cookie
        pollers = [Poller(node, cookie, "statistics", bool(disturb)) for node in others]
        for poller in pollers:
            poller.start()
        for poller in pollers:
            assert poller.ready.wait(10), f"{poller.node.name} does not decide from its cache"
        undo = disturb() if disturb else None
        status = who.choose_at(here, statistics=False)
        acked = now()
        assert status == 200, status
        for poller in pollers:
            poller.join(15)
            assert poller.denied, f"{poller.node.name} still allows it"
            took.append(1000 * max(0.0, poller.denied - acked))
        if undo:
            undo()
    return took


def stop_holder(node):
    """Stops the process that holds this node's link; returns what lets it go on."""
    pid = wait_for(lambda: node.holder(set(node.proxy.links())), 5)  # it may just be changing hands
    assert pid, f"{node.name} has no holder"
    os.kill(pid, signal.SIGSTOP)
    return lambda: os.kill(pid, signal.SIGCONT)


def waits(node, cookies, seconds, limit_ms):
    """Requests one after the other for so long: (how many, how many took longer than limit_ms, the longest)."""
    end, n, long, most = now() + seconds, 0, 0, 0.0
    while now() < end:
        cookie = next(cookies)
        began = now()
        answer = ask(node, cookie, navigate=False)
        took = 1000 * (now() - began)
        assert answer.status == 200
        n, most = n + 1, max(most, took)
        long += took > limit_ms
    return n, long, most


def stopped_redis(fleet, redis, how, seconds):
    """What a cached visitor and new ones wait on each node while Redis is stopped or killed."""
    rows = []
    for node in fleet.nodes:
        fleet.well()
        cached = Actor(fleet)
        cached.granted_at(fleet.nodes[0], statistics=True)
        cached.known_at(node)
        strangers = []
        for _ in range(40):
            who = Actor(fleet)
            who.granted_at(fleet.nodes[0] if node is not fleet.nodes[0] else fleet.nodes[-1], statistics=True)
            strangers.append(who.cookie)

        def forever(cookies):
            while True:
                yield from cookies
        if how == "stopped":
            redis.process.send(signal.SIGSTOP)
        else:
            redis.stop()
        try:
            known = waits(node, forever([cached.cookie]), seconds, TIMEOUT_MS / 2)
            fresh = waits(node, forever(strangers), seconds, TIMEOUT_MS / 2)
        finally:
            if how == "stopped":
                redis.process.send(signal.SIGCONT)
            else:
                redis.start()
        fleet.well()
        redis_first = None
        if how == "stopped":  # who comes first waits for the time-out, once for the zone
            redis.process.send(signal.SIGSTOP)
            try:
                redis_first = waits(node, forever(strangers), seconds, TIMEOUT_MS / 2)
            finally:
                redis.process.send(signal.SIGCONT)
        rows.append((node.name, known, fresh, redis_first))
    fleet.well()
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=150, help="withdrawals in each direction")
    parser.add_argument("--stops", type=int, default=4, help="of a holder, in each direction")
    parser.add_argument("--nodes", type=int, default=2, help="of each server")
    parser.add_argument("--seconds", type=float, default=1.6, help="of requests while Redis is away")
    parser.add_argument("--strict", action="store_true", help="fail where a target of a quiet machine is missed")
    args = parser.parse_args()
    results = []

    def check(good, text):
        results.append(bool(good))
        print(f"{'ok  ' if good else 'FAIL'} {text}", flush=True)

    redis = Redis(*DURABLE)
    try:
        for proxies in (False, True):
            fleet = Fleet(redis, args.nodes, args.nodes, 2, proxies=proxies, where=site(timeout_ms=TIMEOUT_MS))
            try:
                fleet.well()
                nginx, httpd = fleet.nodes[0], fleet.nodes[-1]
                if not proxies:
                    for here, name in ((nginx, "nginx"), (httpd, "httpd")):
                        took = withdrawals(fleet, here, [n for n in fleet.nodes if n is not here], args.count)
                        median, p99 = quantile(took, 0.5), quantile(took, 0.99)
                        check(median <= 5 and p99 <= 25 or not args.strict,
                              f"withdrawn at {name}, refused at the others ({len(took)}): median {median:.2f} ms, "
                              f"p99 {p99:.2f} ms, most {max(took):.2f} ms (targets 5 and 25)")
                    for how in ("stopped", "killed"):
                        for name, known, fresh, first in stopped_redis(fleet, redis, how, args.seconds):
                            check(known[1] == 0, f"Redis {how}, {name}: a cached visitor: {known[0]} requests, {known[1]} waited, "
                                                 f"longest {known[2]:.1f} ms")
                            check(fresh[1] == 0, f"Redis {how}, {name}: new ones once that is known: {fresh[0]} requests, "
                                                 f"{fresh[1]} waited, longest {fresh[2]:.1f} ms")
                            if first:
                                check(first[1] <= 1 and first[2] < 2 * TIMEOUT_MS,
                                      f"Redis {how}, {name}: new ones at once: {first[0]} requests, {first[1]} waited (1 may), "
                                      f"longest {first[2]:.1f} ms of {TIMEOUT_MS}")
                else:
                    for here, there in ((nginx, httpd), (httpd, nginx)):
                        took = withdrawals(fleet, here, [there], args.stops, lambda t=there: stop_holder(t))
                        check(max(took) <= 1000, f"holder stopped at {there.name}, withdrawn at {here.name}: refused after "
                                                 f"{', '.join(f'{t:.0f}' for t in took)} ms (target 1000)")
                complaints = fleet.complaints()
                check(not complaints, "the error logs" + "".join("\n    " + c for c in complaints))
            finally:
                fleet.close()
    finally:
        redis.close()
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
