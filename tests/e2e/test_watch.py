"""privacyctl watch: what changes, live and in plain words."""
import json
import signal
import subprocess
import threading

import pytest

from harness.client import Visitor
from harness.proc import BUILD, SLOW, wait_for
from harness.site import Loc, Site

ID = "abcdefghijklmnopqrstuvwxya"


class Watch:
    def __init__(self, redis, *more):
        password = redis.dir / "ops-password"
        password.touch(mode=0o600)
        password.write_text("change-me-ops\n")
        self.popen = subprocess.Popen(
            [BUILD / "privacyctl", "watch", "--store", f"redis://privacy-ops@127.0.0.1:{redis.port}", "--password-file",
             password, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines, self.said = [], []
        for pipe, into in ((self.popen.stdout, self.lines), (self.popen.stderr, self.said)):
            threading.Thread(target=lambda p=pipe, i=into: [i.append(l.rstrip("\n")) for l in p], daemon=True).start()

    def ready(self):
        assert wait_for(lambda: any("watching" in l for l in self.said), 10), self.said
        return self

    def line(self, *words):
        """The first line with all these words, once it is there."""
        found = wait_for(lambda: [l for l in list(self.lines) if all(w in l for w in words)], 10)
        assert found, f"no line with {words} in {self.lines} {self.said}"
        return found[0]

    def end(self):
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGINT)
        return self.popen.wait(10 * SLOW)


@pytest.fixture
def watch(own_redis):
    started = []

    def start(*more):
        started.append(Watch(own_redis, *more))
        return started[-1].ready()
    yield start
    for w in started:
        w.end()


@pytest.mark.stores("redis")
def test_what_a_visitor_and_an_operator_do(watch, own_redis, serve):
    run = serve(Site(Loc("/")), fresh=True)
    seen = watch()
    who = Visitor(run, ["X-Region: FR"])
    who.choose(statistics=True, marketing=False)
    visitor = who.token.split(".")[2]
    line = seen.line(visitor, "granted statistics", "refused marketing")
    assert "by api" in line and "seq 1" in line and line[:2] == "20" and line[19] == "Z"
    own_redis.cli("HSET", f"privacy:consent:{{{visitor}}}", "age", "under:13", "restricted", "1")
    assert "restricted" in seen.line(visitor, "age under:13")
    who.request("DELETE", "/privacy/consent")
    seen.line(visitor, "refused", "seq 2")
    own_redis.cli("DEL", f"privacy:consent:{{{visitor}}}")
    seen.line(visitor, "gone: deleted or expired")
    own_redis.r.set(f"privacy:consent:{{{ID}}}", "x")
    seen.line(ID, "no record")
    own_redis.r.hset(f"privacy:consent:{{{ID[:-1]}q}}", mapping={"granted": "a\x1b[31mb", "refused": "c\nd"})
    assert "granted a?[31mb refused c?d" in seen.line(f"{ID[:-1]}q")
    own_redis.r.flushall()
    seen.line("every record is gone")
    own_redis.r.set("other:key", "1")
    own_redis.r.set("privacy:policy:x", "1")
    assert seen.end() == 0, "an interruption is how it ends"
    text = "\n".join(seen.lines)
    assert "127.0.0.1" not in text and "other:key" not in text and "policy:x" not in text


def test_lines_for_machines(watch, own_redis):
    seen = watch("--json")
    own_redis.r.hset(f"privacy:consent:{{{ID}}}", mapping={"id": ID, "seq": "4", "granted": "statistics,preferences", "age": "ok:13"})
    found = json.loads(seen.line(ID, "changed"))
    assert found.pop("time").endswith("Z")
    assert found == {"event": "changed", "id": ID, "granted": ["statistics", "preferences"], "refused": [],
                     "restricted": False, "seq": "4", "age": "ok:13"}
    own_redis.r.set("privacy:subject:{" + ID + "}", ID[:-1] + "q")
    found = json.loads(seen.line("account"))
    assert (found["event"], found["account"], found["id"]) == ("account", ID, ID[:-1] + "q")
    own_redis.r.delete(f"privacy:consent:{{{ID}}}", "privacy:subject:{" + ID + "}")
    assert json.loads(seen.line("gone", f'"id":"{ID}"'))["event"] == "gone"
    assert json.loads(seen.line("account-gone"))["account"] == ID
    own_redis.r.flushall()
    assert json.loads(seen.line("flushed"))["event"] == "flushed"


@pytest.mark.parametrize("how", ["killed", "stalled"])
def test_a_restart_of_redis_is_a_sentence(watch, own_redis, how):
    seen = watch()
    if how == "killed":
        own_redis.stop()
    else:
        own_redis.process.send(signal.SIGSTOP)
    assert wait_for(lambda: any("trying again until it is back" in l for l in seen.said), 20), seen.said
    if how == "killed":
        own_redis.start()
    else:
        own_redis.process.send(signal.SIGCONT)
    assert wait_for(lambda: any("answers again" in l for l in seen.said), 20), seen.said
    own_redis.r.hset(f"privacy:consent:{{{ID}}}", mapping={"id": ID, "refused": "marketing"})
    seen.line(ID, "refused marketing")
    assert seen.popen.poll() is None


def test_many_changes_at_once(watch, own_redis):
    """More keys in one push than one reply may hold: it says so, and goes on."""
    seen = watch()
    with own_redis.r.pipeline() as pipe:
        for i in range(3000):
            pipe.hset(f"privacy:consent:{{{i:026d}}}", "refused", "marketing")
        pipe.execute()
    wait_for(lambda: len(seen.lines) >= 3000 or any("trying again" in l for l in seen.said), 20)
    if len(seen.lines) < 3000:
        assert wait_for(lambda: any("answers again" in l for l in seen.said), 20), seen.said
    own_redis.r.hset(f"privacy:consent:{{{ID}}}", mapping={"id": ID, "refused": "marketing"})
    seen.line(ID, "refused marketing")


def test_a_user_without_the_permission_is_told(own_redis):
    own_redis.r.execute_command("ACL", "SETUSER", "privacy-ops", "-client|tracking")
    seen = Watch(own_redis)
    assert seen.popen.wait(10 * SLOW) == 1
    assert wait_for(lambda: any("refuses CLIENT TRACKING (NOPERM)" in l and "redis.acl" in l for l in seen.said), 5), seen.said
    own_redis.stop()
    seen = Watch(own_redis)
    assert seen.popen.wait(10 * SLOW) == 1
    assert wait_for(lambda: any("cannot be reached" in l for l in seen.said), 5), seen.said
