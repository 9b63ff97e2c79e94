"""One round of load, and whether anything else used the processors meanwhile."""
import bisect
import contextlib
import itertools
import json
import os
import random
import re
import statistics
import subprocess
import time
from pathlib import Path

import rig

TICK = os.sysconf("SC_CLK_TCK")
DIRTY = 0.04  # of the processors' time in others' hands: the round does not count

WRK = """local requests = {}
local file = io.open("@file@", "rb")
while true do
    local length = file:read(8)
    if not length then break end
    requests[#requests + 1] = file:read(tonumber(length))
end
local n, i = #requests, 0
request = function() i = i % n + 1; return requests[i] end
done = function(summary, latency)
    local e = summary.errors
    io.write(string.format('{"requests": %d, "us": %d, "bytes": %d, "errors": %d, "p50": %d, "p99": %d}\\n', summary.requests,
        summary.duration, summary.bytes, e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50),
        latency:percentile(99)))
end
"""


def write_requests(path, requests):
    path.write_bytes(b"".join(b"%08d" % len(one) + one for one in requests))
    return path


def busy_ticks():
    """All processors' time that was not idle, in ticks."""
    fields = [int(v) for v in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(fields) - fields[3] - fields[4]


def spent_ticks(pids):
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total


def is_dirty(busy, ours, seconds, processors):
    """Did others use more than DIRTY of what the processors had?"""
    return (busy - ours) / TICK > DIRTY * seconds * processors


def parse(text):
    """wrk's own line of what it measured."""
    found = re.search(r'^\{"requests".*\}$', text, re.M)
    if not found:
        raise ValueError(f"wrk measured nothing: {text[-500:]}")
    out = json.loads(found[0])
    out["rate"] = out["requests"] / (out["us"] / 1e6)
    return out


class Round:
    """requests/s, p50 and p99 in microseconds, of one peer for some seconds."""

    def __init__(self, place):
        self.place, self.thrown_away = place, 0
        self.script = place.dir / "wrk.lua"

    def run(self, server, requests_file, seconds, connections=32, attempts=4):
        self.script.write_text(WRK.replace("@file@", str(requests_file)))
        for attempt in range(attempts):
            pids = [*rig.family(server.process.pid), *rig.family(self.place.upstream.pid), self.place.redis.process.pid]
            busy, ours, began = busy_ticks(), spent_ticks(pids), time.monotonic()
            wrk = subprocess.Popen(["taskset", "-c", str(last_processor()), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency",
                                    "-s", str(self.script), f"http://127.0.0.1:{server.port}/"], stdout=subprocess.PIPE, text=True)
            text = wrk.stdout.read()
            _, status, usage = os.wait4(wrk.pid, 0)
            wrk.returncode = os.waitstatus_to_exitcode(status)
            ours = spent_ticks(pids) - ours + (usage.ru_utime + usage.ru_stime) * TICK
            found = parse(text)
            if found["errors"] or not found["requests"]:
                raise SystemExit(f"{server.peer.name}: {found['errors']} errors in {found['requests']} requests\n{server.log()[-2000:]}")
            found["dirty"] = is_dirty(busy_ticks() - busy, ours, time.monotonic() - began, os.cpu_count() or 1)
            if not found["dirty"] or attempt == attempts - 1:
                return found
            self.thrown_away += 1
        raise AssertionError("no attempt")


def last_processor():
    return (os.cpu_count() or 1) - 1


# ---- what many rounds say

def ratios(rounds, peer, to):
    """Each round's own ratio of two peers' rates."""
    return [found[peer]["rate"] / found[to]["rate"] for found in rounds if peer in found and to in found]


def summary(rounds, peer, to="bare"):
    rates = [found[peer]["rate"] for found in rounds]
    return {"median": statistics.median(rates), "min": min(rates), "max": max(rates), "ratio": statistics.median(ratios(rounds, peer, to)),
            "p50": statistics.median(found[peer]["p50"] for found in rounds), "p99": statistics.median(found[peer]["p99"] for found in rounds),
            "dirty": sum(found[peer]["dirty"] for found in rounds)}


class Zipf:
    """Numbers of 0..n-1, the k-th with a weight of 1/(k+1)^exponent."""

    def __init__(self, n, exponent=1.0):
        self.sums = list(itertools.accumulate((k + 1) ** -exponent for k in range(n)))

    def draw(self, count, seed):
        dice = random.Random(seed)
        return [bisect.bisect_left(self.sums, dice.random() * self.sums[-1]) for _ in range(count)]


# ---- at a fixed rate

def latency_at(server, request_headers, target, rate, seconds):
    """(p50, p99) in microseconds of requests that arrive at `rate` a second, on four connections."""
    clients = 4
    log = server.dir / "var" / "h2load.log"
    log.unlink(missing_ok=True)
    fields = [word for line in request_headers for word in ("-H", line)]
    subprocess.run(["taskset", "-c", str(last_processor()), "h2load", "--h1", "-t1", f"-c{clients}", f"--rps={rate / clients}", f"-D{seconds}",
                    f"--log-file={log}", *fields, f"http://127.0.0.1:{server.port}{target}"],
                   check=True, capture_output=True, timeout=seconds + 30)
    rows = [line.split("\t") for line in log.read_text().splitlines()]
    took = sorted(int(row[2]) for row in rows if row[1] == "200")
    if len(took) < rate * seconds * 0.8 or len(took) != len(rows):
        raise SystemExit(f"{server.peer.name}: {len(took)} of {len(rows)} answers at {rate} a second were good")
    return took[len(took) // 2], took[len(took) * 99 // 100]


# ---- system calls

@contextlib.contextmanager
def traced(server):
    """A dict that has, after the block, the system calls of all the server's processes by name."""
    pids = rig.family(server.process.pid)
    out, calls = server.dir / "strace", {}
    tracer = subprocess.Popen(["strace", "-f", "-c", "-U", "name,calls", "-o", str(out), *(w for p in pids for w in ("-p", str(p)))],
                              stderr=subprocess.PIPE, text=True)
    for _ in pids:
        tracer.stderr.readline()
    time.sleep(0.3)
    yield calls
    tracer.send_signal(2)
    tracer.wait()
    calls.update((row[0], int(row[1])) for line in out.read_text().splitlines() if len(row := line.split()) == 2 and row[1].isdigit())
    calls.pop("total", None)


def system_calls(server, requests):
    """System calls a request, of one connection's."""
    with traced(server) as calls, rig.Client(server.port) as client:
        for one in requests:
            client.ask(one)
    return sum(calls.values()) / len(requests)


def system_calls_loaded(meter, server, requests_file, seconds):
    """System calls a request while 32 connections wait for answers all the time."""
    with traced(server) as calls:
        found = meter.run(server, requests_file, seconds, attempts=1)
    return sum(calls.values()) / found["requests"]
