"""privacy_require, privacy_vendor and the answers of a gate that does not pass."""
import pytest

from harness.client import NAVIGATION, Visitor
from harness.site import Loc, Site

SECRET = "<p>for the consenting</p>"
FILES = {"stats/page.html": SECRET, "both/page.html": SECRET}


def site(*locs, **more):
    locs = locs or (Loc("/stats/", require="statistics"),)
    return Site(Loc("/"), *locs, files=FILES, **more)


def granted(run, **purposes):
    who = Visitor(run)
    who.choose(**(purposes or {"statistics": True}))
    return who


@pytest.mark.asan
def test_without_a_grant_a_gated_page_is_refused(serve):
    answer = serve(site()).get("/stats/page.html")
    assert answer.status == 403 and SECRET not in answer.text
    assert answer.get("Content-Type") == "application/problem+json"
    assert answer.json()["status"] == 403 and answer.json()["title"]


@pytest.mark.asan
def test_a_grant_opens_it(serve):
    answer = granted(serve(site())).get("/stats/page.html")
    assert answer.status == 200 and SECRET in answer.text


def test_a_refusal_keeps_it_shut_and_other_pages_open(serve):
    who = granted(serve(site()), statistics=False)
    assert who.get("/stats/page.html").status == 403 and who.get("/").status == 200


def test_all_named_purposes_are_needed(serve):
    run = serve(site(Loc("/both/", require="statistics preferences")))
    assert granted(run).get("/both/page.html").status == 403
    assert granted(run, statistics=True, preferences=True).get("/both/page.html").status == 200


@pytest.mark.parametrize("status", [403, 404, 409, 451, 204])
def test_the_status_of_a_refusal(serve, status):
    answer = serve(site(Loc("/stats/", require=f"statistics status={status}"))).get("/stats/page.html", *NAVIGATION)
    assert answer.status == status and SECRET not in answer.text
    assert (answer.body == b"") is (status == 204)


def test_a_redirect_is_for_navigations(serve):
    run = serve(site(Loc("/stats/", require="statistics redirect=/why")))
    answer = run.get("/stats/page.html?a=b", *NAVIGATION)
    assert answer.status == 303 and answer.get("Location").endswith("/why")
    assert "no-store" in (answer.get("Cache-Control") or "")
    for lines in ([], ["Accept: application/json"], ["Accept: text/html", "Sec-Fetch-Mode: cors"]):
        answer = run.get("/stats/page.html", *lines)
        assert answer.status == 403 and answer.get("Content-Type") == "application/problem+json"
    assert run.get("/stats/page.html", "Accept: text/html,*/*").status == 303
    assert run.request("POST", "/stats/page.html", NAVIGATION).status == 403


def test_a_redirect_to_our_pages_knows_the_way_back(serve):
    run = serve(site(Loc("/stats/", require="statistics redirect=/privacy/")))
    answer = run.get("/stats/page.html?a=b&c", *NAVIGATION)
    assert answer.status == 303
    assert answer.get("Location").endswith("/privacy/?return=%2Fstats%2Fpage.html%3Fa%3Db%26c")


def test_a_refusal_sets_no_cookie_and_is_not_stored(serve):
    answer = serve(site()).get("/stats/page.html")
    assert answer.all("Set-Cookie") == [] and "no-store" in (answer.get("Cache-Control") or "")


def test_a_gated_page_varies_with_what_mattered(serve):
    who = granted(serve(site()))
    assert who.get("/stats/page.html").vary() == {"cookie", "sec-gpc", "dnt", "x-region"}
    assert who.get("/").vary() == set()


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"])
def test_every_method_is_gated(serve, upstream, method):
    run = serve(site(Loc("/stats/", proxy=True, require="statistics")))
    assert run.request(method, "/stats/x").status == 403 and not upstream.requests


def test_unusual_paths_are_gated(serve):
    run = serve(site())
    for path in ("/stats/./page.html", "/x/../stats/page.html", "//stats/page.html", "/%73tats/page.html",
                 "/stats//page.html", "/stats/page.html?x"):
        answer = run.get(path)
        assert SECRET not in answer.text and answer.status in (400, 403, 404), path


@pytest.mark.asan
def test_a_vendor_location_forwards_nothing_without_consent(serve, upstream):
    run = serve(site(Loc("/v/", proxy=True, vendor="analytics")))
    answer = run.get("/v/collect", "Cookie: an_1=2")
    assert answer.status == 204 and answer.body == b"" and not upstream.requests


@pytest.mark.asan
def test_a_vendor_location_forwards_only_its_own(serve, upstream):
    who = granted(serve(site(Loc("/v/", proxy=True, vendor="analytics"))))
    who.jar.update(session="1", an_1="2", _ga="3")
    upstream.cookies = ["an_2=1", "session=2", "_ga=3"]
    answer = who.get("/v/collect", ["Authorization: Bearer secret", "Privacy-X: y"])
    assert answer.status == 200 and "an_2" in answer.set_cookies()
    assert upstream.last.cookies() == ["an_1"]
    assert upstream.last.get("Authorization") is None
    assert not [l for l in upstream.last.lines if l.lower().startswith("privacy-")]


@pytest.mark.parametrize("region,passes", [("US", True), ("US-CA", True), ("FR", False), (None, False), ("USA", False),
                                           ("us", True), ("US-", False)])
def test_a_vendor_of_some_regions(serve, upstream, region, passes):
    run = serve(site(Loc("/v/", proxy=True, vendor="adtech")))
    who = granted(run, marketing=True)
    answer = who.get("/v/x", [f"X-Region: {region}"] if region else [])
    assert answer.status == (200 if passes else 204) and bool(upstream.requests) is passes


def test_the_gate_off_in_a_location(serve):
    run = serve(site(Loc("/stats/", require="statistics", mode="off")))
    assert run.get("/stats/page.html").status == 200


def test_require_as_authorisation(serve):
    """httpd's own `Require privacy-purpose`; nginx's counterpart is the directive."""
    run = serve(site(Loc("/both/", nginx="privacy_require statistics preferences;",
                         httpd="Require privacy-purpose statistics preferences")))
    assert run.get("/both/page.html").status == 403
    assert granted(run).get("/both/page.html").status == 403
    assert granted(run, statistics=True, preferences=True).get("/both/page.html").status == 200


def test_age_as_authorisation(serve):
    run = serve(site(Loc("/both/", nginx="privacy_min_age 13 status=403;", httpd="Require privacy-min-age 13")))
    assert run.get("/both/page.html").status == 403
    who = Visitor(run)
    who.post_json("/privacy/age", {"birth_date": "1990-01-01"})
    assert who.get("/both/page.html").status == 200
