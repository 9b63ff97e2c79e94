"""privacy_limit: state-changing calls per client address and per id."""
import pytest

from harness.client import Visitor
from harness.site import Loc, Site

pytestmark = pytest.mark.stores("off")


def calls(run, n, method="POST"):
    who = Visitor(run, keeps_cookies=False)
    return [who.post_json("/privacy/consent", {"purposes": {"statistics": False}}) for _ in range(n)]


def test_more_than_the_burst_is_429(serve):
    run = serve(Site(Loc("/"), main={"limit": "1r/m burst=3"}), fresh=True)
    answers = calls(run, 8)
    statuses = [a.status for a in answers]
    assert statuses[:3] == [200] * 3 and statuses[-1] == 429 and statuses == sorted(statuses)
    last = answers[-1]
    assert last.get("Content-Type") == "application/problem+json" and int(last.get("Retry-After")) > 0
    assert last.all("Set-Cookie") == []
    assert run.get("/privacy/consent").status == 200 and run.get("/").status == 200, "reading is not limited"


def test_the_default_is_thirty_with_a_burst(serve):
    run = serve(Site(Loc("/"), main={"limit": None}), fresh=True)
    statuses = [a.status for a in calls(run, 64)]
    assert statuses.count(200) in range(30, 34) and statuses[-1] == 429


def test_off(serve):
    run = serve(Site(Loc("/"), main={"limit": "off"}))
    assert {a.status for a in calls(run, 40)} == {200}
