"""Age: bounds instead of dates, the gate by region, what the application reports, and no way back for a child."""
import datetime

import pytest

from harness.client import NAVIGATION, Visitor
from harness.policies import policy
from harness.site import Loc, Site

FILES = {"account/index.html": "<p>account</p>", "adult/index.html": "<p>adult</p>"}
GATES = (Loc("/account/", min_age="policy"), Loc("/adult/", min_age="18"))


def site(**more):
    return Site(Loc("/"), Loc("/app/", proxy=True), *GATES, files=FILES, **more)


def born(years, days=0):
    """The date of birth of who is exactly `years` old in `days` days' time."""
    today = datetime.datetime.now(datetime.timezone.utc).date() + datetime.timedelta(days=days)
    try:
        return today.replace(year=today.year - years).isoformat()
    except ValueError:
        return (today.replace(day=28, year=today.year - years)).isoformat()


def answer_age(who, date):
    answer = who.post_json("/privacy/age", {"birth_date": date})
    assert answer.status == 200, answer.text
    return answer.json()


@pytest.mark.asan
def test_an_unknown_age_is_asked_for(serve):
    run = serve(site())
    answer = run.get("/account/?x=1", *NAVIGATION)
    assert answer.status == 303 and answer.get("Location").endswith("/privacy/age?return=%2Faccount%2F%3Fx%3D1")
    answer = run.get("/account/")
    assert answer.status == 403 and answer.get("Content-Type") == "application/problem+json"


def test_the_question_is_neutral(serve):
    answer = serve(site()).get("/privacy/age?return=%2Faccount%2F")
    assert answer.status == 200 and "13" not in answer.text.split("<form")[-1].replace("1913", "").replace("2013", "")
    assert "selected" not in answer.text and "checked" not in answer.text


@pytest.mark.asan
@pytest.mark.parametrize("region,years", [(None, 16), ("US", 13), ("FR", 15), ("DE", 16), ("DK", 15), ("GB", 16)])
def test_the_threshold_of_the_region(serve, region, years):
    run = serve(site())
    lines = [f"X-Region: {region}"] if region else []
    for date, status in ((born(years), 200), (born(years, 1), 403), (born(years + 1), 200)):
        who = Visitor(run, lines)
        answer_age(who, date)
        answer = who.get("/account/")
        assert answer.status == status, (region, date)


def test_a_bare_number_ignores_the_table(serve):
    run = serve(site())
    for date, status in ((born(18), 200), (born(18, 1), 403)):
        who = Visitor(run, ["X-Region: FR"])
        answer_age(who, date)
        assert who.get("/adult/").status == status


def test_29_february(serve):
    who = Visitor(serve(site()))
    assert answer_age(who, "1992-02-29")["age"] == "ok" and who.get("/adult/").status == 200


@pytest.mark.parametrize("value", ["", "1990", "1990-13-01", "1990-02-30", "2999-01-01", "1990-1-1", "01/02/1990", None,
                                   19900101, "1800-01-01", "1990-02-29", "-990-01-01"])
def test_bad_dates(serve, value):
    answer = Visitor(serve(site())).post_json("/privacy/age", {"birth_date": value})
    assert answer.status == 400 and answer.all("Set-Cookie") == []


def test_the_form(serve):
    who = Visitor(serve(site()))
    answer = who.post_form("/privacy/age", {"year": "1990", "month": "2", "day": "3", "return": "/account/"})
    assert answer.status == 303 and answer.get("Location").endswith("/account/")
    assert who.get("/account/").status == 200


@pytest.mark.parametrize("fields", [{"year": "1990", "month": "2"}, {"year": "x", "month": "1", "day": "1"},
                                    {"year": "1990", "month": "2", "day": "30"}, {}])
def test_bad_forms(serve, fields):
    answer = Visitor(serve(site())).post_form("/privacy/age", fields)
    assert answer.status == 400 and answer.all("Set-Cookie") == []


@pytest.mark.asan
def test_a_refused_child_cannot_answer_again(serve):
    who = Visitor(serve(site()))
    answer_age(who, born(10))
    assert who.get("/account/").status == 403
    who.post_json("/privacy/age", {"birth_date": born(30)})
    assert who.get("/account/").status == 403 and who.consent()["age"] == "under"
    answer = who.navigate("/account/")
    assert answer.status in (303, 403) and "account</p>" not in answer.text


def test_a_later_answer_may_agree_with_an_earlier_one(serve):
    """Known to be 16 at least; at 18 is asked again, and only answers that agree count."""
    who = Visitor(serve(site()))
    answer_age(who, born(17))
    assert who.get("/account/").status == 200 and who.get("/adult/").status == 403


def test_only_bounds_are_kept(serve, store, request):
    run = serve(site())
    who = Visitor(run)
    who.choose(preferences=True)
    answer_age(who, "1991-07-19")
    assert "1991" not in str(who.jar)
    if store == "redis":
        record = request.getfixturevalue("redis").record(who.consent()["id"])
        assert record["age"].startswith("ok:") and "1991" not in str(record) and "07-19" not in str(record)


