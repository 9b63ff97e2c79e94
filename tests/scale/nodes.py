"""Connections and messages as nodes grow: 1, 2, 4 and 8 nodes of both servers, two workers each, before one Redis."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

import redis as redis_py  # noqa: E402

from harness import policies  # noqa: E402
from harness.client import Connection, Visitor  # noqa: E402
from harness.metrics import scrape  # noqa: E402
from harness.proc import BUILD, ROOT, remove, wait_for, work_dir  # noqa: E402
from harness.redisd import Redis  # noqa: E402
from harness.servers import Running, new_keys  # noqa: E402
from harness.site import Loc, Site  # noqa: E402

SIZES = (1, 2, 4, 8)
WORKERS = 2
CHANGES = 20
READS = 100
OWN = {"info", "client", "client|list", "auth", "hello", "select", "config", "config|resetstat", "acl"}  # what measuring sends


def client(server, db=0):
    return redis_py.Redis("127.0.0.1", server.port, db=db, username="admin", password="")


def site():
    nginx = "add_header X-State $privacy_state always;"
    httpd = 'Header always set X-State "%{PRIVACY_STATE}e"'
    return Site(Loc("/"), Loc("/metrics", exact=True, status=True), region=False, store="redis", workers=WORKERS,
                nginx=nginx, httpd=httpd, policy=policies.shipped())


def connections(server):
    """(command connections, links) of the nodes."""
    mine = [c for c in server.r.client_list() if c["user"] == "privacy"]
    links = sum(int(c["sub"]) > 0 for c in mine)
    return len(mine) - links, links


def commands(server):
    """{command: calls} that nodes sent since the last config resetstat."""
    return {k[8:]: v["calls"] for k, v in server.r.info("commandstats").items() if k[8:] not in OWN}


def everybody_asked(server, running, cookie):
    """Asks until each worker of each node has a connection of its own to Redis, or no more come."""
    def ask_all():
        for run in running:
            held = [Connection(run.port) for _ in range(8)]
            for conn in held:
                conn.send("GET", "/", [f"Host: {run.host}", f"Cookie: {run.cookie_name}={cookie}"])
            for conn in held:
                conn.read()
                conn.close()
        return connections(server)[0] >= WORKERS * len(running)
    return wait_for(ask_all, 4)


def state(run, cookie):
    return run.get("/", f"Cookie: {run.cookie_name}={cookie}").get("X-State")


def told(running):
    """Invalidations that each node has heard of."""
    return [scrape(run)("invalidations_total") for run in running]


def one_size(server, running, who, say, judge):
    n = len(running)
    cookie = who.token
    server.r.execute_command("HSET", *touch(who))  # what was cached is read anew, by every worker that is asked
    everybody_asked(server, running, cookie)
    wait_for(lambda: connections(server)[1] == n, 10)
    command, link = connections(server)
    judge(link == n and command <= WORKERS * n, f"{n} nodes: {command} command connections (at most one a worker), {link} links "
          "(one a node)")

    assert wait_for(lambda: all(state(run, cookie) == "cache" for run in running), 10), "a node does not cache"
    server.r.config_resetstat()
    for run in running:
        with Connection(run.port) as conn:
            for _ in range(READS):
                conn.request("GET", "/", [f"Host: {run.host}", f"Cookie: {run.cookie_name}={cookie}"])
    sent = commands(server)
    beat = sent.pop("subscribe", 0)
    judge(not sent, f"{n} nodes: {READS * n} requests of a cached visitor sent {sum(sent.values())} commands {sent or ''}(and "
          f"{beat} heartbeats of links)")

    server.r.config_resetstat()
    before = told(running)
    for i in range(CHANGES):
        who.choose(statistics=i % 2 == 0)
    wait_for(lambda: sum(told(running)) - sum(before) >= CHANGES * n, 5)
    heard = [b - a for a, b in zip(before, told(running))]
    sent = {k: v / CHANGES for k, v in commands(server).items() if k != "subscribe"}
    judge(all(CHANGES <= h <= CHANGES * 1.1 for h in heard),
          f"{n} nodes: a change is {sum(heard) / CHANGES:.2f} messages of invalidation, {sum(heard) / CHANGES / n:.2f} a node")
    say(f"{n} nodes: a change is, at the node where it is made, " + ", ".join(f"{v:.2f} {k}" for k, v in sorted(sent.items())))

    server.r.config_resetstat()
    for run in running:
        state(run, who.token)
    sent = {k: v for k, v in commands(server).items() if k != "subscribe"}
    say(f"{n} nodes: then one request at each sends " + ", ".join(f"{v} {k}" for k, v in sorted(sent.items())))


def touch(who):
    return f"privacy:consent:{{{who.consent()['id']}}}", "note", "1"


def measure(say, judge):
    server, running = Redis(), []
    try:
        keys = new_keys()
        fill = {"upstream": 9, "redis": server.port, "redis_password": server.password_file, "redis_socket": server.socket}
        for n in SIZES:
            while len(running) < n:
                running.append(Running(("nginx", "httpd")[len(running) % 2], site(), fill, keys))
            who = Visitor(running[0])
            who.choose(statistics=True, preferences=True)
            one_size(server, running, who, say, judge)
    finally:
        for run in running:
            run.close()
        server.close()
