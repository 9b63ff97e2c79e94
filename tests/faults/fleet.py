"""Several nodes of both servers in front of one Redis, each with a proxy of its own on the way to it."""
import os
import re
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from harness import policies  # noqa: E402
from harness.client import Connection  # noqa: E402
from harness.faultproxy import FaultProxy  # noqa: E402
from harness.proc import wait_for  # noqa: E402
from harness.redisd import Redis  # noqa: E402
from harness.servers import Running, new_keys  # noqa: E402
from harness.site import Loc, Site  # noqa: E402

signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers are ended also when we are told to end

PURPOSES = ("preferences", "statistics", "marketing", "security")
CONSENT = PURPOSES[:3]  # what a grant opens; security rests on legitimate interests until it is objected to
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
TIMEOUT_MS = 100


def site(timeout_ms=TIMEOUT_MS, workers=2, store="redis", **main):
    """Pages that say what was decided about whoever asks, and from what."""
    fields = ("purposes", "state")
    nginx = "\n".join(f"add_header X-{f.capitalize()} $privacy_{f} always;" for f in fields)
    httpd = "\n".join(f'Header always set X-{f.capitalize()} "%{{PRIVACY_{f.upper()}}}e"' for f in fields)
    return Site(Loc("/"), region=False, store=store, workers=workers, nginx=nginx, httpd=httpd,
                policy=policies.policy(), main={"store_timeout": f"{timeout_ms}ms", **main})


class Node(Running):
    """One server. `alive` connections are kept by those who ask it."""

    def __init__(self, name, server, where, fill, keys_text, env):
        self.name, self.env = name, env
        super().__init__(server, where, fill, keys_text)

    def environment(self):
        return {**super().environment(), **self.env}


class Fleet:
    """`via` is the Redis port that nodes without a proxy use. With `url` (a topology of its own) there are no proxies."""

    def __init__(self, redis, nginx=2, httpd=2, workers=2, proxies=True, env=None, url=None, where=None):
        self.redis, self.nodes, self.proxies = redis, [], []
        keys = new_keys()
        where = where or site(workers=workers, store=url or "redis",
                              **({"store_password_file": str(redis.password_file)} if url else {}))
        self.down = {}  # node name -> pid of a worker that is stopped
        try:
            for server, count in (("nginx", nginx), ("httpd", httpd)):
                for i in range(count):
                    proxy = FaultProxy(redis.port) if proxies and not url else None
                    fill = {"upstream": 9, "redis": proxy.port if proxy else getattr(redis, "port", 0),
                            "redis_password": redis.password_file, "redis_socket": getattr(redis, "socket", "")}
                    node = Node(f"{server}-{i}", server, where, fill, keys, env or {})
                    node.proxy = proxy
                    self.nodes.append(node)
                    if proxy:
                        self.proxies.append(proxy)
        except BaseException:
            self.close()
            raise

    def well(self, timeout=15):
        """Every node decides with the store."""
        def probe(node):
            try:
                return "degraded" not in ask(node, None).get("X-State", "") and ready(node)
            except OSError:
                return False
        slow = [n.name for n in self.nodes if not wait_for(lambda n=n: probe(n), timeout)]
        assert not slow, f"these nodes did not come back to their store: {', '.join(slow)}"

    def linked(self, timeout=5):
        """Every node's link is up; needs proxies."""
        return wait_for(lambda: all(n.proxy.links() for n in self.nodes), timeout)

    def complaints(self, but=()):
        """Lines that no run may leave; a worker that we killed is none."""
        ours = re.compile("|".join(["exited on signal 9", r"exit signal Killed \(9\)", "did not exit",
                                    "long lost child came home", *but]))
        return [f"{n.name}: {l}" for n in self.nodes for l in n.complaints() if not ours.search(l)]

    def close(self):
        for node in self.nodes:
            for pid in node.workers():
                try:
                    os.kill(pid, signal.SIGCONT)
                except ProcessLookupError:
                    pass
            node.close()
        for proxy in self.proxies:
            proxy.close()


def ask(node, cookie, path="/", navigate=True, conn=None, timeout=10.0):
    """One page, as a browser navigates to it."""
    lines = [f"Host: {node.host}"]
    if navigate:
        lines += ["Sec-Fetch-Mode: navigate", "Sec-Fetch-Site: none", "Accept: text/html"]
    if cookie:
        lines.append(f"Cookie: {node.cookie_name}={cookie}")
    if conn is not None:
        return conn.request("GET", path, lines)
    with Connection(node.port, timeout=timeout) as own:
        return own.request("GET", path, [*lines, "Connection: close"])


def ready(node):
    """A refusal of nobody's is answered 200 only while the store answers."""
    with Connection(node.port) as conn:
        body = b'{"purposes":{"statistics":false}}'
        return conn.request("POST", "/privacy/consent", [f"Host: {node.host}", "Content-Type: application/json",
                                                         "Connection: close"], body).status == 200


def cookie_of(response, node):
    """Our cookie in this answer, or None."""
    got = response.set_cookies().get(node.cookie_name)
    return got[0] if got and got[0] else None


def decided(response):
    """(purposes that were allowed, what the decision rests on)."""
    allowed = response.get("X-Purposes") or ""
    return frozenset(p.strip() for p in allowed.split(",") if p.strip()), response.get("X-State") or ""


def now():
    return time.monotonic()


__all__ = ["CONSENT", "DURABLE", "Fleet", "Node", "PURPOSES", "Redis", "ask", "cookie_of", "decided", "now", "ready",
           "site"]
