"""What goes wrong: on the way to Redis, in Redis, in the servers. Each injector is a thread; `count` says what struck."""
import os
import random
import signal
import threading
import time
from collections import Counter

import redis as redis_py

from harness.faultproxy import COMMANDS, LINK
from harness.proc import wait_for

# Weights. What strikes one reply, request or connection of a node's proxy.
ON_COMMANDS = {"delay": 6, "stall": 3, "half": 3, "cut": 8, "truncate": 5, "garble": 5, "huge": 4, "desync": 5, "lost": 8, "torn": 5,
               "late": 6, "refuse": 3, "mute": 2, "text:-LOADING Redis is loading the dataset in memory": 3,
               "text:-READONLY You can't write against a read only replica.": 3}
ON_LINK = {"delay": 3, "stall": 2, "half": 2, "cut": 5, "truncate": 3, "garble": 3, "huge": 2, "desync": 3, "lost": 3, "torn": 2,
           "late": 2, "refuse": 2, "mute": 1, "text:-LOADING Redis is loading the dataset in memory": 1,
           "text:-READONLY You can't write against a read only replica.": 1}


def name(mode):
    return mode.split(" ")[0].replace("text:", "")


class Injector(threading.Thread):
    def __init__(self, title, fleet, seed, stop, enough=None):
        super().__init__(name=title, daemon=True)
        self.fleet, self.random, self.stop, self.enough = fleet, random.Random(seed), stop, enough
        self.count = Counter()
        self.problem = None

    def run(self):
        try:
            while not self.stop.is_set() and not (self.enough and self.enough()):
                self.strike()
        except Exception as why:
            self.problem = why
            self.stop.set()
        finally:
            self.heal()

    def heal(self):
        """Nothing is left broken."""

    def sleep(self, least, most):
        self.stop.wait(self.random.uniform(least, most))

    def pick(self, weights):
        return self.random.choices(list(weights), list(weights.values()))[0]


class ProxyFaults(Injector):
    """Single faults on one node's way to Redis, each waited for until it strikes."""

    def __init__(self, node, *rest, **more):
        super().__init__(f"way of {node.name}", *rest, **more)
        self.node = node

    def strike(self):
        proxy = self.node.proxy
        kind = LINK if proxy.links() and self.random.random() < 0.25 else COMMANDS
        mode = self.pick(ON_LINK if kind == LINK else ON_COMMANDS)
        before = proxy.used[kind, mode]
        fault = proxy.inject(mode, kind, self.random.choice((0.02, 0.12, 0.3, 0.8)))
        struck = wait_for(lambda: proxy.used[kind, mode] > before or self.stop.is_set(), 0.5, 0.004)
        if not struck and proxy.withdraw(fault, kind):
            return
        self.count[f"{kind} {name(mode)}"] += 1
        # now and then one on the heels of the other, mostly time to recover
        self.sleep(0.0, 0.05) if self.random.random() < 0.2 else self.sleep(0.1, 0.7)

    def heal(self):
        for kind in (COMMANDS, LINK):
            self.node.proxy.single[kind].clear()
        self.node.proxy.cut_all()


class RedisFaults(Injector):
    """Redis itself: stopped, killed and started again, asleep, its clients thrown out."""

    def strike(self):
        kind = self.pick({"stop": 5, "kill": 2, "sleep": 3, "clients": 4})
        server = self.fleet.redis
        if kind == "stop":
            server.process.send(signal.SIGSTOP)
            self.sleep(0.02, 1.6)
            server.process.send(signal.SIGCONT)
        elif kind == "kill":
            server.stop()
            self.sleep(0.0, 1.2)
            server.start()
        elif kind == "sleep":
            try:
                server.r.execute_command("DEBUG", "SLEEP", f"{self.random.uniform(0.05, 0.7):.2f}")
            except redis_py.exceptions.RedisError:
                pass
        else:
            try:
                server.r.execute_command("CLIENT", "KILL", "TYPE", self.random.choice(("normal", "pubsub")), "SKIPME", "yes")
            except redis_py.exceptions.RedisError:
                pass
        self.count[f"redis {kind}"] += 1
        self.sleep(0.6, 3.0)

    def heal(self):
        if self.fleet.redis.process.alive():
            self.fleet.redis.process.send(signal.SIGCONT)
        else:
            self.fleet.redis.start()


class ServerFaults(Injector):
    """Workers killed and stopped, the holder of the link more often than others; reloads."""

    def strike(self):
        kind = self.pick({"kill": 4, "stop": 5, "reload": 1})
        node = self.random.choice(self.fleet.nodes)
        pids = node.workers()
        if not pids:
            self.sleep(0.1, 0.2)
            return
        holder = node.holder(set(node.proxy.links())) if node.proxy else None
        pid = holder if holder and self.random.random() < 0.6 else self.random.choice(pids)
        whom = "holder" if pid == holder else "worker"
        try:
            if kind == "kill":
                os.kill(pid, signal.SIGKILL)
            elif kind == "stop":
                os.kill(pid, signal.SIGSTOP)
                self.sleep(0.1, 1.6)
                os.kill(pid, signal.SIGCONT)
            else:
                whom = "server"
                node.process.send(signal.SIGHUP if node.server == "nginx" else signal.SIGUSR1)
        except ProcessLookupError:
            return
        self.count[f"{node.server} {whom} {kind}"] += 1
        self.sleep(0.8, 3.0) if kind != "reload" else self.sleep(2.0, 4.0)


class ReplicaFaults(Injector):
    """A primary killed, stopped until it was replaced, or replaced on purpose; then all is repaired."""

    def strike(self):
        kind = self.pick({"kill": 3, "hang": 3, "replace": 2})
        getattr(self.fleet.redis, kind)()
        self.count[f"primary {kind}"] += 1
        self.sleep(0.5, 2.0)
        self.fleet.redis.repair()
        self.sleep(0.5, 2.0)
