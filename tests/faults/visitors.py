"""Visitors who choose, refuse, withdraw and look around on random nodes, and the operators who lower what they chose. Each is one
thread and does one thing at a time, so its history has an order."""
import http.client
import json
import random
import threading
import time
from collections import Counter

import redis as redis_py

from fleet import CONSENT, PURPOSES, ask, cookie_of, decided, now
from harness.client import Connection
from model import WINDOW, Contradiction, Visitor

PATIENCE = 20.0  # s that a client waits for an answer; a stopped worker sleeps less
WORDS = {"granted": "G", "refused": "R", None: "N"}


class Browser(threading.Thread):
    """One visitor after another, `life` acts each, until `stop` is set."""

    def __init__(self, name, fleet, seed, stop, operate=True, loses=False, life=40, pause=0.0):
        super().__init__(name=name, daemon=True)
        self.fleet, self.random, self.stop, self.life = fleet, random.Random(seed), stop, life
        self.operate, self.loses, self.pause = operate, loses, pause
        self.count = Counter()
        self.pushed = []     # s from an operator's edit to the first decision that shows it, a node each
        self.visitors = []   # whose promises are to be kept at the end: (model, newest cookie)
        self.problem = None  # (model, Contradiction)
        self.kept = {}       # node -> connection that is kept alive
        self.born = 0
        self.fresh()

    def fresh(self):
        self.born += 1
        self.model = Visitor(f"{self.name}.{self.born}", self.loses)
        self.cookie = None
        self.older = []  # cookies of the same id that were the newest once
        self.synced = True  # the cookie has been renewed since the last choice that Redis may not have had
        self.left = self.life

    # ---- the thread
    def run(self):
        try:
            while not self.stop.is_set():
                if self.left <= 0:
                    self.leave()
                self.act()
                self.left -= 1
                if self.pause:
                    time.sleep(self.random.uniform(0, 2 * self.pause))
            self.leave()
        except Contradiction as why:
            self.problem = (self.model, why)
            self.stop.set()
        except Exception as why:  # a defect of the suite itself must not look like a quiet end
            self.problem = (self.model, why)
            self.stop.set()
        finally:
            for conn in self.kept.values():
                conn.close()

    def leave(self):
        if self.model.id:
            self.visitors.append((self.model, self.cookie))
        self.fresh()

    def act(self):
        if self.model.id is None and self.random.random() < 0.5:
            return self.form(accept=True)  # most of what can go wrong needs a record
        acts = [(self.look, 10), (self.choose, 4), (self.form, 1), (self.withdraw, 1)]
        if self.older:
            acts.append((self.look_with_old, 3))
        if self.operate and self.model.id and self.model.settled() and self.synced:
            acts.append((self.operator, 1))
        self.random.choices([a for a, _ in acts], [w for _, w in acts])[0]()

    def node(self):
        return self.random.choice(self.fleet.nodes)

    # ---- requests
    def keep(self, cookie):
        if cookie and cookie != self.cookie:
            if self.cookie and self.cookie.split(".")[2] == cookie.split(".")[2] != "":
                self.older = [*self.older[-3:], self.cookie]
            self.cookie = cookie

    def visitor_id(self):
        return (self.cookie.split(".")[2] if self.cookie else "") or None

    def page(self, node, cookie, navigate=True):
        """A page, asked for again if the connection ends: reading is idempotent. None: the node does not answer now."""
        for _ in range(3):
            conn = self.kept.pop(node.name, None)
            try:
                if conn is None:
                    conn = Connection(node.port, timeout=PATIENCE)
                began = now()
                answer = ask(node, cookie, navigate=navigate, conn=conn)
                ended = now()
                if (answer.get("Connection") or "").lower() == "close":
                    conn.close()
                else:
                    self.kept[node.name] = conn
                if answer.status == 200:
                    return answer, began, ended
                self.count[f"status {answer.status}"] += 1
                if answer.status < 500:
                    raise Contradiction(f"{node.name} answered a page with {answer.status}",
                                        self.model.event(kind="page", node=node.name, status=answer.status), -1)
                return None
            except (OSError, ValueError, http.client.HTTPException) as why:
                self.count[f"page: {type(why).__name__}"] += 1
                if conn is not None:
                    conn.close()
        return None

    def look(self, node=None, navigate=None):
        node = node or self.node()
        navigate = self.random.random() < 0.7 if navigate is None else navigate
        got = self.page(node, self.cookie, navigate)
        if got is None:
            return None
        answer, began, ended = got
        allowed, state = decided(answer)
        self.count["decisions"] += 1
        self.count["decisions " + state] += 1
        self.model.looked(node.name, allowed, state, began, ended)
        fresh = cookie_of(answer, node)
        if fresh:
            self.keep(fresh)
        if state != "degraded" and (fresh or self.synced):
            self.synced = True
        return allowed, state, ended

    def look_with_old(self):
        node = self.node()
        got = self.page(node, self.random.choice(self.older), False)
        if got is None:
            return
        answer, began, ended = got
        allowed, state = decided(answer)
        self.count["decisions by an older cookie"] += 1
        if not self.loses:
            self.model.looked_with_old(node.name, allowed, state, began, ended)

    def send(self, method, path, body, kind):
        """A change, sent once: (status, answer or None, began, ended)."""
        node = self.node()
        lines = [f"Host: {node.host}", "Connection: close", "Sec-Fetch-Site: same-origin"]
        if kind:
            lines.append(f"Content-Type: {kind}")
        if self.cookie:
            lines.append(f"Cookie: {node.cookie_name}={self.cookie}")
        began = now()
        try:
            with Connection(node.port, timeout=PATIENCE) as conn:
                answer = conn.request(method, path, lines, body)
        except (OSError, ValueError, http.client.HTTPException):
            self.count["changes without an answer"] += 1
            return node, 0, None, began, now()
        return node, answer.status, answer, began, now()

    def change(self, wanted, method, path, body, kind, note):
        node, status, answer, began, ended = self.send(method, path, body, kind)
        self.count[f"changes {status}"] += 1
        if status in (500, 502, 504):
            status = 0
        choices = None
        if status in (200, 202):
            purposes = answer.json()["purposes"]
            choices = {p: WORDS[purposes[p]["choice"]] for p in PURPOSES}
        cookie = cookie_of(answer, node) if answer else None
        if status in (200, 202, 303):
            if not cookie:
                raise Contradiction(f"{status} without our cookie", self.model.event(kind="choice", status=status), -1)
            self.keep(cookie)
        elif cookie:
            raise Contradiction(f"{status} with a cookie", self.model.event(kind="choice", status=status), -1)
        self.synced = status == 200 or (status == 303 and "G" in wanted.values())
        self.model.answered(wanted, status, choices if status == 200 else None, began, ended, self.visitor_id(), node=node.name,
                            note=note)

    def choose(self):
        some = self.random.sample(PURPOSES, self.random.choice((1, 1, 2, 3)))
        wanted = {p: self.random.choice("GR") for p in some}
        body = json.dumps({"purposes": {p: v == "G" for p, v in wanted.items()}}).encode()
        self.change(wanted, "POST", "/privacy/consent", body, "application/json", "json")

    def form(self, accept=None):
        accept = self.random.random() < 0.7 if accept is None else accept
        wanted = {p: "G" for p in CONSENT} if accept else {p: "R" for p in PURPOSES}
        body = b"choice=accept" if accept else b"choice=refuse"
        self.change(wanted, "POST", "/privacy/consent", body, "application/x-www-form-urlencoded", body.decode())

    def withdraw(self):
        self.change({p: "R" for p in PURPOSES}, "DELETE", "/privacy/consent", b"", "", "DELETE")

    # ---- the operator, who knows the visitor's id
    def operator(self):
        try:
            held = self.fleet.redis.record(self.model.id)
        except (redis_py.exceptions.RedisError, LookupError):
            return
        if not held or self.model.held(held) is not None:
            return  # not there yet
        key = f"privacy:consent:{{{self.model.id}}}"
        what = self.random.choices(("refused", "age", "restricted", "DEL"), (6, 1, 1, 1))[0]
        granted = [p for p in CONSENT if self.model.cells[p].values == {"G"}]
        if what == "refused":
            if not granted:
                return
            lowered = [self.random.choice(granted)]
            words = ("HSET", key, "refused", ",".join([*filter(None, [held.get("refused", "")]), *lowered]))
        elif what == "DEL":
            lowered, words = granted, ("DEL", key)
        else:
            lowered = list(PURPOSES)
            words = ("HSET", key, what, "1" if what == "restricted" else "under:13")
        began = now()
        try:
            self.fleet.redis.cli(*words)
            done = True
        except Exception:  # redis-cli says so in many ways
            done = False
        ended = now()
        self.count["operator " + what] += 1
        if what == "DEL":
            self.older = []  # what they refuse would count again, now that no record says otherwise: INTERFACE 7
            self.model.erased(done, began, ended)
        else:
            self.model.edited(lowered, done, began, ended, note=" ".join(words))
        if done and lowered:
            self.watch(lowered, ended)
        if what in ("age", "restricted"):
            self.left = self.random.randint(1, 8)
            while self.left > 0 and not self.stop.is_set():
                self.look()
                self.left -= 1

    def watch(self, lowered, since):
        """How long each node takes to show the edit, where it reaches the store at all."""
        waiting = list(self.fleet.nodes)
        self.random.shuffle(waiting)
        while waiting and now() < since + WINDOW + 0.1 and not self.stop.is_set():
            for node in list(waiting):
                got = self.look(node, navigate=False)
                if got is None or got[1] == "degraded":
                    waiting.remove(node)
                elif not set(lowered) & got[0]:
                    self.pushed.append(got[2] - since)
                    waiting.remove(node)
