"""The harness itself, on servers without the module: it reports what arrived and what was sent, and changes nothing."""
import pytest

from harness.client import Visitor
from harness.site import Loc, Site

pytestmark = pytest.mark.stores("off")


def plain(**more):
    return Site(Loc("/"), Loc("/app/", proxy=True), gate=False, **more)


def test_cookie_lines_and_set_cookies_pass_unchanged(serve, upstream):
    upstream.cookies = ["_ga=1; Path=/", "session=2; Path=/"]
    run = serve(plain())
    answer = run.get("/app/x", "Cookie: a=1; _ga=2")
    assert answer.status == 200 and answer.all("Set-Cookie") == upstream.cookies
    assert upstream.last.all("Cookie") == ["a=1; _ga=2"] and upstream.last.target == "/app/x"


def test_files_are_served_beside_the_proxy(serve, upstream):
    answer = serve(plain()).get("/")
    assert answer.status == 200 and "home" in answer.text and not upstream.requests


def test_h2_reaches_the_upstream(serve, upstream):
    answer = serve(plain(tls=True)).h2("GET", "/app/y", [("cookie", "a=1"), ("cookie", "b=2")])
    assert answer.status == 200
    assert upstream.last.all("Cookie") == ["a=1; b=2"]


def test_a_visitor_keeps_and_drops_cookies(serve, upstream):
    upstream.cookies = ["session=2; Path=/"]
    who = Visitor(serve(plain()))
    who.get("/app/")
    upstream.cookies = ["session=; Max-Age=0"]
    who.get("/app/")
    assert upstream.last.cookies() == ["session"] and who.jar == {}


def test_reload_gives_new_workers(serve):
    run = serve(plain(), fresh=True)
    before = run.children()
    run.reload()
    assert run.get("/").status == 200 and run.children() - before
