"""What one visitor was promised, and whether a decision contradicts it. Pure: no clock, no network.

For each purpose a cell holds what a decision may show: a set of values, because a write whose answer was lost may or may not
have happened, and may still happen (a command that waits in a stopped Redis). A value is G granted, R refused, N no choice.
The rules are INTERFACE 3, 4 and 7:

* 200, and 303 for a form that only grants or only refuses: done, in Redis if the visitor has an id. The answer says what holds.
* 202: what refuses is done, by the cookie; what grants is not, but a write of it may have been on its way.
* 503 or no answer: a grant may have happened, if there is a record to write it to. A refusal too, but only if nothing came back.
* Every write compares what it read, so one that was on its way before a 200 cannot happen after it.
* An operator's edit holds on every node WINDOW seconds after Redis acknowledged it, where the store answers.
* `degraded` decisions rest on the cookie and on what the node saw last: they may know nothing of the operator's edit, and they
  may grant less than was granted. They never show allowed what the visitor refused, or never granted.
"""
from dataclasses import dataclass, field

from fleet import CONSENT, PURPOSES

# The link is up only while a SUBSCRIBE that was *sent* in the last 900 ms was acknowledged, and every invalidation before it has
# then been heard. So no entry outlives a change by more, however busy the machine is: the clock is the machine's.
WINDOW = 1.0


def shows(purpose, value):
    """Is a purpose with this choice allowed? Legitimate interests are, until objected to."""
    return value == "G" or (purpose not in CONSENT and value == "N")


@dataclass
class Cell:
    values: set
    unknown: set = field(default_factory=set)  # what a degraded decision may show besides
    late: set = field(default_factory=set)     # what any decision may show besides, if it began before `until`
    until: float = 0.0
    why: int = -1                              # event that set it, by its place in the history


class Contradiction(Exception):
    def __init__(self, text, event, why):
        super().__init__(text)
        self.event, self.why = event, why


