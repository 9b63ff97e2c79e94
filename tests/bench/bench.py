#!/usr/bin/env python3
"""The gate beside what people would use instead, in one run: `bench.py` writes RESULTS.md and results.svg, `--quick` prints.

Every configuration's answers are verified before it is timed. The last line is `N passed, N failed`.
"""
import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import callgrind
import draw
import load
import peers
import rig
from harness.client import Connection
from harness.proc import DidNotStart

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "micro"))
import micro  # noqa: E402

started = time.monotonic()
judged = []


def say(text):
    print(f"[{time.monotonic() - started:5.0f} s] {text}", flush=True)


def judge(good, text):
    judged.append((bool(good), text))
    say(("ok: " if good else "failed: ") + text)


# ---- answers

def members(text):
    """The purposes that a Privacy-Consent says are allowed, and how many it names."""
    all_of = [m.strip() for m in text.split(",")]
    return {m for m in all_of if "=?0" not in m}, len(all_of)


def expected(place, server, own, gpc):
    """What the gate lets an application see."""
    with rig.Client(server.port) as client:
        _, body = client.ask(rig.request_bytes("/app/echo", own, gpc))
    found = re.fullmatch(r"cookie=<(.*)> consent=<(.*)>", body.decode())
    if not found or found[1] != rig.KEPT or members(found[2])[0] != {"preferences", "statistics"}:
        raise SystemExit(f"the gate's own answer is wrong: {body}\n{server.log()}")
    return found[2]


def wrong(place, server, own, consents):
    """What is wrong with a peer's answers; empty: nothing."""
    peer = server.peer
    with Connection(server.port, timeout=20) as conn:
        def ask(target, gpc=False):
            conn.sock.sendall(rig.request_bytes(target, own, gpc))
            return conn.read()
        page = ask("/page.html")
        if page.status != 200 or page.body != place.page:
            return f"the file: {page.status}, {len(page.body)} bytes"
        for gpc, consent in consents.items():
            said = ask("/app/echo", gpc).body.decode()
            found = re.fullmatch(r"cookie=<(.*)> consent=<(.*)>", said)
            if peer.name == "bare":
                continue
            if not found or found[1] != rig.KEPT:
                return f"the application saw {said}"
            if members(found[2]) != members(consent):
                return f"Privacy-Consent was {found[2]}, not {consent}"
        answer = ask("/app/page")
        names = [v.split("=")[0] for v in answer.all("Set-Cookie") if v]
        want = ["session", "_ga", "_fbp"] if peer.name == "bare" or "Set-Cookie" in peer.leaves_out else ["session", "_ga"]
        if answer.status != 200 or answer.body != place.page or names != want:
            return f"the proxied answer: {answer.status}, Set-Cookie {names}"
    return ""


# ---- a group of configurations that take turns

def requests_of(target, owns):
    return [rig.request_bytes(target, own, gpc=i % 4 == 0) for i, own in enumerate(owns)]


def start(place, peer):
    return rig.Server(place, peer, wrap=["taskset", "-c", "0"])


def verified(place, peer, own, consents):
    """The peer, running; None: it does not do what its row says."""
    try:
        server = start(place, peer)
    except DidNotStart as why:
        judge(False, f"{peer.server}, {peer.name} does not start: {why}")
        return None
    try:
        fault = wrong(place, server, peers.PLAIN if peers.plain(peer) else own, consents)
    except (OSError, ValueError) as why:
        fault = repr(why)
    judge(not fault, f"{peer.server}, {peer.name}: answers are right" if not fault else f"{peer.server}, {peer.name}: {fault}\n{server.log()[-1500:]}")
    if fault:
        server.stop()
        return None
    return server


def warm(server, requests):
    with rig.Client(server.port) as client:
        for one in requests:
            client.ask(one)


def run_groups(place, servers, groups, count, seconds):
    """count rounds of every group: {peer: measured} each."""
    meter = load.Round(place)
    for group in groups:
        for name in group["peers"]:
            server = servers[group["server"], name]
            owns = group["owns"] if not peers.plain(server.peer) else [peers.PLAIN]
            if group.get("crowd"):
                meter.run(server, group["crowd"].requests(0), 2 * seconds, attempts=1)
                continue
            path = load.write_requests(server.dir / f"{group['key']}.requests", requests_of(group["target"], owns))
            group.setdefault("files", {})[name] = path
            if not group.get("cold"):
                warm(server, requests_of(group["target"], owns))
    for turn in range(count):
        for group in groups:
            found = {}
            order = group["peers"][turn % len(group["peers"]):] + group["peers"][:turn % len(group["peers"])]
            for name in order:
                server = servers[group["server"], name]
                before = rig.hgetalls(place)
                requests_file = group["crowd"].requests(turn + 1) if group.get("crowd") else group["files"][name]
                found[name] = meter.run(server, requests_file, seconds)
                found[name]["reads"] = (rig.hgetalls(place) - before) / found[name]["requests"]
            group.setdefault("rounds", []).append(found)
        say(f"round {turn + 1} of {count}; {meter.thrown_away} thrown away so far because others used the processors")
    return meter.thrown_away


