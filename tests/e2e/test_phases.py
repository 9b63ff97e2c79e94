"""The other rules of a server and the gate: neither opens what the other one shuts."""
import base64

import pytest

from harness.client import NAVIGATION, Visitor
from harness.site import Loc, Site
from harness.upstream import Reply

SECRET = "<p>secret page</p>"
FILES = {"gated/index.html": SECRET, "gated/x.html": SECRET, "open/index.html": "<p>open</p>",
         "passwords": "user:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n",  # "password"
         "ssi/page.html": '<p>before</p><!--#include virtual="/gated/x.html" --><p>after</p>',
         "ssi/up.html": '<p>before</p><!--#include virtual="/app/x" --><p>after</p>',
         "cgi/gated.cgi": "#!/bin/sh\nprintf 'Location: /gated/x.html\\n\\n'\n"}
GATED = Loc("/gated/", require="statistics")


def granted(run, **purposes):
    who = Visitor(run)
    who.choose(**(purposes or {"statistics": True}))
    return who


def site(*locs, **more):
    return Site(Loc("/"), *locs, files=FILES, **more)


def basic(password="password"):
    return "Authorization: Basic " + base64.b64encode(f"user:{password}".encode()).decode()


@pytest.mark.asan
def test_satisfy_any_with_allow_does_not_open_the_gate(serve):
    run = serve(site(Loc("/gated/", require="statistics", nginx="satisfy any;\nallow all;",
                         httpd="Satisfy Any\nOrder allow,deny\nAllow from all")))
    assert run.get("/gated/x.html").status == 403
    assert granted(run).get("/gated/x.html").status == 200


@pytest.mark.asan
def test_consent_does_not_open_what_deny_all_shuts(serve):
    run = serve(site(Loc("/gated/", require="statistics", nginx="satisfy any;\ndeny all;",
                         httpd="Satisfy Any\nOrder deny,allow\nDeny from all\nRequire all denied")))
    assert granted(run).get("/gated/x.html").status in (401, 403)


def auth_site():
    return site(
        Loc("/app/", proxy=True, require="statistics", nginx="auth_request /auth;",
            httpd='AuthType Basic\nAuthName "x"\nAuthBasicProvider file\nAuthUserFile "@docroot@/passwords"\n'
                  "Require valid-user"),
        Loc("/auth", proxy=True, exact=True, nginx="internal;", httpd="Require all denied"))


@pytest.mark.asan
def test_authentication_and_gate_are_both_needed(serve, upstream):
    upstream.app = lambda r: Reply(200 if r.target != "/auth" or r.get("Authorization") == basic()[15:] else 401)
    run = serve(auth_site())
    who = granted(run)
    assert who.get("/app/x", [basic()]).status == 200
    assert who.get("/app/x", [basic("wrong")]).status == 401
    assert who.get("/app/x").status == 401
    assert run.get("/app/x", basic()).status == 403
    assert [r.target for r in upstream.requests if r.target != "/auth"] == ["/app/x"]


@pytest.mark.asan
def test_subrequests_and_two_requests_on_one_connection(serve, upstream):
    """nginx: mirror; httpd: a page with an include. Both: the second request of the connection is answered."""
    run = serve(site(Loc("/app/", proxy=True),
                     Loc("/m/", nginx="mirror /copy;\nproxy_pass http://127.0.0.1:@upstream@;",
                         httpd="ProxyPass http://127.0.0.1:@upstream@/m/"),
                     Loc("/copy", proxy=True, exact=True, nginx="internal;"),
                     Loc("/ssi/", nginx="ssi on;", httpd="Options +Includes\nSetOutputFilter INCLUDES")))
    who = granted(run)
    lines = [f"Host: {run.host}", f"Cookie: {who.cookie_line()[0][8:]}; _ga=1; _fbp=2"]
    with run.connect() as connection:
        for path in ("/m/1", "/ssi/up.html", "/m/2", "/ssi/up.html"):
            answer = connection.request("GET", path, lines)
            assert answer.status == 200, path
    assert len(upstream.seen("/app/x")) == 2
    for got in upstream.requests:
        assert got.cookies() == ["_ga"], got.target


def test_return_does_not_bypass_the_gate(serve):
    """nginx: return; httpd: a rewrite in the same section."""
    run = serve(site(Loc("/r/", require="statistics", nginx='return 302 http://elsewhere.test/;',
                         httpd="RewriteEngine On\nRewriteRule .* http://elsewhere.test/ [R=302,L]")))
    assert run.get("/r/x").status == 403
    answer = granted(run).get("/r/x")
    assert answer.status == 302 and "elsewhere" in answer.get("Location")


def test_a_rewrite_into_a_gated_location(serve):
    run = serve(site(GATED, Loc("/r/", nginx="rewrite ^ /gated/x.html last;",
                                httpd="RewriteEngine On\nRewriteRule .* /gated/x.html [L]")))
    assert SECRET not in run.get("/r/x").text
    assert SECRET in granted(run).get("/r/x").text


def test_index_is_gated(serve):
    run = serve(site(Loc("/gated/index.html", exact=True, require="statistics")))
    answer = run.get("/gated/")
    assert answer.status == 403 and SECRET not in answer.text
    assert SECRET in granted(run).get("/gated/").text


