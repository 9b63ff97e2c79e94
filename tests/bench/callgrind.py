#!/usr/bin/env python3
"""User-space instructions a request costs: `callgrind.py nginx static known --top 30`.

One process under valgrind. Its counters are dumped, and so begin anew, when it enters a function that nothing but the
client's mark makes it enter: what stands between two marks are N requests and nothing of start-up. What the
invalidation link does meanwhile goes by time and not by requests, so it is taken out.
"""
import argparse
import os
import re
import signal
import subprocess
import sys
import time

import rig

MARK = {"nginx": "ngx_reopen_files", "httpd": "ap_send_error_response"}
BY_TIME = ("push_turn", "line_ready")  # core/redis/push.c: the link's timer and its answers
NOT_CODE = ("(below main)", "__libc_start_main", "main", "0x", "clone", "start_thread")
LINE = re.compile(r"^\s*([\d,]+) \([^)]*\)\s+(\S.*?)(?: \[([^\]]*)\])?$")


class Counted:
    """Instructions a request: `total`, and by function, itself and with what it calls."""

    def __init__(self, path, n):
        self.own, self.inclusive = annotated(path, False, n), annotated(path, True, n)
        self.link = sum(v for name, v in self.inclusive.items() if name in BY_TIME)
        self.total = self.own.pop("PROGRAM TOTALS") - self.link


def annotated(path, inclusive, n):
    done = subprocess.run(["callgrind_annotate", "--auto=no", "--threshold=100", "--show-percs=yes",
                           f"--inclusive={'yes' if inclusive else 'no'}", str(path)], capture_output=True, text=True, check=True)
    out = {}
    for line in done.stdout.splitlines():
        if found := LINE.match(line):
            name = found[2] if found[2] == "PROGRAM TOTALS" else found[2].rsplit(":", 1)[-1]
            name = name.split("'")[0]
            value = int(found[1].replace(",", "")) / n
            out[name] = max(out.get(name, 0), value) if inclusive else out.get(name, 0) + value
    if "PROGRAM TOTALS" not in out:
        raise SystemExit(f"callgrind_annotate said nothing that is understood:\n{done.stdout[:500]}{done.stderr[:500]}")
    return out


def total_of(path):
    """Instructions in a dump; None while it is being written."""
    found = re.search(rb"^totals: (\d+)$", path.read_bytes()[-4096:], re.M)
    return int(found[1]) if found else None


class Observed:
    """A peer under valgrind, and the marks between which it is counted."""

    def __init__(self, place, peer):
        self.file = place.dir / f"callgrind.{peer.server}.{peer.name}.{time.monotonic_ns()}"
        self.peer, self.dumps = peer, {}
        wrap = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={self.file}", f"--dump-before={MARK[peer.server]}"]
        self.server = rig.Server(place, peer, single=True, wrap=wrap, wait=90)

    def mark(self, client):
        """Returns the dump of what was done since the last mark."""
        if self.peer.server == "nginx":
            self.server.process.send(signal.SIGUSR1)
        else:
            client.ask(rig.request_bytes("/nothing-here"))
        for turn in range(1500):
            time.sleep(0.02)
            if self.peer.server == "nginx" and turn % 10 == 9:
                rig.Client(self.server.port).close()  # a signal just before it waits is seen when something happens
            fresh = {path: total for path in self.file.parent.glob(self.file.name + ".*")
                     if path not in self.dumps and (total := total_of(path))}
            if fresh:
                self.dumps |= fresh
                # a mark may be made twice, by the call of a library's function and by the function: the second is empty
                return max(fresh, key=fresh.get)
        raise AssertionError(f"no dump of callgrind\n{self.server.log()}")

    def count(self, requests):
        """requests: their bytes, in order, on one connection."""
        with rig.Client(self.server.port) as client:
            for one in requests[:20]:
                client.ask(one)
            self.mark(client)
            for one in requests:
                head, body = client.ask(one)
                if " 200 " not in head.split("\r\n", 1)[0] or not body:
                    raise AssertionError(f"not what is to be counted: {head}")
            return Counted(self.mark(client), len(requests))

    def stop(self):
        self.server.stop()


# ---- cases

TARGETS = {"static": "/page.html", "proxied": "/app/page"}
CASES = [(server, target, who) for server in ("nginx", "httpd") for target, who in
         (("static", "known"), ("proxied", "known"), ("static", "first"), ("static", "none"), ("static", "cold"))]


def tokens(server, n):
    """Cookies of n visitors who chose one after the other."""
    return [rig.visitor(server) for _ in range(n)]


def counted_case(place, server, target, who, n, gate=True):
    """What the peer spends on one request of this case. The bare server gets the same bytes."""
    store = who in ("known", "cold")
    path = TARGETS[target]
    native = rig.Server(place, rig.gate(server, store=store))  # visitors choose here, at natural speed
    try:
        owns = [""] if who == "none" else tokens(native, 1 if who == "known" else n + 20)
    finally:
        native.stop()
    observed = Observed(place, rig.gate(server, store=store) if gate else rig.bare(server))
    try:
        if who == "known" and gate:
            rig.settled(observed.server, owns[0])
        if who == "cold" and gate:
            warm_up(observed, path, owns[n:])
        return observed.count([rig.request_bytes(path, owns[i % len(owns)], gpc=i % 4 == 0) for i in range(n)])
    finally:
        observed.stop()


def warm_up(observed, path, owns):
    with rig.Client(observed.server.port) as client:
        for own in owns:
            client.ask(rig.request_bytes(path, own))


def difference(place, case, n):
    """(gate, bare): Counted."""
    return counted_case(place, *case, n), counted_case(place, *case, n, gate=False)


def table(gate, bare, top):
    """Where the gate's part goes: functions by what they spend themselves more than in the bare server."""
    more = {k: v - bare.own.get(k, 0) for k, v in gate.own.items() if k not in BY_TIME and not k.startswith(NOT_CODE)}
    rows = [f"{value:9.1f} {gate.inclusive.get(name, value) - bare.inclusive.get(name, 0):9.1f}  {name}"
            for name, value in sorted(more.items(), key=lambda item: -item[1])[:top]]
    return "\n".join(["     self inclusive", *rows])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server", choices=("nginx", "httpd"))
    parser.add_argument("target", choices=tuple(TARGETS))
    parser.add_argument("who", choices=("known", "first", "none", "cold"))
    parser.add_argument("-n", type=int, default=1000)
    parser.add_argument("--top", type=int, default=0)
    args = parser.parse_args()
    place = rig.Place()
    try:
        gate, bare = difference(place, (args.server, args.target, args.who), args.n)
    finally:
        place.close()
    print(f"gate {gate.total:,.0f}  bare {bare.total:,.0f}  difference {gate.total - bare.total:,.0f}  "
          f"(the link's, taken out: {gate.link:,.0f})")
    if args.top:
        print(table(gate, bare, args.top))
    return 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
