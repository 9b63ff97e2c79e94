"""Ways round a gate that somebody has tried: paths that look like ours, pages that a page includes, fields by other names."""
import pytest

from harness.client import Visitor
from harness.site import Loc, Site

SSI = dict(nginx="ssi on;", httpd="Options +Includes\nSetOutputFilter INCLUDES")
INCLUDE = '<p>before</p><!--#include virtual="/app/x" --><p>after</p>'


def by_pattern(**more):
    """A gated vendor behind a pattern that also matches below the home."""
    return Site(Loc("/"),
                nginx="location ~ ^/.*(video|collect)$ { privacy_min_age 18; privacy_require marketing; "
                      "proxy_pass http://127.0.0.1:@upstream@; }",
                httpd='<LocationMatch "^/.*(video|collect)$">\nPrivacyMinAge 18\nPrivacyRequire marketing\n'
                      'ProxyPass "http://127.0.0.1:@upstream@"\n</LocationMatch>', **more)


@pytest.mark.asan
@pytest.mark.parametrize("home,endpoint", [("/privacy/", True), ("/privacy/", False), ("/", False)])
def test_no_path_is_beyond_a_gate(serve, upstream, home, endpoint):
    run = serve(by_pattern(home=home, endpoint=endpoint))
    for path in (home + "video", home + "collect", home + "a/video", "/video"):
        for lines in ([], ["Accept: text/html", "Sec-Fetch-Mode: navigate"]):
            answer = run.get(path, *lines)
            assert answer.status in (303, 403, 404), path
            assert endpoint and path.startswith(home) or answer.status != 404, path
    assert not upstream.requests


@pytest.mark.parametrize("home", ["/privacy/", "/"])
def test_a_home_that_is_served_elsewhere_is_gated_and_leads_nobody_round(serve, upstream, home):
    run = serve(Site(Loc("/", proxy=True, min_age="18"), home=home, endpoint=False))
    for path in ("/x", home, home + "age", home + "consent", home + "style.css"):
        who, seen = Visitor(run), []
        answer = who.navigate(path)
        while answer.status == 303:
            seen.append(path)
            path = answer.get("Location").split("?")[0].replace(run.origin, "")
            assert path not in seen
            answer = who.navigate(path)
        assert answer.status == 403 and path == home + "age"
    assert not upstream.requests


def test_our_own_pages_are_open_below_a_gate(serve, upstream):
    run = serve(Site(Loc("/", proxy=True, min_age="18", require="marketing")))
    for page in ("", "age", "consent", "opt-out", "policy", "style.css"):
        assert run.get("/privacy/" + page).status == 200, page
    assert not upstream.requests


@pytest.mark.asan
@pytest.mark.stores("redis")
@pytest.mark.parametrize("gate", [dict(require="marketing"), dict(vendor="adtech")])
@pytest.mark.parametrize("page", ["/ssi/page.html", "/made/page.html"])
def test_what_an_ungated_page_includes_hears_of_the_operators_refusal(serve, upstream, redis, gate, page):
    """privacy off for the page itself; nginx makes the second page with `return`, before PREACCESS."""
    made = dict(SSI, nginx=f"ssi on;\ndefault_type text/html;\nreturn 200 '{INCLUDE}';")
    run = serve(Site(Loc("/"), Loc("/app/", proxy=True, **gate), Loc("/ssi/", mode="off", **SSI),
                     Loc("/made/", mode="off", **made),
                     files={"ssi/page.html": INCLUDE, "made/page.html": INCLUDE}))
    who = Visitor(run, ["X-Region: US"])
    who.choose(marketing=True)
    if page == "/ssi/page.html":
        assert "upstream" in who.get(page).text and upstream.seen("/app/x")
    upstream.reset()
    redis.cli("HSET", f"privacy:consent:{{{who.consent()['id']}}}", "refused", "marketing")
    answer = who.get(page)
    assert answer.status == 200 and "before" in answer.text and "after" in answer.text
    assert not upstream.seen("/app/x") and "upstream" not in answer.text


@pytest.mark.stores("redis")
def test_where_privacy_is_off_nothing_else_happens(serve, upstream, redis):
    run = serve(Site(Loc("/"), Loc("/off/", proxy=True, mode="off"), Loc("/app/", proxy=True, require="marketing")))
    who = Visitor(run)
    who.choose(marketing=False)
    record = redis.keys()
    upstream.cookies = ["_fbp=1"]
    answer = who.get("/off/x", ["Cookie: _fbp=2"])
    assert answer.status == 200 and list(answer.set_cookies()) == ["_fbp"] and not answer.vary()
    assert "_fbp" in upstream.last.cookies() and redis.keys() == record


FIELDS = {"httpd": ("X-Forwarded-For", "X-Real-IP", "X-Client-IP", "X-Cluster-Client-IP", "True-Client-IP", "CF-Connecting-IP")}
FIELDS["nginx"] = FIELDS["httpd"] + ("X-Envoy-External-Address", "Fly-Client-IP", "X-Azure-ClientIP", "X-Azure-SocketIP",
                                     "X-ProxyUser-Ip")
FIELDS["nginx"] += tuple(name.replace("-", "_") for name in FIELDS["nginx"])


@pytest.mark.asan
def test_a_vendor_does_not_hear_the_address_by_another_name(serve, server, upstream):
    run = serve(Site(Loc("/"), Loc("/v/", proxy=True, vendor="analytics"), Loc("/own/", proxy=True),
                     nginx="underscores_in_headers on;"))
    who = Visitor(run)
    who.choose(statistics=True)
    lines = [f"{name}: 203.0.113.77" for name in FIELDS[server]]
    assert who.get("/v/x", lines).status == 200
    assert "203.0.113.77" not in "\n".join(upstream.last.lines)
    who.get("/own/x", lines)
    assert set(lines[1:]) <= set(upstream.last.lines), "only vendors go without"