def test_under_age_and_known_purposes(serve):
    """Row 6: a child's purposes are denied even where they were granted."""
    who = Visitor(serve(site()))
    who.choose(statistics=True)
    answer_age(who, born(10))
    assert who.consent()["purposes"]["statistics"]["reason"] == "age"
    assert who.allowed() == {"necessary"}


def test_sale_needs_a_known_age_of_sixteen_in_opt_out_regions(serve):
    who = Visitor(serve(site()), ["X-Region: US"])
    assert "marketing" in who.allowed()
    answer_age(who, born(14))
    assert "marketing" not in who.allowed() and "statistics" in who.allowed()


@pytest.mark.parametrize("answer,status", [("status=404", 404), ("status=451", 451), ("redirect=/sorry", 303)])
def test_the_answer_of_the_gate(serve, answer, status):
    run = serve(Site(Loc("/"), Loc("/account/", min_age=f"policy {answer}"), files=FILES))
    got = run.get("/account/", *NAVIGATION)
    assert got.status == status
    if status == 303:
        assert got.get("Location").endswith("/sorry")


# ---- what the application says

def report(upstream, value):
    upstream.headers = [("Privacy-Subject-Age", value)]


@pytest.mark.asan
def test_the_application_learns_of_a_child(serve, upstream):
    who = Visitor(serve(site()))
    who.choose(statistics=True)
    report(upstream, "under:13")
    answer = who.get("/app/x")
    assert answer.all("Privacy-Subject-Age") == [] and answer.status == 200
    upstream.headers = []
    assert who.get("/account/").status == 403 and who.consent()["age"] == "under"
    assert who.allowed() == {"necessary"}


def test_a_report_without_a_number_means_the_policys(serve, upstream):
    who = Visitor(serve(site()), ["X-Region: FR"])
    report(upstream, "under")
    who.get("/app/x")
    assert who.get("/account/").status == 403


def test_ok_never_lifts_under(serve, upstream):
    who = Visitor(serve(site()))
    for value in ("under:13", "ok:18"):
        report(upstream, value)
        who.get("/app/x")
    assert who.get("/adult/").status == 403 and who.get("/account/").status == 403


def test_ok_from_the_application(serve, upstream):
    who = Visitor(serve(site()))
    report(upstream, "ok:18")
    who.get("/app/x")
    assert who.get("/adult/").status == 200 and who.get("/account/").status == 200


def test_parental_consent_from_the_application(serve, upstream):
    who = Visitor(serve(site()))
    for value in ("under:16", "parental:16"):
        report(upstream, value)
        who.get("/app/x")
    assert who.get("/account/").status == 200


@pytest.mark.parametrize("value", ["", "13", "under:", "under:x", "under:999", "ok:-1", "ok:18,x", "UNDER:13;", "\x7f"])
def test_malformed_reports(serve, upstream, value):
    who = Visitor(serve(site()))
    report(upstream, value)
    answer = who.get("/app/x")
    assert answer.status == 200 and answer.all("Privacy-Subject-Age") == []
    assert who.jar == {} and who.consent()["age"] == "unknown"


def test_answers_last_and_the_applications_word_stays(serve, store, request):
    """lifetimes.age passed: an answer is forgotten."""
    from harness.ctl import token
    run = serve(site())
    for fields, status in (({"age": "ok:18", "age_at": "2020-01-01T00:00:00Z"}, 403), ({"age": "ok:18"}, 200)):
        who = Visitor(run)
        who.token = token(run, **fields)
        assert who.get("/adult/").status == status, fields


def test_a_client_that_keeps_no_cookie_is_told_so(serve):
    run = serve(site())
    who = Visitor(run, keeps_cookies=False)
    path, referer, seen = "/account/", [], []
    for _ in range(6):
        answer = who.navigate(path, referer)
        seen.append((path, answer.status))
        if answer.status != 303:
            break
        path = answer.get("Location").replace(run.origin, "")
        if path.startswith("/privacy/age") and "cookies=none" not in path:
            answer = who.post_form("/privacy/age", {"year": "1990", "month": "1", "day": "1", "return": "/account/"})
            assert answer.status == 303
            path, referer = answer.get("Location").replace(run.origin, ""), [f"Referer: {run.origin}/privacy/age"]
    assert answer.status == 200 and "cookies=none" in path, seen
    assert "cookie" in answer.text.lower()


def test_no_minimum(serve):
    """A policy without an age section: only a location's own number gates."""
    run = serve(Site(Loc("/"), Loc("/adult/", min_age="18"), files=FILES, policy=policy(age=None)))
    assert run.get("/adult/").status == 403
    who = Visitor(run)
    answer_age(who, born(20))
    assert who.get("/adult/").status == 200