class Visitor:
    """The history of one visitor and what follows from it. Times are monotonic seconds, `began` before the first byte was sent."""

    def __init__(self, name, loses=False):
        self.name = name
        self.loses = loses    # the store may forget (asynchronous replication): grants and edits, not the visitor's own refusals
        self.history = []
        self.id = None
        self.stored = False   # the last acknowledged choice is in Redis and nothing else is under way
        self.acked = 0.0      # when that was
        self.deleted = False  # by the operator, and not written again since
        self.cells = {p: Cell({"N"}) for p in PURPOSES}
        self.lowered = set()  # purposes that the operator took away and the visitor did not give again
        self.back = set()     # purposes whose grant was deleted: an older refusal that a node or cookie remembers counts again
        self.losses = []      # what asynchronous replication may lose, when that is allowed

    def event(self, **what):
        self.history.append(what)
        return len(self.history) - 1

    # ---- the visitor's own choices
    def _set(self, purpose, value, why):
        self.cells[purpose] = Cell({value}, why=why)
        self.lowered.discard(purpose)
        self.back.discard(purpose)

    def answered(self, wanted, status, choices, began, ended, visitor_id=None, **note):
        """wanted: {purpose: 'G'|'R'}; status: the answer's, or 0 for none; choices: {purpose: value} of the answer, if it says."""
        why = self.event(kind="choice", wanted=wanted, status=status, choices=choices, began=began, ended=ended, **note)
        had_id = self.id is not None
        if visitor_id:
            self.id = visitor_id
        grants = {p for p, v in wanted.items() if v == "G"}
        if status in (200, 303):
            for p, v in wanted.items():
                self._set(p, v, why)
            for p, cell in self.cells.items():
                if p in wanted:
                    self._told(p, choices, {wanted[p]}, why)
                else:
                    self._told(p, choices, cell.values, why)
                    if choices:
                        self.cells[p] = Cell({choices[p]} | ({"R"} if p in self.back else set()), why=cell.why)
            self.stored = status == 200 and self.id is not None
            self.acked = ended
            if self.id is not None and (status == 200 or grants):
                self.deleted = False  # a form that only refuses may live in the cookie alone
        elif status == 202:
            for p in set(wanted) - grants:
                self._set(p, "R", why)
            if had_id:
                self._maybe(grants, "G", why)
            self.stored = False
        elif status == 503:
            if not grants:
                raise Contradiction("a choice that only refuses was answered 503", why, why)
            # a mixed choice lowers by its cookie: answered 202; if that could not be made, nothing is known of either
            self._maybe_all(wanted, had_id, why)
        elif status == 0:
            self._maybe_all(wanted, had_id, why)
        else:
            raise Contradiction(f"a choice was answered {status}", why, why)
        return why

    def _told(self, purpose, choices, may, why):
        if not choices or choices[purpose] in may:
            return
        if not self._lost(purpose, choices[purpose] == "G", why):
            raise Contradiction(f"the answer says {choices[purpose]} of {purpose}, which was to be "
                                f"{' or '.join(sorted(may))}", why, self.cells[purpose].why)

    def _lost(self, purpose, shown, why):
        """Is it what the store may have forgotten?"""
        cell = self.cells[purpose]
        if not self.loses or (shown and purpose not in self.lowered) or (not shown and cell.values == {"R"}):
            return False
        self.losses.append((purpose, why, cell.why))
        self.cells[purpose] = Cell(cell.values | ({"G"} if shown else {"N"}), cell.unknown, why=cell.why)
        return True

    def _maybe(self, purposes, value, why):
        for p in purposes:
            cell = self.cells[p]
            if value not in cell.values:
                self.cells[p] = Cell(cell.values | {value}, cell.unknown, cell.late, cell.until, why)
            self.stored = False

    def _maybe_all(self, wanted, had_id, why):
        self.stored = False
        if had_id:  # without an id the record would be one that nobody has the name of
            for p, v in wanted.items():
                self._maybe([p], v, why)

    # ---- the operator
    def edited(self, purposes, done, began, ended, **note):
        """`HSET refused`, `HSET age under`, `HSET restricted`, acknowledged by Redis (done) or perhaps not."""
        why = self.event(kind="operator", purposes=sorted(purposes), done=done, began=began, ended=ended, **note)
        for p in purposes:
            self._lower(p, "R", done, ended, why)
        return why

    def erased(self, done, began, ended):
        """`DEL` of the record: grants end, refusals do not."""
        why = self.event(kind="operator", note="DEL", done=done, began=began, ended=ended)
        for p, cell in self.cells.items():
            if cell.values & {"G"}:
                self._lower(p, "N", done, ended, why)
                self.cells[p].values.add("R")
                self.back.add(p)
            elif p in self.lowered:  # the cookie may not have heard of what an operator refused
                cell.values.add("N")
        self.deleted = self.deleted or done
        return why

    def _lower(self, purpose, value, done, ended, why):
        cell = self.cells[purpose]
        before = cell.values | cell.late
        if done:
            self.cells[purpose] = Cell({value}, before | cell.unknown, before, ended + WINDOW, why)
            self.lowered.add(purpose)
        else:
            self.cells[purpose] = Cell(cell.values | {value}, cell.unknown, cell.late, cell.until, why)

    # ---- decisions
    def looked(self, node, allowed, state, began, ended, **note):
        """A decision with the newest cookie."""
        why = self.event(kind="decision", node=node, allowed=sorted(allowed), state=state, began=began, ended=ended, **note)
        degraded = state == "degraded"
        for p, cell in self.cells.items():
            may = set(cell.values)
            if degraded:
                may |= cell.unknown
            if began < cell.until:
                may |= cell.late
            shown = p in allowed
            if shown in {shows(p, v) for v in may}:
                continue
            if not shown and degraded:
                continue  # less than was granted: the store is away
            if self._lost(p, shown, why):
                continue
            raise Contradiction(self._say(p, shown, may, node, state), why, cell.why)
        return why

    def looked_with_old(self, node, allowed, state, began, ended):
        """A decision with an older cookie of the same visitor: the record decides, once the last choice is known everywhere."""
        why = self.event(kind="decision", cookie="older", node=node, allowed=sorted(allowed), state=state, began=began, ended=ended)
        if state == "degraded" or not self.stored or began < self.acked + WINDOW:
            return why
        for p, cell in self.cells.items():
            may = cell.values | (cell.late if began < cell.until else set())
            shown = p in allowed
            if shown not in {shows(p, v) for v in may}:
                raise Contradiction(self._say(p, shown, may, node, state) + " (with an older cookie)", why, cell.why)
        return why

    def _say(self, purpose, shown, may, node, state):
        return (f"{node} decided from {state!r} that {purpose} is {'allowed' if shown else 'denied'}; "
                f"it was to be {' or '.join(sorted(may))}")

    def settled(self):
        """Every cell has one value: what Redis holds can be told."""
        return all(len(c.values) == 1 for c in self.cells.values())

    def held(self, record):
        """None, or how what Redis holds differs from what was promised."""
        if self.id is None or self.deleted:
            return None
        if not record:
            if any("R" in c.values and len(c.values) == 1 or c.values == {"G"} for c in self.cells.values()):
                return "the record is gone"
            return None
        granted = set(filter(None, record.get("granted", "").split(",")))
        refused = set(filter(None, record.get("refused", "").split(",")))
        all_denied = "under" in record.get("age", "") or record.get("restricted") == "1"
        for p, cell in self.cells.items():
            value = "R" if p in refused else "G" if p in granted else "N"
            if value not in cell.values and not (all_denied and cell.values == {"R"}):
                return f"Redis holds {value} of {p}, promised was {' or '.join(sorted(cell.values))}"
        return None

    def tell(self, problem):
        """The whole history as text, the contradicting pair marked."""
        marks = {problem.event: "<<", problem.why: "**"} if isinstance(problem, Contradiction) else {}
        start = min((e["began"] for e in self.history if "began" in e), default=0.0)
        lines = [f"visitor {self.name} id {self.id}: {problem}"]
        for i, e in enumerate(self.history):
            parts = [f"{k}={v!r}" for k, v in e.items() if k not in ("began", "ended") and v not in (None, "", {})]
            lines.append(f"{marks.get(i, '  '):3}{i:4} {1000 * (e.get('began', start) - start):9.1f} to "
                         f"{1000 * (e.get('ended', start) - start):9.1f} ms  {' '.join(parts)}")
        return "\n".join(lines)
