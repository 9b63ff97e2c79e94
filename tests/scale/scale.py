#!/usr/bin/env python3
"""What records, visitors, hits and nodes cost: `scale.py --records 10000000`. The last line is `N passed, N failed`."""
import argparse
import json
import os
import re
import subprocess
import sys
import threading
import time
from statistics import median

import nodes
from nodes import BUILD, Loc, Redis, Running, Site, Visitor, new_keys, policies, remove, work_dir

BOUND_RECORD = 490  # bytes in Redis, TTL and tables included: see README
BOUND_VISITOR = 72
BOUND_HIT = 1.15    # processor time of a request that hits, at the most records against the fewest
SAMPLE = 400_000    # visitors who ask: their entries are more than a processor's own caches hold
started = time.monotonic()
failures = []
passed = 0


def say(text):
    print(f"[{time.monotonic() - started:5.0f} s] {text}", flush=True)


def judge(good, text):
    global passed
    passed += bool(good)
    if not good:
        failures.append(text)
    say(("ok: " if good else "NOT OK: ") + text)


class Tools:
    """The programs of this folder, which agree on the visitors by policy, keys and time."""

    def __init__(self):
        self.dir = work_dir("scale")
        self.keys = new_keys()
        (self.dir / "keys").touch(mode=0o600)
        (self.dir / "keys").write_text(self.keys)
        self.time = str(int(time.time()))
        self.policy = policies.shipped()
        for name in list(self.policy["purposes"])[6:]:
            del self.policy["purposes"][name]
            self.policy["cookies"].pop(name, None)
        (self.dir / "policy.json").write_text(json.dumps(self.policy, indent=1))  # as a server's own is written

    def run(self, name, *args, wrap=()):
        people = [] if name == "drive" else [self.dir / "policy.json", self.dir / "keys", self.time]
        argv = [*wrap, BUILD / "scale" / name, *people, *args]
        done = subprocess.Popen([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if name == "drive":
            pin(done.pid, os.cpu_count() - 1)
        lines = []
        for line in done.stdout:
            lines.append(line.rstrip())
            if line.startswith("  "):
                say(line.strip())
        if done.wait():
            raise SystemExit(f"{name} failed: {chr(10).join(lines)}")
        return lines

    def rows(self, name, *args, wrap=()):
        """Lines of name=number as dicts."""
        return [{k: float(v) for k, v in re.findall(r"(\w+)=([\d.]+)", line)}
                for line in self.run(name, *args, wrap=wrap) if line.startswith(("visitors=", "requests="))]


def pin(pid, processor):
    """Whoever is measured has a processor of its own, where there are several."""
    if os.cpu_count() > 1:
        os.sched_setaffinity(pid, {processor})


# ---- Redis

def records(tools, redis, sizes, until):
    """Loads more and more records; {size: bytes a record}."""
    say("Redis: are the records that are loaded those that the write script leaves?")
    tools.run("load", redis.socket, 0, 1000, "script")
    tools.run("load", redis.socket, 0, 1000)
    other = nodes.client(redis, db=1)
    keys = sorted(other.scan_iter("privacy:consent:*"))
    same = sum(other.dump(k) == nodes.client(redis).dump(k) for k in keys[:200])
    judge(len(keys) == 1000 and same == 200, f"{same} of 200 records equal the script's, byte for byte")
    redis.r.flushall()
    before, have, out = redis.r.info("memory")["used_memory"], 0, {}
    rate = 1e9
    for size in list(sizes):
        if time.monotonic() + (size - have) / rate > until:
            judge(False, f"this machine loads {rate:,.0f} records a second: {size:,} do not fit into the time (--minutes)")
            del sizes[sizes.index(size):]
            break
        began = time.monotonic()
        tools.run("load", redis.socket, have, size)
        rate, have = (size - have) / (time.monotonic() - began), size
        now = redis.r.info("memory")
        usages = sorted(redis.r.memory_usage(redis.r.randomkey(), samples=0) for _ in range(300))
        out[size] = (now["used_memory"] - before) / size
        say(f"Redis: {size:,} records take {out[size]:.0f} bytes each, {now['used_memory'] / 2**20:,.0f} MiB in all; MEMORY USAGE "
            f"{usages[0]} to {usages[-1]}, median {usages[150]}; encoding {redis.r.object('encoding', redis.r.randomkey())}")
        judge(redis.r.dbsize() == size and redis.r.info("keyspace")["db0"]["expires"] == size, "each of them has a TTL")
    key = redis.r.randomkey()
    fields = redis.r.hgetall(key)
    say(f"Redis: of {redis.r.memory_usage(key)} bytes, key {len(key)}, names of fields {sum(map(len, fields))}, values "
        f"{sum(map(len, fields.values()))}: " + ", ".join(f"{k} {len(v)}" for k, v in fields.items()))
    worst = max(out.values())
    judge(worst <= BOUND_RECORD, f"a record of six purposes takes at most {worst:.0f} bytes, TTL included (bound {BOUND_RECORD})")
    return out


# ---- shared memory and the core

def core(tools, sizes, rounds=12):
    say("cache: who stays in a zone of which size")
    for row in tools.rows("probe", "keep", min(sizes[-1], 1_000_000)):
        say(f"cache: {row['visitors']:,.0f} visitors in {row['zone'] / row['visitors']:.0f} bytes each: {row['kept']:.1%} stay")
        bytes_each = row["zone"] * 15 / 16 / row["entries"]
    judge(bytes_each < BOUND_VISITOR * 1.01, f"an entry takes {bytes_each:.1f} bytes of the zone")
    say("core: filling zones, then hits in turns")
    rows = tools.rows("probe", rounds, SAMPLE, *sizes)
    for row in rows:
        say(f"core: {row['visitors']:>12,.0f} visitors: a hit {row['hit']:.0f} ns (median {row['hit_median']:.0f}), of it the look "
            f"into the cache alone {row['cache']:.0f}, a bare read of 64 bytes {row['memory']:.0f}; {row['found']:.2%} hits")
    for size in (sizes[0], min(sizes[-1], 1_000_000)):
        out = tools.run("probe", 1, 10000, size, wrap=["valgrind", "--tool=callgrind", "--toggle-collect=hits",
                                                       f"--callgrind-out-file={tools.dir}/callgrind"])
        total = next(int(m.group(1)) for m in (re.search(r"Collected : (\d+)", line) for line in out) if m)
        say(f"core: {size:>12,} visitors: {total / 10000:.0f} instructions a hit")
    return rows


# ---- a real server

class Asking:
    """A visitor who keeps a server in need of its Redis, and so its link: nobody asks it while its zone is filled."""

    def __init__(self, run):
        self.who, self.done = Visitor(run), threading.Event()
        self.who.choose(statistics=True)
        self.thread = threading.Thread(target=self.ask, daemon=True)

    def ask(self):
        while not self.done.wait(3):
            self.who.choose(statistics=True)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


def server(tools, redis, sizes, requests=30_000, rounds=15):
    """nginx with one worker and a zone of each size, all of them before the same Redis: processor time of a hit."""
    runs, spent, plain = {}, {}, None
    here = {"redis": redis.port, "redis_password": redis.password_file, "redis_socket": redis.socket, "upstream": 9}
    common = dict(region=False, workers=1, policy=tools.policy, nginx_http="keepalive_requests 1000000000;",
                  nginx="add_header X-State $privacy_state;")
    try:
        for size in sizes:
            where = Site(Loc("/"), store="redis", main={"zone": f"privacy:{zone_for(size)}k"}, **common)
            run = Running("nginx", where, here, tools.keys)
            runs[size] = run, int(next(iter(run.children())))
            with Asking(run):
                tools.run("fill", run.process.pid, size, SAMPLE, tools.dir / f"cookies-{size}")
            say(f"nginx: a zone of {zone_for(size) // 1024:,} MiB with {size:,} visitors")
        bare = Site(Loc("/"), gate=False, **{**common, "nginx": "add_header X-State none;"})
        plain = Running("nginx", bare, here, tools.keys)
        runs[0] = plain, int(next(iter(plain.children())))
        for _, pid in runs.values():
            pin(pid, 0)
        for turn in range(rounds):
            for size, (run, pid) in sorted(runs.items(), reverse=turn % 2 == 1):
                cookies = tools.dir / f"cookies-{size or sizes[0]}"
                row = tools.rows("drive", run.port, pid, requests, turn * requests, cookies)[0]
                if size and row["cached"] < 0.999 * requests:
                    say(f"nginx: {size:,}: {row['cached']:,.0f} of {requests:,} were hits; this turn does not count")
                    continue
                spent.setdefault(size, {})[turn] = row["ns"]
        for size, turns in sorted(spent.items()):
            what = f"{size:,} visitors" if size else "without the gate"
            say(f"nginx: {what}: {median(turns.values()) / 1000:.2f} µs of the processor a request (least "
                f"{min(turns.values()) / 1000:.2f}, {len(turns)} turns)")
        few, many = spent.get(sizes[0], {}), spent.get(sizes[-1], {})
        both = [many[turn] / few[turn] for turn in few if turn in many]
        judge(len(both) > rounds / 2, f"{len(both)} of {rounds} turns were hits alone at the fewest and at the most")
        ratio = median(both or [99])
        judge(ratio <= BOUND_HIT, f"a request with a hit costs {ratio:.3f} times at {sizes[-1]:,} visitors what it costs at "
              f"{sizes[0]:,} (bound {BOUND_HIT})")
    finally:
        for run, _ in runs.values():
            run.close()
    return spent


def zone_for(size):
    """KiB in which that many visitors take half of the room, as visitors.c has it."""
    return -(-((2 * size * 72 + 300_000) * 16 // 15) // 65536) * 64


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--records", type=int, default=10_000_000)
    args.add_argument("--minutes", type=float, default=12, help="for everything; the largest sizes are left out if need be")
    args.add_argument("--only", choices=("records", "core", "server", "nodes"))
    args = args.parse_args()
    sizes = [10 ** k for k in range(4, 8) if 10 ** k <= args.records] or [args.records]
    want = lambda part: args.only in (None, part)
    tools = Tools()
    redis = None
    try:
        if want("nodes"):
            nodes.measure(say, judge)
        if want("core"):
            core(tools, sizes)
        if want("records") or want("server"):
            redis = Redis("--hash-max-listpack-entries", "64", "--hash-max-listpack-value", "128")
            records(tools, redis, sizes, started + args.minutes * 60 - 150)  # what is left is for the servers
        if want("server"):
            server(tools, redis, sizes)
    finally:
        if redis:
            redis.close()
        remove(tools.dir)
    for text in failures:
        print(f"failed: {text}")
    print(f"{passed} passed, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
