#!/usr/bin/env python3
"""Faults against promises: `run.py --faults 10000 --seed 7`. The last line is `N passed, N failed`."""
import argparse
import random
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from fleet import DURABLE, Fleet, Redis, ask, decided, now, site
from faults import ProxyFaults, RedisFaults, ReplicaFaults, ServerFaults
from harness.proc import BUILD, wait_for
from model import Contradiction
from replicas import ClusterStore, SentinelStore
from visitors import Browser


def quantile(values, q):
    return sorted(values)[min(len(values) - 1, int(q * len(values)))] if values else float("nan")


def last_look(fleet, model, cookie):
    """Everything is healed: each node shows what was promised, then Redis holds it. Returns what is wrong, or None."""
    def shown(node):
        try:
            began = now()
            answer = ask(node, cookie)
        except OSError:
            return None
        allowed, state = decided(answer)
        if state == "degraded":
            return None
        model.looked(node.name, allowed, state, began, now(), note="at the end")
        return True
    try:
        for node in fleet.nodes:
            if not wait_for(lambda n=node: shown(n), 10):
                return f"{node.name} does not come back to its store"
    except Contradiction as why:
        return why
    # what only the cookie knew is written behind the look
    if not model.loses and not wait_for(lambda: model.held(fleet.redis.record(model.id)) is None, 5):
        return model.held(fleet.redis.record(model.id))
    return None


def play(fleet, args, injectors, stop, title, loses=False):
    """Visitors against injectors until enough faults struck. Returns (problems as text, counts, browsers)."""
    seeds = random.Random(args.seed)
    browsers = [Browser(f"v{i}", fleet, seeds.random(), stop, loses=loses, pause=args.pause) for i in range(args.visitors)]
    deadline = now() + args.limit
    started = now()
    for thread in [*browsers, *injectors]:
        thread.start()
    told = now()
    while not stop.is_set():
        struck = sum(sum(i.count.values()) for i in injectors)
        if now() - told >= args.progress:
            told = now()
            looks = sum(b.count["decisions"] for b in browsers)
            away = sum(b.count["decisions degraded"] for b in browsers)
            changes = sum(v for b in browsers for k, v in b.count.items() if k.startswith("changes"))
            print(f"{title}: {now() - started:5.0f} s  {struck} faults, {looks} decisions ({away} without the store), {changes} choices",
                  flush=True)
        if struck >= args.faults or now() > deadline:
            break
        time.sleep(0.1)
    stop.set()
    for thread in [*injectors, *browsers]:
        thread.join(60)
    problems = [f"{t.name} did not end" for t in [*injectors, *browsers] if t.is_alive()]
    problems += [b.problem[0].tell(b.problem[1]) for b in browsers if b.problem]
    problems += [f"{i.name}: {i.problem!r}" for i in injectors if i.problem]
    counts = Counter()
    for thread in [*browsers, *injectors]:
        counts.update(thread.count)
    return problems, counts, browsers, sum(sum(i.count.values()) for i in injectors), now() - started


def finish(fleet, browsers, problems):
    """The promises at the end. Returns how many were kept."""
    fleet.well(30)
    kept = 0
    for model, cookie in [v for b in browsers for v in b.visitors]:
        wrong = last_look(fleet, model, cookie)
        if wrong is None:
            kept += 1
        else:
            problems.append(model.tell(wrong))
    return kept


def standalone(args):
    stop = threading.Event()
    redis = Redis(*DURABLE)
    problems, kept, browsers = [], 0, []
    try:
        fleet = Fleet(redis, args.nodes, args.nodes, args.workers)
        try:
            fleet.well()
            seeds = random.Random(args.seed + 1)
            injectors = [ProxyFaults(n, fleet, seeds.random(), stop) for n in fleet.nodes]
            injectors += [RedisFaults("redis", fleet, seeds.random(), stop), ServerFaults("servers", fleet, seeds.random(), stop)]
            problems, counts, browsers, struck, took = play(fleet, args, injectors, stop, "standalone")
            if struck < args.faults:
                problems.append(f"only {struck} of {args.faults} faults struck within {args.limit} s")
            kept = finish(fleet, browsers, problems)
            problems += fleet.complaints()
        finally:
            fleet.close()
    finally:
        redis.close()
    report("standalone, appendfsync always", struck, took, counts, browsers, kept, problems)
    return problems


def replicated(args, kind):
    """Sentinel or Cluster: no proxies, since nodes are told where primaries are. What replication forgets is counted; a refusal that
    the visitor's own cookie carries is never forgotten."""
    stop = threading.Event()
    store = kind()
    problems = []
    try:
        where = site(store=store.url, workers=args.workers, store_password_file=str(store.password_file))
        fleet = Fleet(store, args.nodes, args.nodes, args.workers, url=store.url, where=where)
        try:
            fleet.well(30)
            seeds = random.Random(args.seed + 1)
            injectors = [ReplicaFaults(kind.title, fleet, seeds.random(), stop), ServerFaults("servers", fleet, seeds.random(), stop)]
            problems, counts, browsers, struck, took = play(fleet, args, injectors, stop, kind.title, loses=True)
            store.repair()
            kept = finish(fleet, browsers, problems)
            problems += fleet.complaints()
        finally:
            fleet.close()
    finally:
        store.close()
    models = [m for b in browsers for m, _ in b.visitors]
    counts["choices or edits that replication forgot"] = sum(len(m.losses) for m in models)
    report(kind.title, struck, took, counts, browsers, kept, problems)
    return problems


def report(title, struck, took, counts, browsers, kept, problems):
    print(f"\n{title}: {struck} faults in {took:.0f} s, {kept} visitors' last promises kept on every node and in Redis")
    for key, value in sorted(counts.items()):
        print(f"    {value:8} {key}")
    pushed = [1000 * t for b in browsers for t in b.pushed]
    print(f"    operator's edit shown after (under faults, {len(pushed)} nodes): median {quantile(pushed, 0.5):.1f} ms, "
          f"p99 {quantile(pushed, 0.99):.1f} ms, most {max(pushed, default=0):.1f} ms")
    for text in problems:
        print(f"\n{text}")




def arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--faults", type=int, default=10000)
    parser.add_argument("--store", choices=("standalone", "sentinel", "cluster"), default="standalone")
    parser.add_argument("--limit", type=float, default=1800, help="seconds")
    parser.add_argument("--nodes", type=int, default=2, help="of each server")
    parser.add_argument("--workers", type=int, default=2, help="of each node")
    parser.add_argument("--visitors", type=int, default=10)
    parser.add_argument("--pause", type=float, default=0.01, help="seconds between two acts of a visitor")
    parser.add_argument("--progress", type=float, default=10.0, help="seconds between two lines")
    return parser.parse_args(argv)


def main():
    args = arguments()
    if args.seed is None:
        args.seed = random.SystemRandom().randrange(1 << 30)
    print(f"seed {args.seed}", flush=True)
    kind = {"sentinel": SentinelStore, "cluster": ClusterStore}.get(args.store)
    problems = replicated(args, kind) if kind else standalone(args)
    if problems:
        out = Path(BUILD) / "faults.log"
        out.write_text("\n\n".join(map(str, problems)) + "\n")
        print(f"\nseed {args.seed}; what failed stands in {out}")
    print(f"{0 if problems else 1} passed, {len(problems)} failed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
