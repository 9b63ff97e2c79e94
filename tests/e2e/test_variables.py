"""The variables `$privacy_*` and environment `PRIVACY_*`, as a log shows them."""
import re

import pytest

from harness.client import Visitor
from harness.policies import policy
from harness.site import Loc, Site

counter = iter(range(10_000))


def site(*locs, **more):
    return Site(*(locs or (Loc("/", proxy=True),)), log=True, **more)


def row(run, *lines, path="/x", who=None):
    target = f"{path}?n={next(counter)}"
    (who or Visitor(run)).get(target, lines)
    return run.logged(target)


def test_a_first_visit(serve):
    got = row(serve(site()))
    assert got["purposes"] == "necessary,security" and got["denied"] == "preferences,statistics,marketing"
    assert got["reason"] == "none" and got["id"] == "" and got["age"] == "unknown" and got["signals"] == ""
    assert got["region"] == "" and got["state"] == "none" and got["removed"] == "" and got["unknown"] == ""
    assert re.fullmatch(r"[0-9a-f]{16}", got["variant"]) and got["addr"] == "127.0.0.0"


@pytest.mark.asan
def test_a_visitor_who_chose(serve, store):
    run = serve(site())
    who = Visitor(run)
    who.choose(statistics=True, marketing=False)
    got = row(run, who=who)
    assert got["purposes"] == "necessary,statistics,security" and got["id"] == who.consent()["id"]
    assert got["state"] in (("store",) if store == "redis" else ("token", "cache"))


def test_signals_and_region(serve):
    run = serve(site())
    got = row(run, "Sec-GPC: 1", "DNT: 1", "X-Region: us-ca")
    assert got["signals"] == "gpc,dnt" and got["region"] == "US-CA" and got["reason"] == "gpc"
    assert row(run, "DNT: 1")["signals"] == "dnt" and row(run, "X-Region: nowhere")["region"] == ""


def test_removed_and_unknown_cookies(serve, upstream):
    upstream.cookies = ["_ga=1", "strange=2", "session=3"]
    got = row(serve(site()), "Cookie: _fbp=1; mystery=2; session=3")
    assert set(got["removed"].split(",")) == {"_fbp", "mystery", "_ga", "strange"}
    assert set(got["unknown"].split(",")) == {"mystery", "strange"}


def test_reason_is_that_of_the_first_denial(serve):
    run = serve(site())
    who = Visitor(run)
    who.choose(preferences=False, statistics=True)
    assert row(run, who=who)["reason"] == "refused"
    who.choose(preferences=True, marketing=True)
    assert row(run, who=who)["reason"] == "ok"


def test_the_variant(serve):
    """Few values: by what is allowed, not by who asks."""
    run = serve(site())
    first, second = row(run)["variant"], row(run)["variant"]
    one, two, three = Visitor(run), Visitor(run), Visitor(run)
    for who in (one, two):
        who.choose(statistics=True)
    three.choose(statistics=True, preferences=True)
    assert first == second != row(run, who=one)["variant"] == row(run, who=two)["variant"]
    assert row(run, who=three)["variant"] not in (first, row(run, who=one)["variant"])


def test_the_variant_is_the_same_on_both_servers(serve, server):
    runs = [serve(site()), serve(site(), server={"nginx": "httpd", "httpd": "nginx"}[server])]
    who = Visitor(runs[0])
    who.choose(statistics=True)
    seen = []
    for run in runs:
        other = Visitor(run)
        other.jar = who.jar
        seen.append((row(run)["variant"], row(run, who=other)["variant"], row(run, "X-Region: US")["variant"]))
    assert seen[0] == seen[1] and len(set(seen[0])) == 3


def test_an_age(serve):
    run = serve(site())
    for born, word in (("1990-01-01", "ok"), ("2020-01-01", "under")):
        who = Visitor(run)
        who.post_json("/privacy/age", {"birth_date": born})
        assert row(run, who=who)["age"] == word


def test_rows_name_the_row_of_each_purpose(serve):
    got = row(serve(site()), "Sec-GPC: 1", "X-Region: US")
    assert "necessary" not in got["rows"] or "2" in got["rows"]
    assert [int(n) for n in re.findall(r"\d+", got["rows"])] == [2, 14, 8, 8, 13]


def test_the_application_can_read_them(serve, upstream):
    """nginx: proxy_set_header; httpd: RequestHeader."""
    run = serve(site(Loc("/", proxy=True, nginx="proxy_set_header X-Purposes $privacy_purposes;",
                         httpd='RequestHeader set X-Purposes "%{PRIVACY_PURPOSES}e"')))
    who = Visitor(run)
    who.choose(statistics=True)
    who.get("/x")
    assert upstream.last.get("X-Purposes") == "necessary,statistics,security"


def test_conditions_before_the_gate_cannot_wait(serve):
    """A variable in an early rule sees cookie and cache, never blocks, and never grants what the store took away."""
    run = serve(site(Loc("/", proxy=True, nginx='set $early $privacy_purposes;\nadd_header X-Early $early always;',
                         httpd='Header always set X-Early "%{PRIVACY_PURPOSES}e"')))
    who = Visitor(run)
    who.choose(statistics=True)
    assert "statistics" in who.get("/x").get("X-Early")
    assert "statistics" not in (run.get("/x").get("X-Early") or "")


def test_policy_without_jurisdictions(serve):
    got = row(serve(site(policy=policy(jurisdictions={"*": {"default": "deny"}}))), "X-Region: US")
    assert got["purposes"] == "necessary,security" and got["region"] == "US"
