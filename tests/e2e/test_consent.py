"""The endpoint `consent`: reading, choosing, withdrawing; who may call it; bad bodies."""
import json

import pytest

from harness.client import Visitor
from harness.policies import policy
from harness.site import Loc, Site

DOCUMENT = {"id", "policy_version", "jurisdiction", "signals", "age", "decided_at", "expires_at", "purposes"}


def site(**more):
    return Site(Loc("/", proxy=True), **more)


def problem(answer, status):
    assert answer.status == status, answer.text
    assert answer.get("Content-Type") == "application/problem+json"
    assert answer.json()["status"] == status and answer.all("Set-Cookie") == []
    return answer.json()


def uncached(answer):
    return "no-store" in (answer.get("Cache-Control") or "") and "noindex" in (answer.get("X-Robots-Tag") or "")


@pytest.mark.asan
def test_the_document_of_a_first_visit(serve):
    answer = serve(site()).get("/privacy/consent")
    assert answer.status == 200 and answer.get("Content-Type") == "application/json" and uncached(answer)
    assert answer.all("Set-Cookie") == []
    document = answer.json()
    assert set(document) >= DOCUMENT
    assert document["id"] is None and document["policy_version"] == "2024-03-15" and document["age"] == "unknown"
    assert document["signals"] == [] and document["decided_at"] is None and document["expires_at"] is None
    assert document["purposes"]["statistics"] == {"allowed": False, "reason": "none", "choice": None}
    assert document["purposes"]["necessary"] == {"allowed": True, "reason": "basis", "choice": None}
    assert list(document["purposes"]) == ["necessary", "preferences", "statistics", "marketing", "security"]


@pytest.mark.parametrize("region,name,allowed", [("FR", "opt-in", False), ("US-CA", "opt-out", True), ("JP", "*", False),
                                                 ("fr", "opt-in", False), ("FRA", "*", False), ("", "*", False),
                                                 ("US CA", "*", False)])
def test_the_region_decides_the_jurisdiction(serve, region, name, allowed):
    document = Visitor(serve(site())).consent([f"X-Region: {region}"])
    assert document["jurisdiction"] == name and document["purposes"]["statistics"]["allowed"] is allowed


@pytest.mark.asan
def test_a_choice_by_json(serve):
    run = serve(site())
    who = Visitor(run)
    answer = who.choose(statistics=True, marketing=False)
    assert uncached(answer) and answer.get("Tk") == "U"
    after = answer.json()
    assert after["purposes"]["statistics"] == {"allowed": True, "reason": "granted", "choice": "granted"}
    assert after["purposes"]["marketing"] == {"allowed": False, "reason": "refused", "choice": "refused"}
    assert after["purposes"]["preferences"]["choice"] is None
    assert after["decided_at"] and after["expires_at"] > after["decided_at"]
    assert who.consent()["purposes"] == after["purposes"]


def test_a_partial_choice_leaves_the_rest(serve):
    who = Visitor(serve(site()))
    who.choose(statistics=True, preferences=True)
    who.choose(statistics=False)
    purposes = who.consent()["purposes"]
    assert purposes["preferences"]["choice"] == "granted" and purposes["statistics"]["choice"] == "refused"
    who.choose(marketing=True)
    purposes = who.consent()["purposes"]
    assert [purposes[p]["choice"] for p in ("preferences", "statistics", "marketing")] == [
        "granted", "refused", "granted"]


def test_replace_refuses_what_is_not_mentioned(serve):
    who = Visitor(serve(site()))
    who.choose(statistics=True, preferences=True)
    answer = who.post_json("/privacy/consent", {"purposes": {"marketing": True}, "replace": True})
    choices = {k: v["choice"] for k, v in answer.json()["purposes"].items()}
    assert choices == {"necessary": None, "preferences": "refused", "statistics": "refused", "marketing": "granted",
                       "security": None}


@pytest.mark.asan
def test_delete_withdraws_and_objects(serve):
    who = Visitor(serve(site()))
    who.choose(statistics=True)
    before = who.consent()["id"]
    answer = who.request("DELETE", "/privacy/consent")
    assert answer.status == 200 and answer.get("Tk") == "U"
    purposes = who.consent()["purposes"]
    assert {k for k, v in purposes.items() if v["allowed"]} == {"necessary"}
    assert purposes["security"]["reason"] == "refused", "withdrawal objects to legitimate interests too"
    assert who.consent()["id"] == before, "withdrawal keeps the id"


def test_delete_without_a_choice_before(serve, store, request):
    who = Visitor(serve(site()))
    assert who.request("DELETE", "/privacy/consent").status == 200
    assert who.allowed() == {"necessary"} and who.consent()["id"] is None
    if store == "redis":
        assert request.getfixturevalue("redis").keys() == []


def test_an_objection_to_a_legitimate_interest_and_its_end(serve, upstream):
    who = Visitor(serve(site()))
    who.jar["device"] = "1"
    who.choose(security=False)
    who.get("/x")
    assert upstream.last.cookies() == []
    who.choose(security=True)
    who.jar["device"] = "1"
    who.get("/x")
    assert upstream.last.cookies() == ["device"]


def test_what_cannot_be_refused(serve):
    run = serve(site(policy=policy(purposes={"security": {"objection": False}})))
    who = Visitor(run)
    for name in ("necessary", "security"):
        answer = who.post_json("/privacy/consent", {"purposes": {name: False}})
        assert answer.status in (200, 400)
        assert name in who.allowed()


@pytest.mark.asan
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"{}x", b'{"purposes":[]}', b'{"purposes":{"x":true}}',
                                  b'{"purposes":{"statistics":1}}', b'{"purposes":{"statistics":"true"}}',
                                  b'{"purposes":{"statistics":true,"statistics":false}}', b'{"what":1}',
                                  b'{"purposes":{"statistics":true},"replace":"yes"}', b"\xff\xfe", b"[" * 5000])
