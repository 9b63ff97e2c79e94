"""Cookies in both directions: what is not allowed neither reaches the upstream nor leaves it."""
import pytest

from harness.client import Visitor
from harness.policies import policy
from harness.site import Loc, Site

EVERY = "session=1; lang=2; _ga=3; _ga_X=4; _fbp=5; device=6; mystery=7"


def site(**more):
    return Site(Loc("/", proxy=True), **more)


@pytest.mark.asan
def test_only_what_is_allowed_reaches_the_upstream(serve, upstream):
    run = serve(site())
    assert run.get("/x", f"Cookie: {EVERY}").status == 200
    assert upstream.last.all("Cookie") == ["session=1; device=6"]


@pytest.mark.asan
def test_a_grant_lets_its_cookies_through_and_no_others(serve, upstream):
    who = Visitor(serve(site()))
    who.choose(statistics=True)
    assert who.get("/x", [f"Cookie: {EVERY}"]).status == 200
    assert set(upstream.last.cookies()) == {"session", "_ga", "_ga_X", "device"}


def test_our_own_cookie_never_goes_upstream(serve, upstream):
    who = Visitor(serve(site()))
    who.choose(statistics=True)
    who.jar["session"] = "1"
    who.get("/x")
    assert upstream.last.all("Cookie") == ["session=1"]


def test_a_cookie_line_of_which_nothing_is_left_is_not_sent(serve, upstream):
    serve(site()).get("/x", "Cookie: _ga=1; _fbp=2")
    assert upstream.last.all("Cookie") == []


def test_an_allowed_line_arrives_byte_for_byte(serve, upstream):
    line = 'session="a b,c" ;  csrftoken=;device=%20=x'
    serve(site()).get("/x", f"Cookie: {line}")
    assert upstream.last.all("Cookie") == [line]


@pytest.mark.asan
def test_set_cookie_is_filtered(serve, upstream):
    upstream.cookies = ["session=1; Path=/; HttpOnly", "_ga=2; Path=/", "_fbp=3", "mystery=4", "lang=5", "device=6"]
    who = Visitor(serve(site()))
    assert set(who.get("/x").set_cookies()) == {"session", "device"}
    who.choose(statistics=True, preferences=True)
    assert set(who.get("/x").set_cookies()) == {"session", "device", "_ga", "lang"}


def test_set_cookie_keeps_its_bytes_and_order(serve, upstream):
    upstream.cookies = ["session=1; Path=/; SameSite=Lax", "_ga=0", "csrftoken=2; Secure", "session=3; Path=/x"]
    answer = serve(site()).get("/x")
    assert answer.all("Set-Cookie") == [c for c in upstream.cookies if not c.startswith("_ga")]


@pytest.mark.parametrize("field", ["_ga=; Max-Age=0", "_ga=x; Path=/; Max-Age=-5",
                                   "_ga=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/"])
def test_a_deletion_is_kept(serve, upstream, field):
    upstream.cookies = [field]
    assert serve(site()).get("/x").all("Set-Cookie") == [field]


@pytest.mark.parametrize("field", ["_ga=x; Max-Age=0; Max-Age=100", "_ga=x; Expires=Fri, 31 Dec 2060 00:00:00 GMT",
                                   "_ga=x; Max-Age=100; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "_ga", "_ga =x",
                                   " _ga=x"])
def test_what_only_looks_like_a_deletion_is_dropped(serve, upstream, field):
    upstream.cookies = [field]
    assert serve(site()).get("/x").all("Set-Cookie") == []


def test_a_set_cookie_with_a_control_byte_is_dropped(serve, upstream):
    upstream.cookies = ["session=a\x01b; Path=/"]
    answer = serve(site()).get("/x")
    assert answer.all("Set-Cookie") == [] and answer.status in (200, 502)


def test_a_set_cookie_of_our_name_is_never_stripped(serve, upstream):
    upstream.cookies = ["__Host-privacy=of-an-inner-gate; Path=/; Secure"]
    assert serve(site()).get("/x").all("Set-Cookie") == upstream.cookies


def test_names_match_exactly_and_in_case(serve, upstream):
    serve(site()).get("/x", "Cookie: Session=1; xsession=2; session=3; SESSION=4; sessionx=5; _GA=6; csrftoken=7")
    assert upstream.last.all("Cookie") == ["session=3; csrftoken=7"]


