"""Report mode: endpoints work and choices are kept; elsewhere no byte changes, variables say what would have happened."""
import pytest

from harness.client import NAVIGATION, Visitor
from harness.policies import policy
from harness.site import Loc, Site

FILES = {"gated/x.html": "<p>gated</p>"}


def site(*locs, **more):
    more.setdefault("mode", "report")
    return Site(Loc("/", proxy=True), Loc("/gated/", require="statistics"), Loc("/old/", min_age="18"), *locs,
                files={**FILES, "old/x.html": "<p>old</p>"}, **more)


@pytest.mark.asan
def test_nothing_changes(serve, upstream):
    upstream.cookies = ["_ga=1; Path=/", "mystery=2"]
    run = serve(site())
    answer = run.get("/x", "Cookie: _ga=1; mystery=2", "Sec-GPC: 1", *NAVIGATION)
    assert answer.all("Set-Cookie") == upstream.cookies
    assert upstream.last.all("Cookie") == ["_ga=1; mystery=2"]
    for name in ("Vary", "Tk", "Link"):
        assert answer.all(name) == [], name
    assert not [l for l in upstream.last.lines if l.lower().startswith("privacy-")]


def test_gates_pass(serve):
    run = serve(site())
    assert run.get("/gated/x.html").status == 200 and run.get("/old/x.html", *NAVIGATION).status == 200


def test_vendor_locations_pass(serve, upstream):
    run = serve(site(Loc("/v/", proxy=True, vendor="analytics")))
    assert run.get("/v/x", "Cookie: session=1").status == 200 and upstream.last.cookies() == ["session"]


def test_require_as_authorisation_grants(serve):
    run = serve(site(Loc("/r/", nginx="privacy_require statistics;", httpd="Require privacy-purpose statistics")))
    assert run.get("/r/none.html").status == 404


def test_clients_privacy_fields_are_removed(serve, upstream):
    serve(site()).get("/x", "Privacy-Consent: marketing", "Privacy-Age: ok;min=18")
    assert not [l for l in upstream.last.lines if l.lower().startswith("privacy-")]


@pytest.mark.asan
def test_choices_are_kept(serve):
    who = Visitor(serve(site()))
    who.choose(statistics=True, marketing=False)
    assert "statistics" in who.allowed() and who.consent()["purposes"]["marketing"]["choice"] == "refused"


def test_variables_say_what_would_have_happened(serve):
    run = serve(site(log=True))
    run.get("/gated/x.html?1", "Cookie: _ga=1; mystery=2", "Sec-GPC: 1")
    row = run.logged("/gated/x.html?1")
    assert row["purposes"] == "necessary,security" and "marketing" in row["denied"] and row["signals"] == "gpc"
    assert set(row["removed"].split(",")) == {"_ga", "mystery"} and row["unknown"] == "mystery"


def test_without_a_policy_everything_is_counted_only(serve, upstream):
    """`privacy report;` alone: the smallest useful configuration."""
    upstream.cookies = ["_ga=1"]
    run = serve(Site(Loc("/", proxy=True), mode="report", region=False, endpoint=False, log=True,
                     main={"policy": None, "key_file": None, "limit": None}))
    answer = run.get("/x?2", "Cookie: a=1; b=2")
    assert answer.all("Set-Cookie") == ["_ga=1"] and upstream.last.all("Cookie") == ["a=1; b=2"]
    row = run.logged("/x?2")
    assert set(row["unknown"].split(",")) >= {"a", "b"} and row["purposes"] == ""


def test_a_reported_location_below_a_gated_server(serve, upstream):
    run = serve(site(Loc("/r/", proxy=True, mode="report"), mode="on"))
    run.get("/r/x", "Cookie: _ga=1")
    assert upstream.last.cookies() == ["_ga"]
    run.get("/x", "Cookie: _ga=1")
    assert upstream.last.cookies() == []


def test_roll_out_from_report_to_deny(serve, upstream):
    """on with unknown_cookies report, then deny."""
    run = serve(Site(Loc("/", proxy=True), policy=policy(unknown_cookies="report"), log=True))
    run.get("/x?3", "Cookie: mystery=1; _ga=2")
    assert upstream.last.cookies() == ["mystery"] and run.logged("/x?3")["unknown"] == "mystery"