def test_bad_json(serve, body):
    answer = Visitor(serve(site())).post_json("/privacy/consent", body)
    assert problem(answer, 400)["title"]


@pytest.mark.parametrize("kind", ["text/plain", "application/jsonp", "multipart/form-data; boundary=x", "", None,
                                  "application/xml"])
def test_other_types_are_refused(serve, kind):
    lines = [f"Content-Type: {kind}"] if kind is not None else []
    body = json.dumps({"purposes": {"statistics": True}}).encode()
    problem(Visitor(serve(site())).request("POST", "/privacy/consent", lines, body), 415)


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON", "application/json;charset=UTF-8"])
def test_forms_of_the_json_type(serve, kind):
    body = json.dumps({"purposes": {"statistics": True}}).encode()
    assert Visitor(serve(site())).request("POST", "/privacy/consent", [f"Content-Type: {kind}"], body).status == 200


@pytest.mark.asan
@pytest.mark.parametrize("chunked", [False, True])
def test_large_bodies_are_refused(serve, chunked):
    run = serve(site())
    fits = json.dumps({"purposes": {"statistics": True}}).encode().ljust(16384)
    for body, status in ((fits, 200), (fits + b" ", 413), (b" " * 300_000, 413)):
        lines = ["Content-Type: application/json"]
        if chunked:
            lines.append("Transfer-Encoding: chunked")
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        answer = Visitor(run).request("POST", "/privacy/consent", lines, body)
        assert answer.status == status
        if status == 413:
            assert answer.get("Content-Type") == "application/problem+json"


@pytest.mark.parametrize("path,method,allow", [
    ("consent", "PUT", {"GET", "HEAD", "POST", "DELETE"}), ("consent", "PATCH", {"GET", "HEAD", "POST", "DELETE"}),
    ("", "POST", {"GET", "HEAD"}), ("age", "DELETE", {"GET", "HEAD", "POST"}), ("policy", "POST", {"GET", "HEAD"}),
    ("opt-out", "DELETE", {"GET", "HEAD"}), ("style.css", "POST", {"GET", "HEAD"})])
def test_other_methods(serve, path, method, allow):
    answer = serve(site()).request(method, f"/privacy/{path}")
    problem(answer, 405)
    assert {m.strip() for m in answer.get("Allow").split(",")} >= allow - {"HEAD"}


@pytest.mark.parametrize("path", ["nothing", "consent/", "consent/x", "data", "requests", "unsubscribe/abc", "banner.js",
                                  "consentx", "Consent", "../x%00"])
def test_what_is_not_there(serve, path):
    answer = serve(site()).get(f"/privacy/{path}")
    assert answer.status in (400, 404)


def test_get_changes_nothing(serve):
    run = serve(site())
    for path in ("consent?purposes=statistics", "?choice=accept", "consent?choice=accept", "age?year=1990&month=1&day=1"):
        answer = run.get(f"/privacy/{path}")
        assert answer.status == 200 and answer.all("Set-Cookie") == []
    assert run.request("HEAD", "/privacy/consent").all("Set-Cookie") == []


# ---- who may change things

GRANT = json.dumps({"purposes": {"statistics": True}}).encode()


def post(run, *lines):
    return run.request("POST", "/privacy/consent", ["Content-Type: application/json", *lines], GRANT).status


@pytest.mark.asan
def test_foreign_pages_change_nothing(serve):
    run = serve(site())
    for lines in (["Sec-Fetch-Site: cross-site"], ["Sec-Fetch-Site: same-site"], ["Sec-Fetch-Site: bogus"],
                  [f"Origin: https://evil.test"], ["Origin: null"], [f"Origin: https://{run.host}.evil.test"],
                  [f"Origin: https://www.example.test:1"], ["Origin: https://www.example.test"],
                  ["Sec-Fetch-Site: cross-site", f"Origin: {run.origin}"], ["Origin: "]):
        assert post(run, *lines) == 403, lines
        assert run.request("DELETE", "/privacy/consent", lines).status == 403, lines


def test_own_pages_and_no_browser_may(serve):
    run = serve(site())
    for lines in (["Sec-Fetch-Site: same-origin"], ["Sec-Fetch-Site: none"], [f"Origin: {run.origin}"], [],
                  ["Sec-Fetch-Site: same-origin", "Origin: https://evil.test"]):
        assert post(run, *lines) == 200, lines


def test_same_site_may_where_the_cookie_has_a_domain(serve):
    run = serve(site(main={"cookie": "consent domain=example.test"}))
    assert post(run, "Sec-Fetch-Site: same-site") == 200
    assert post(run, "Sec-Fetch-Site: cross-site") == 403


def test_nothing_is_known_of_a_first_visit_or_a_refusal(serve, store, request):
    run = serve(site())
    who = Visitor(run)
    who.get("/x")
    who.navigate("/privacy/")
    assert who.jar == {}
    who.choose(statistics=False)
    assert who.token.split(".")[2] == ""
    assert who.consent()["decided_at"][14:] == "00:00Z", "the time of an id-less choice is rounded to the hour"
    if store == "redis":
        assert request.getfixturevalue("redis").keys() == []


def test_the_endpoints_are_never_gated(serve):
    run = serve(Site(Loc("/", require="marketing")))
    assert run.get("/index.html").status == 403
    for path in ("", "consent", "age", "opt-out", "policy", "style.css"):
        assert run.get(f"/privacy/{path}").status == 200, path
    assert run.get("/.well-known/gpc.json").status == 200