@pytest.mark.parametrize("word,passes", [("deny", False), ("allow", True), ("report", True)])
def test_unknown_cookies(serve, upstream, word, passes):
    upstream.cookies = ["mystery=1"]
    answer = serve(site(policy=policy(unknown_cookies=word))).get("/x", "Cookie: mystery=2; _ga=3")
    assert upstream.last.cookies() == (["mystery"] if passes else [])
    assert answer.all("Set-Cookie") == (["mystery=1"] if passes else [])


@pytest.mark.asan
def test_two_cookie_lines_hide_nothing(serve, upstream):
    serve(site()).get("/x", "Cookie: session=1", "Cookie: _ga=2; csrftoken=3; _fbp=4", "Cookie: device=5")
    joined = "; ".join(upstream.last.all("Cookie"))
    assert "_ga" not in joined and "_fbp" not in joined
    # httpd joins lines by a comma on HTTP/1.1: there, what stands behind a denied cookie may be its value
    assert {"session", "csrftoken"} <= set(upstream.last.cookies()) <= {"session", "csrftoken", "device"}


def test_a_denied_first_line_hides_nothing(serve, upstream):
    serve(site()).get("/x", "Cookie: _ga=2", "Cookie: lang=1; session=1; _ga=3", "Cookie: _fbp=4")
    assert upstream.last.cookies() == ["session"]
    assert upstream.last.all("Cookie") == ["session=1"]


@pytest.mark.parametrize("line", ["_ga=1;;session=2", "; _ga=1;session=2;", "session=2;_ga", "=x; session=2; _ga==",
                                  "\t_ga=1;\tsession=2", "_ga = 1 ; session=2", "session=2; _ga=\"a; b\""])
def test_hostile_cookie_lines(serve, upstream, line):
    assert serve(site()).get("/x", f"Cookie: {line}").status == 200
    assert "_ga" not in " ".join(upstream.last.all("Cookie"))
    assert "session" in upstream.last.cookies()


def test_a_very_long_cookie_line(serve, upstream):
    line = "session=1; " + "; ".join(f"_ga_{i}={'x' * 20}" for i in range(200))
    assert serve(site()).get("/x", f"Cookie: {line}").status == 200
    assert upstream.last.all("Cookie") == ["session=1"]


@pytest.mark.asan
def test_h2_cookie_fields(serve, upstream):
    run = serve(site(tls=True))
    upstream.cookies = ["_ga=1", "session=2; Path=/"]
    answer = run.h2("GET", "/x", [("cookie", "session=1"), ("cookie", "_ga=2"), ("cookie", "device=3; _fbp=4")])
    assert answer.status == 200 and answer.all("set-cookie") == ["session=2; Path=/"]
    assert set(upstream.last.cookies()) == {"session", "device"}


def test_h2_grants(serve, upstream):
    run = serve(site(tls=True))
    who = Visitor(run)
    who.choose(statistics=True)
    answer = run.h2("GET", "/x", [("cookie", f"{run.cookie_name}={who.token}"), ("cookie", "_ga=2; _fbp=3")])
    assert answer.status == 200 and upstream.last.cookies() == ["_ga"]


def test_head_and_errors_are_filtered_too(serve, upstream):
    from harness.upstream import Reply
    upstream.cookies = ["_ga=1", "session=2"]
    run = serve(site())
    assert run.request("HEAD", "/x").all("Set-Cookie") == ["session=2"]
    for status in (302, 404, 500):
        upstream.app = lambda _, s=status: Reply(s, [("Location", "/y")])
        answer = run.get("/x")
        assert answer.status == status and answer.all("Set-Cookie") == ["session=2"]


def test_a_location_with_the_gate_off_is_left_alone(serve, upstream):
    upstream.cookies = ["_ga=1"]
    run = serve(Site(Loc("/", proxy=True), Loc("/off/", proxy=True, mode="off")))
    answer = run.get("/off/x", "Cookie: _ga=2; mystery=3")
    assert upstream.last.all("Cookie") == ["_ga=2; mystery=3"] and answer.all("Set-Cookie") == ["_ga=1"]


def test_a_whole_server_with_the_gate_off_is_left_alone(serve, upstream):
    upstream.cookies = ["_ga=1"]
    answer = serve(Site(Loc("/", proxy=True), mode="off", endpoint=False)).get("/x", "Cookie: _ga=2")
    assert upstream.last.all("Cookie") == ["_ga=2"] and answer.all("Set-Cookie") == ["_ga=1"]
    assert answer.all("Vary") == [] and upstream.last.get("Privacy-Consent") is None