def test_try_files_is_gated(serve):
    run = serve(site(GATED, Loc("/t/", nginx="try_files /no-such-file /gated/x.html;",
                                httpd="FallbackResource /gated/x.html")))
    answer = run.get("/t/")
    assert answer.status == 403 and SECRET not in answer.text
    assert SECRET in granted(run).get("/t/").text


@pytest.mark.asan
def test_an_internal_redirect_by_the_application_is_gated(serve, upstream):
    """nginx: X-Accel-Redirect; httpd: a CGI's local Location."""
    upstream.app = lambda r: Reply(200, [("X-Accel-Redirect", "/gated/x.html")])
    run = serve(site(GATED, Loc("/cgi/", nginx="proxy_pass http://127.0.0.1:@upstream@;",
                                httpd="Options +ExecCGI\nSetHandler cgi-script")))
    answer = run.get("/cgi/gated.cgi")
    assert answer.status == 403 and SECRET not in answer.text
    assert SECRET in granted(run).get("/cgi/gated.cgi").text


def test_ssi_does_not_include_what_is_gated(serve):
    run = serve(site(GATED, Loc("/ssi/", nginx="ssi on;", httpd="Options +Includes\nSetOutputFilter INCLUDES")))
    answer = run.get("/ssi/page.html")
    assert answer.status == 200 and "before" in answer.text and "after" in answer.text
    assert SECRET not in answer.text
    assert SECRET in granted(run).get("/ssi/page.html").text


def error_site(**directives):
    return site(Loc("/app/", proxy=True, nginx="proxy_intercept_errors on;\nerror_page 404 /err/page;",
                    httpd="ProxyErrorOverride On\nErrorDocument 404 /err/page"),
                Loc("/err/", proxy=True, **directives))


def missing(request):
    return Reply(404 if request.target.startswith("/app/") else 200)


@pytest.mark.asan
def test_an_error_page_gets_edited_cookies_of_its_own(serve, upstream):
    upstream.app = missing
    serve(error_site()).get("/app/x", "Cookie: _ga=1; session=2")
    assert [r.cookies() for r in upstream.requests] == [["session"], ["session"]]


def test_an_error_page_with_the_gate_off_gets_the_visitors_own_cookies(serve, upstream):
    upstream.app = missing
    serve(error_site(mode="off")).get("/app/x", "Cookie: _ga=1; session=2")
    assert upstream.seen("/app/x")[0].cookies() == ["session"]
    assert upstream.seen("/err/page")[0].cookies() == ["_ga", "session"]
    assert not [l for l in upstream.last.lines if l.lower().startswith("privacy-")]


def test_an_error_page_of_a_vendor_location_starts_anew(serve, upstream):
    upstream.app = missing
    run = serve(site(Loc("/app/", proxy=True, vendor="analytics",
                         nginx="proxy_intercept_errors on;\nerror_page 404 /err/page;",
                         httpd="ProxyErrorOverride On\nErrorDocument 404 /err/page"), Loc("/err/", proxy=True)))
    who = granted(run)
    who.jar.update(session="1", an_1="2", _fbp="3")
    who.get("/app/x")
    assert upstream.seen("/app/x")[0].cookies() == ["an_1"]
    assert set(upstream.seen("/err/page")[0].cookies()) == {"session", "an_1"}


def test_a_gates_own_refusal_can_have_an_error_page(serve):
    run = serve(site(Loc("/gated/", require="statistics", nginx="error_page 403 /open/index.html;",
                         httpd="ErrorDocument 403 /open/index.html")))
    answer = run.get("/gated/x.html")
    assert answer.status == 403 and SECRET not in answer.text


@pytest.mark.asan
@pytest.mark.parametrize("size", [0, 10, 100_000, 2_000_000])
def test_post_bodies_arrive_whole(serve, upstream, size):
    run = serve(site(Loc("/app/", proxy=True, nginx="client_max_body_size 8m;")))
    who = granted(run)
    body = bytes(i % 251 for i in range(size))
    answer = who.request("POST", "/app/x", ["Content-Type: application/octet-stream"], body)
    assert answer.status == 200 and upstream.last.body == body


def test_a_chunked_post_arrives_whole(serve, upstream):
    run = serve(site(Loc("/app/", proxy=True)))
    who = granted(run)
    body = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    answer = who.request("POST", "/app/x", ["Transfer-Encoding: chunked"], body)
    assert answer.status == 200 and upstream.last.body == b"hello world"


def test_a_refused_post_leaves_the_connection_in_order(serve):
    run = serve(site(Loc("/app/", proxy=True, require="statistics")))
    lines = [f"Host: {run.host}"]
    with run.connect() as connection:
        assert connection.request("POST", "/app/x", lines, b"GET /gated/x.html HTTP/1.1\r\n" * 50).status == 403
        assert connection.request("GET", "/open/index.html", lines).status == 200


def test_a_bad_request_is_answered_without_state(serve):
    """400 and 414 are answered before any phase: the answer's filter copes."""
    run = serve(site())
    assert run.get("/" + "x" * 40000).status == 414
    with run.connect() as connection:
        connection.sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nCookie: _ga=1\r\n\r\n")
        assert connection.read().status == 400
    assert run.get("/", *NAVIGATION).status == 200


def test_head_of_a_gated_index(serve):
    run = serve(site(GATED))
    assert run.request("HEAD", "/gated/").status == 403
    assert granted(run).request("HEAD", "/gated/").status == 200
