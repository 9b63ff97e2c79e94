"""Directed histories, each provoking one mistake at once: on a build that makes it (core/mutant.h) the checker must find a
contradiction, on the build that is shipped it must find none. `here` and `there` are the two servers, in both directions."""
import random
import threading
import time

from fleet import DURABLE, Fleet, Redis, now, site
from harness.proc import wait_for
from model import WINDOW, Contradiction
from visitors import Browser


class Actor(Browser):
    """A visitor that does what a scenario says, on the node that it says."""

    def __init__(self, fleet):
        super().__init__("actor", fleet, 0, threading.Event())
        self.at = None

    def node(self):
        return self.at

    def choose_at(self, node, **wanted):
        import json
        self.at = node
        wanted = {k: "G" if v else "R" for k, v in wanted.items()}
        body = json.dumps({"purposes": {p: v == "G" for p, v in wanted.items()}}).encode()
        before = len(self.model.history)
        self.change(wanted, "POST", "/privacy/consent", body, "application/json", "")
        return self.model.history[before]["status"]

    def granted_at(self, node, **wanted):
        """A choice that is done; the store is well, but a server that just started may still be connecting to it."""
        assert wait_for(lambda: self.choose_at(node, **wanted) == 200, 5, 0.05), f"{node.name} takes no choice"

    def operator_refuses(self, purpose):
        key = f"privacy:consent:{{{self.model.id}}}"
        refused = list(filter(None, [self.fleet.redis.r.hget(key, "refused"), purpose]))
        began = now()
        self.fleet.redis.cli("HSET", key, "refused", ",".join(refused))
        self.model.edited([purpose], True, began, now(), note="HSET refused " + purpose)
        return now()

    def holds(self):
        """What is acknowledged as stored is in Redis at that moment."""
        wrong = self.model.held(self.fleet.redis.record(self.model.id)) if self.model.stored else None
        if wrong:
            raise Contradiction(wrong, len(self.model.history) - 1, len(self.model.history) - 1)

    def known_at(self, node):
        """Until the node decides from its cache."""
        assert wait_for(lambda: (self.look(node, navigate=False) or ("", ""))[1] == "cache", 5), \
            f"{node.name} does not decide from its cache"

    def cut_off(self, node):
        """The node reaches Redis no more, and hears nothing of what comes."""
        node.proxy.mode = "refuse"
        node.proxy.cut_all()
        assert wait_for(lambda: not node.proxy.pairs, 5), f"{node.name} still has a connection"

    def until(self, moment):
        time.sleep(max(0.0, moment - now()))


# ---- scenarios: (fleet, here, there) -> nothing, or a Contradiction

def withdrawn_elsewhere_while_away(fleet, here, there):
    """A node that cannot reach Redis saw the grant; the cookie that it gets now is later and refuses."""
    who = Actor(fleet)
    who.granted_at(here, statistics=True, preferences=True)
    assert wait_for(lambda: (who.look(there) or ("", ""))[1] in ("store", "cache"), 5)
    who.cut_off(there)
    who.granted_at(here, statistics=False)
    who.look(there)
    who.look(there)
    there.proxy.mode = "pass"


def granted_without_a_reply(fleet, here, there):
    """Redis never sees the grant: it must not be acknowledged."""
    who = Actor(fleet)
    here.proxy.mode = "lost"
    who.choose_at(here, statistics=True)
    who.holds()
    here.proxy.mode = "pass"
    who.granted_at(there, statistics=True)
    who.holds()


def lowered_by_hand(fleet, here, there):
    """Both servers decide from their caches; an operator refuses by hand."""
    who = Actor(fleet)
    who.granted_at(here, statistics=True, preferences=True)
    for node in (here, there):
        who.known_at(node)
    when = who.operator_refuses("statistics")
    who.until(when + WINDOW + 0.01)
    for node in (here, there):
        who.look(node)


def lowered_while_the_link_was_lost(fleet, here, there):
    """What is changed while a node hears nothing is found out when it hears again."""
    who = Actor(fleet)
    who.granted_at(here, statistics=True, preferences=True)
    who.known_at(there)
    other = Actor(fleet)  # shows when the node decides from its cache again
    other.granted_at(here, preferences=True)
    who.cut_off(there)
    assert wait_for(lambda: (other.look(there, navigate=False) or ("", ""))[1] == "degraded", 5)
    when = who.operator_refuses("statistics")
    there.proxy.mode = "pass"
    other.known_at(there)
    who.until(when + WINDOW + 0.01)
    other.known_at(there)
    who.look(there, navigate=False)


def lowered_within_a_slice(fleet, here, there):
    """As lowered_by_hand, read at the beginning of a two-second slice of the machine's clock and looked at before its end."""
    who = Actor(fleet)
    who.granted_at(here, statistics=True, preferences=True)
    who.until((now() // 2 + 1) * 2 + 0.02)
    who.known_at(there)
    when = who.operator_refuses("statistics")
    who.until(when + WINDOW + 0.01)
    who.look(there, navigate=False)


SCENARIOS = {
    "no-seq-compare": withdrawn_elsewhere_while_away,
    "ack-early": granted_without_a_reply,
    "serve-stale": lowered_by_hand,
    "drop-epoch": lowered_while_the_link_was_lost,
    "poll": lowered_within_a_slice,
}


class Stage:
    """One nginx and one httpd of a build, and a durable Redis."""

    def __init__(self, mutant=None):
        self.redis = Redis(*DURABLE)
        try:
            self.fleet = Fleet(self.redis, 1, 1, 2, env={"PRV_MUTANT": mutant} if mutant else None,
                               where=site(timeout_ms=400))
        except BaseException:
            self.redis.close()
            raise

    def __enter__(self):
        self.fleet.well()
        return self

    def __exit__(self, *_):
        self.fleet.close()
        self.redis.close()

    def play(self, scenario, turned):
        """None, or what the checker found."""
        nodes = list(reversed(self.fleet.nodes)) if turned else self.fleet.nodes
        try:
            scenario(self.fleet, *nodes)
        except Contradiction as why:
            return why
        finally:
            for node in nodes:
                node.proxy.mode, node.proxy.link_mode = "pass", None
            self.fleet.well()
        return None


def directed(mutant=None, tell=print):
    """Every scenario in both directions on the shipped build, or on one mutant the one that is about it. Yields
    (name, passed, what)."""
    wanted = {mutant: SCENARIOS[mutant]} if mutant else SCENARIOS
    with Stage(mutant) as stage:
        for name, scenario in wanted.items():
            for turned in (False, True):
                began = time.monotonic()
                where = "httpd, nginx" if turned else "nginx, httpd"
                try:
                    found = stage.play(scenario, turned)
                    good = bool(found) == bool(mutant)
                except Exception as why:  # whatever it is, the scenario did not show what it is for
                    found, good = repr(why), False
                what = f"{scenario.__name__} ({where})" + (f" on the mutant {mutant}" if mutant else "")
                tell(f"{'ok  ' if good else 'FAIL'} {what}: {time.monotonic() - began:.1f} s: {found or 'nothing contradicts'}")
                yield what, good, found
        complaints = stage.fleet.complaints()
        if complaints:
            yield "the error logs", False, "; ".join(complaints)


__all__ = ["SCENARIOS", "directed", "random"]