class Crowd:
    """A million visitors with their records in Redis, who come as often as Zipf's law has it. Every round brings other requests, which
    nobody has seen; every configuration gets the same."""

    N, DRAWS = 1_000_000, 150_000

    def __init__(self, place):
        self.place, self.zipf, self.turn = place, load.Zipf(self.N), None
        self.file = place.dir / "crowd.requests"
        (place.dir / "policy.json").write_text(json.dumps(place.policy))
        (place.dir / "keys").touch(mode=0o600)
        (place.dir / "keys").write_text(place.keys)
        self.people = [place.dir / "policy.json", place.dir / "keys", str(int(time.time()))]
        self.tool("load", place.redis.socket, "0", str(self.N))

    def tool(self, name, *args, numbers=()):
        done = subprocess.run([rig.BUILD / "scale" / name, *self.people, *args], input="\n".join(map(str, numbers)), capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{name}: {done.stdout[-500:]} {done.stderr[-500:]}")
        return done.stdout.split()

    def requests(self, turn):
        if turn != self.turn:
            owns = self.tool("mint", numbers=self.zipf.draw(self.DRAWS, seed=turn))
            requests = requests_of("/page.html", owns)
            if len({one[len(one) // 2:][:4] for one in requests}) < len(set(owns)) / 4:
                raise SystemExit("wrk would not tell these requests apart: see rig.request_bytes")
            load.write_requests(self.file, requests)
            self.turn = turn
        return self.file


# ---- the report

def machine():
    text = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", text)
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    packages = "nginx apache2-bin redis-server libhiredis0.14 libnginx-mod-http-lua libnginx-mod-http-js wrk valgrind".split()
    versions = []
    for name in packages:
        done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", name], capture_output=True, text=True)
        versions.append(f"{name} {done.stdout or '(absent)'}")
    flags = [f for f in ("avx2", "avx512f", "sha_ni") if f" {f} " in text.replace("\n", " ")]
    return [f"{os.cpu_count()} processors, {model[1] if model else platform.machine()} ({', '.join(flags)})",
            f"Linux {platform.release()}, governor {governor.read_text().strip() if governor.exists() else 'not said'}",
            "; ".join(versions)]


def table(group):
    """Markdown of one group."""
    lines = ["| | requests/s | least to most | of bare | p50 µs | p99 µs | reads | leaves out |",
             "| --- | --: | --- | --: | --: | --: | --: | --- |"]
    for name in group["peers"]:
        s = load.summary(group["rounds"], name)
        reads = sum(found[name]["reads"] for found in group["rounds"]) / len(group["rounds"])
        lines.append(f"| {name} | {s['median']:,.0f} | {s['min']:,.0f} to {s['max']:,.0f} | {s['ratio']:.2f} | {s['p50']:.0f} | {s['p99']:.0f} "
                     f"| {reads:.2f} | {group['leaves_out'][name]} |")
    return "\n".join(lines)


def target_row(text, wanted, found, reached):
    return f"| {text} | {wanted} | {found} | {'reached' if reached else '**missed**'} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under three minutes; prints, and stores nothing")
    parser.add_argument("--rounds", type=int, default=0)
    args = parser.parse_args()
    rounds, seconds = (2, 1) if args.quick else (args.rounds or 5, 2)
    known_n, cold_n, counted = (200, 6000, 500) if args.quick else (1000, 12000, 1000)
    place = rig.Place()
    servers, lines = {}, []
    try:
        place.pin(load.last_processor())
        native = start(place, rig.gate("nginx"))
        owns = [rig.visitor(native) for _ in range(max(known_n, cold_n))]
        say(f"{len(owns):,} visitors chose")
        consents = {gpc: expected(place, native, owns[0], gpc) for gpc in (False, True)}
        native.stop()
        every = [*peers.nginx_peers(place), *peers.httpd_peers(place)]
        small = {server: rig.gate(server, zone="256k") for server in ("nginx", "httpd")}
        for peer in every:
            if server := verified(place, peer, owns[0], consents):
                servers[peer.server, peer.name] = server
        for kind, peer in small.items():
            peer.name = "gate, cold"
            if server := verified(place, peer, owns[0], consents):
                servers[kind, peer.name] = server
        crowd = None
        if not args.quick:
            crowd = Crowd(place)
            say(f"{crowd.N:,} visitors have their records")
        groups = []
        for kind in ("nginx", "httpd"):
            names = [p.name for p in every if p.server == kind and (kind, p.name) in servers]
            left = {p.name: p.leaves_out for p in every} | {"gate": "", "gate, cold": ""}
            for key, title, target in (("static", "a file of 1 KiB, known visitors", "/page.html"),
                                       ("proxied", "a proxied answer with three Set-Cookie, known visitors", "/app/page")):
                groups.append({"server": kind, "key": key, "title": f"{kind}: {title}", "target": target, "owns": owns[:known_n], "peers": names,
                               "leaves_out": left})
            cold = [n for n in ("bare", "gate, cold", "lua, Redis each", "mod_lua, Redis each") if (kind, n) in servers]
            groups.append({"server": kind, "key": "cold", "title": f"{kind}: a file of 1 KiB, every visitor new", "target": "/page.html",
                           "owns": owns[:cold_n], "peers": cold, "cold": True, "leaves_out": left})
            for keys in (1, 4, 16):
                if not args.quick:
                    groups.append({"server": kind, "key": f"keys{keys}", "title": f"{kind}: {keys} visitors a connection", "target": "/page.html",
                                   "owns": owns[:32 * keys], "peers": [n for n in ("bare", "gate") if (kind, n) in servers], "leaves_out": left})
            if crowd:
                groups.append({"server": kind, "key": "crowd", "title": f"{kind}: a file of 1 KiB, a million visitors", "target": "/page.html", "owns": [],
                               "peers": [n for n in ("bare", "gate", "lua, shared dict", "lua, Redis each", "mod_lua, Redis each") if (kind, n) in servers],
                               "crowd": crowd, "leaves_out": left})
        thrown = run_groups(place, servers, groups, rounds, seconds)

        say("latency at 2,000 requests a second, and at one connection")
        headers = [line for line in rig.request_bytes("/", owns[0]).decode().split("\r\n")[2:] if line]
        latency, alone, calls = {}, {}, {}
        for _ in range(rounds):
            for (kind, name), server in servers.items():
                own_headers = [h.replace(owns[0], peers.PLAIN) for h in headers] if peers.plain(server.peer) else headers
                latency.setdefault((kind, name), []).append(load.latency_at(server, own_headers, "/page.html", 2000, 1))
        meter = load.Round(place)
        for kind in ("nginx", "httpd"):
            for key, name in (("static", "bare"), ("static", "gate"), ("cold", "gate, cold"), ("cold", "bare")):
                if server := servers.get((kind, name)):
                    group = next(g for g in groups if g["server"] == kind and g["key"] == key)
                    alone[kind, key, name] = meter.run(server, group["files"][name], seconds, connections=1)["p50"]
        say("system calls")
        for kind in ("nginx", "httpd"):
            for name in ("bare", "gate"):
                if server := servers.get((kind, name)):
                    calls[kind, "static", name] = load.system_calls(server, requests_of("/page.html", owns[:known_n]))
            group = next(g for g in groups if g["server"] == kind and g["key"] == "cold")
            for name in ("bare", "gate, cold"):
                if server := servers.get((kind, name)):
                    calls[kind, "cold", name] = load.system_calls_loaded(meter, server, group["files"][name], 2 * seconds)
        for server in servers.values():
            server.stop()
        servers.clear()

        say("instructions under callgrind")
        instructions = {}
        for case in callgrind.CASES:
            if args.quick and case[2] in ("none", "cold"):
                continue
            gate, bare = callgrind.difference(place, case, counted)
            instructions[case] = (gate.total - bare.total, bare.total)
            say(f"{' '.join(case)}: {gate.total - bare.total:,.0f} added to {bare.total:,.0f}")
        say("questions to the core")
        core = micro.table(args.quick)
        lines = report(groups, latency, alone, calls, instructions, thrown, rounds, seconds)
        lines += ["", "## The core", "", core]
    finally:
        for server in servers.values():
            server.stop()
        place.close()
    text = "\n".join(lines) + "\n"
    if args.quick:
        print(text)
    else:
        (HERE / "RESULTS.md").write_text(text)
        (HERE / "results.svg").write_text(draw.bars([(g["title"], [(n, load.summary(g["rounds"], n)["ratio"]) for n in g["peers"]])
                                                      for g in groups if not g["key"].startswith("keys")]))
        say("tests/bench/RESULTS.md and results.svg are written")
    failed = sum(not good for good, _ in judged)
    print(f"{len(judged) - failed} passed, {failed} failed")
    return 1 if failed else 0


def report(groups, latency, alone, calls, instructions, thrown, rounds, seconds):
    by = {(g["server"], g["key"]): g for g in groups}

    def ratio(kind, key, name, to="bare"):
        found = by[kind, key]["rounds"]
        return statistics.median(load.ratios(found, name, to))
    known = {case: value[0] for case, value in instructions.items()}
    out = ["# What a request costs, measured", "",
           f"Written by `make bench`, {time.strftime('%Y-%m-%d')}. {rounds} rounds of {seconds} s, configurations taking turns, server and client on a processor "
           f"each; {thrown} rounds were thrown away and repeated because others used the processors. Ratios resolve to ± 0.05; instructions are exact to "
           "about 1 %. How it is done, and what each word means: README.md.", "", *[f"* {line}" for line in machine()], "", "![ratios to bare](results.svg)", "",
           "## Targets", "", "| | wanted | measured | |", "| --- | --- | --- | --- |"]
    rows = []
    for text, case, most in (("nginx, known visitor, file: instructions added", ("nginx", "static", "known"), 5000),
                             ("nginx, known visitor, proxied: instructions added", ("nginx", "proxied", "known"), 6000),
                             ("nginx, first sight of a token: instructions added", ("nginx", "static", "first"), 9500),
                             ("httpd, known visitor, file: instructions added", ("httpd", "static", "known"), 7000)):
        if case in known:
            rows.append(target_row(text, f"≤ {most:,}", f"{known[case]:,.0f}", known[case] <= most))
    checks = [("nginx", "static", "gate", "bare", 0.93), ("nginx", "static", "gate", "lua, shared dict", 1.7), ("nginx", "static", "gate", "map", 1.0),
              ("nginx", "cold", "gate, cold", "lua, Redis each", 1.9), ("httpd", "static", "gate", "bare", 0.95),
              ("httpd", "static", "gate", "mod_lua, Redis each", 4.0), ("httpd", "cold", "gate, cold", "bare", 0.60)]
    for kind, key, name, to, least in checks:
        group = by.get((kind, key))
        if group and name in group["peers"] and to in group["peers"]:
            found = ratio(kind, key, name, to)
            rows.append(target_row(f"{kind}, {key}: throughput of {name} to {to}", f"≥ {least}", f"{found:.2f}", found >= least - 0.005))
    for kind, most in (("nginx", 50), ("httpd", 80)):
        if (kind, "gate") in latency and (kind, "bare") in latency:
            added = round(statistics.median(gate - bare for (_, gate), (_, bare) in zip(latency[kind, "gate"], latency[kind, "bare"])))
            rows.append(target_row(f"{kind}: p99 added at 2,000 requests/s", f"≤ {most} µs", f"{added:+} µs", added <= most))
    if ("httpd", "cold", "gate, cold") in alone:
        added = alone["httpd", "cold", "gate, cold"] - alone["httpd", "cold", "bare"]
        rows.append(target_row("httpd, every visitor new: p50 added at one connection", "≤ 150 µs", f"{added:+.0f} µs", added <= 150))
    for kind in ("nginx", "httpd"):
        if (kind, "static", "gate") in calls:
            added = calls[kind, "static", "gate"] - calls[kind, "static", "bare"]
            # the link's ticks go by time, and strace makes requests slow
            rows.append(target_row(f"{kind}, known: system calls added (the link's ticks among them)", "0", f"{added:+.2f}", added < 0.25))
    if ("nginx", "cold", "gate, cold") in calls:
        added = calls["nginx", "cold", "gate, cold"] - calls["nginx", "cold", "bare"]
        rows.append(target_row("nginx, every visitor new, 32 connections: system calls added", "≤ 0.3", f"{added:+.2f}", added <= 0.3))
    out += rows
    for group in groups:
        out += ["", f"## {group['title']}", "", table(group)]
    out += ["", "## Instructions", "", "| | bare | added by the gate |", "| --- | --: | --: |"]
    out += [f"| {' '.join(case)} | {bare:,.0f} | {added:,.0f} |" for case, (added, bare) in instructions.items()]
    out += ["", "## At 2,000 requests a second", "", "| | p50 µs | p99 µs |", "| --- | --: | --: |"]
    out += [f"| {kind}, {name} | {statistics.median(p50 for p50, _ in found):.0f} | {statistics.median(p99 for _, p99 in found):.0f} |"
            for (kind, name), found in latency.items()]
    return out


if __name__ == "__main__":
    sys.exit(main())
