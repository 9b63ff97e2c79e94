"""What upstream and client learn in headers, and header fields that come from elsewhere."""
import pytest

from harness.client import NAVIGATION, Visitor
from harness.policies import policy
from harness.site import Loc, Site
from harness.upstream import Reply


def site(*locs, **more):
    return Site(*(locs or (Loc("/", proxy=True),)), **more)


def granted(run, **purposes):
    who = Visitor(run)
    who.choose(**(purposes or {"statistics": True}))
    return who


@pytest.mark.asan
def test_upstream_learns_what_is_allowed(serve, upstream):
    run = serve(site())
    run.get("/x")
    assert upstream.last.all("Privacy-Consent") == [
        "preferences=?0;r=none, statistics=?0;r=none, marketing=?0;r=none, security"]
    assert upstream.last.all("Privacy-Age") == ["unknown"]
    who = granted(run, statistics=True, marketing=False)
    who.get("/x")
    assert upstream.last.all("Privacy-Consent") == [
        "preferences=?0;r=none, statistics, marketing=?0;r=refused, security"]


@pytest.mark.parametrize("born,region,value", [("1990-01-01", None, "ok;min=16"), ("1990-01-01", "FR", "ok;min=15")])
def test_upstream_learns_the_age_that_is_known(serve, upstream, born, region, value):
    run = serve(site())
    who = Visitor(run, [f"X-Region: {region}"] if region else [])
    who.post_json("/privacy/age", {"birth_date": born})
    who.get("/x")
    assert upstream.last.all("Privacy-Age") == [value]


def test_upstream_learns_that_somebody_is_under_age(serve, upstream):
    run = serve(site())
    who = Visitor(run)
    who.post_json("/privacy/age", {"birth_date": "2020-01-01"})
    who.get("/x")
    assert upstream.last.get("Privacy-Age").startswith("under;min=")


@pytest.mark.asan
@pytest.mark.parametrize("path", ["/x", "/off/x", "/quiet/x"])
def test_clients_cannot_send_privacy_fields(serve, upstream, path):
    run = serve(site(Loc("/", proxy=True), Loc("/off/", proxy=True, mode="off"),
                     Loc("/quiet/", proxy=True, forward="off")))
    run.get(path, "Privacy-Consent: marketing", "privacy-age: ok;min=18", "PRIVACY-Subject: root",
            "Privacy-Subject-Age: ok:18", "Privacy-Anything: 1", "X-Privacy-Consent: mine")
    mine = [l for l in upstream.last.lines if "privacy-" in l.lower()]
    sent = [l for l in mine if l.lower().startswith("privacy-")]
    assert "X-Privacy-Consent: mine" in mine
    if path == "/x":
        assert sorted(l.split(":")[0] for l in sent) == ["Privacy-Age", "Privacy-Consent"]
        assert "marketing=?0" in upstream.last.get("Privacy-Consent")
    else:
        assert sent == []


def test_clients_cannot_send_them_over_h2(serve, upstream):
    serve(site(tls=True)).h2("GET", "/x", [("privacy-consent", "marketing"), ("privacy-age", "ok;min=18")])
    assert upstream.last.all("Privacy-Consent") == [
        "preferences=?0;r=none, statistics=?0;r=none, marketing=?0;r=none, security"]
    assert upstream.last.all("Privacy-Age") == ["unknown"]


def test_privacy_subject_fields_of_the_application_never_leave(serve, upstream):
    upstream.headers = [("Privacy-Subject", "account-7"), ("X-Other", "1")]
    answer = serve(site()).get("/x")
    assert answer.all("Privacy-Subject") == [] and answer.get("X-Other") == "1"


# ---- Cookie fields that the operator's own rules make

@pytest.mark.asan
def test_a_map_on_the_cookie_header_leaks_nothing(serve, upstream):
    """nginx: $http_cookie was read by a map before the gate; httpd: by an expression."""
    run = serve(site(
        Loc("/", proxy=True, nginx="if ($seen) { set $x 1; }\nproxy_set_header Cookie $http_cookie;\n"
                                   "proxy_set_header X-Ga $cookie__ga;",
            httpd='SetEnvIf Cookie "(.*)" seen=$1\nRequestHeader setifempty Cookie "%{HTTP_COOKIE}e"'),
        nginx_http='map $http_cookie $seen { default 0; "~_ga" 1; }'))
    run.get("/x", "Cookie: _ga=1; session=2")
    assert upstream.last.all("Cookie") == ["session=2"]
    assert upstream.last.get("X-Ga") in (None, "")


def test_a_hand_made_cookie_header_is_sent_once(serve, upstream):
    run = serve(site(Loc("/", proxy=True, nginx="proxy_set_header Cookie $http_cookie;",
                         httpd="RequestHeader setifempty X-Nothing 1")))
    run.get("/x", "Cookie: _ga=1")
    assert [c for c in upstream.last.all("Cookie") if c] == []


# ---- Set-Cookie fields from elsewhere

def test_set_cookie_of_the_servers_own_configuration(serve, upstream):
    """nginx: add_header; httpd: mod_headers, both tables."""
    upstream.cookies = ["_gid=3", "session=4"]
    run = serve(site(Loc("/", proxy=True, nginx='add_header Set-Cookie "_ga=1; Path=/" always;\n'
                                                'add_header Set-Cookie "lang=2" always;',
                         httpd='Header always add Set-Cookie "_ga=1; Path=/"\nHeader add Set-Cookie "lang=2"')))
    assert run.get("/x").all("Set-Cookie") == ["session=4"]
    assert set(granted(run).get("/x").set_cookies()) == {"session", "_ga", "_gid"}


@pytest.mark.asan
def test_cookies_of_a_tracking_module(serve):
    """nginx: userid; httpd: mod_usertrack."""
    run = serve(site(Loc("/"), nginx="userid on;\nuserid_name uid;", httpd="CookieTracking On\nCookieName uid"))
    assert run.get("/").set_cookies() == {}
    who = granted(run)
    who.jar.pop("uid", None)
    assert "uid" in who.get("/").set_cookies()


def test_a_tracking_module_sets_nothing_on_our_own_pages(serve):
    run = serve(site(Loc("/"), nginx="userid on;\nuserid_name uid;", httpd="CookieTracking On\nCookieName uid"))
    for path in ("/privacy/", "/privacy/consent", "/.well-known/gpc.json"):
        assert run.get(path).set_cookies() == {}, path
    who = Visitor(run)
    assert set(who.choose(statistics=False).set_cookies()) == {run.cookie_name}


def test_set_cookie_on_an_error_answer(serve):
    run = serve(site(Loc("/", nginx='add_header Set-Cookie "_ga=1" always;',
                         httpd='Header always add Set-Cookie "_ga=1"')))
    answer = run.get("/no-such-file")
    assert answer.status == 404 and answer.all("Set-Cookie") == []


# ---- Vary, Tk, Link

def test_vary_names_what_mattered(serve, upstream):
    run = serve(site(Loc("/", proxy=True, forward="off"), Loc("/told/", proxy=True, forward="on")))
    assert run.get("/x").vary() == set()
    assert run.get("/told/x").vary() >= {"cookie", "sec-gpc", "dnt", "x-region"}
    assert run.get("/x", "Cookie: _ga=1").vary() == {"cookie", "sec-gpc", "dnt", "x-region"}
    assert run.get("/x", "Cookie: lang=1").vary() == {"cookie", "x-region"}
    assert run.get("/x", "Cookie: session=1").vary() == set()
    upstream.cookies = ["lang=1"]
    assert run.get("/x").vary() == {"cookie", "x-region"}


def test_vary_is_added_to_what_the_upstream_says(serve, upstream):
    upstream.headers = [("Vary", "Accept-Encoding")]
    answer = serve(site()).get("/x")
    assert answer.vary() >= {"accept-encoding", "cookie"}


def test_a_plain_file_varies_with_nothing(serve):
    assert serve(site(Loc("/"))).get("/").vary() == set()


def test_tk(serve):
    run = serve(site(Loc("/")))
    assert run.get("/").all("Tk") == ["T"]
    who = granted(run)
    assert who.get("/").all("Tk") == ["C"]
    assert who.choose(statistics=False).get("Tk") == "U"


def test_no_tk_where_the_policy_does_not_listen(serve):
    silent = policy(purposes={"statistics": {"dnt": "ignore"}, "marketing": {"dnt": "ignore"}})
    assert serve(site(Loc("/"), policy=silent)).get("/", "DNT: 1").all("Tk") == []


def test_tk_says_when_dnt_is_disregarded(serve):
    """DNT: 1 arrives, and a purpose that ignores it is allowed."""
    deaf = policy(purposes={"statistics": {"dnt": "ignore", "gpc": "ignore"}})
    answer = serve(site(Loc("/"), policy=deaf)).get("/", "X-Region: US", "DNT: 1")
    assert answer.all("Tk") == ["D"]


def test_the_policy_is_linked_from_html(serve, upstream):
    run = serve(site())
    assert run.get("/x").all("Link") == ['</privacy-policy>; rel="privacy-policy"']
    upstream.app = lambda _: Reply(type="application/json", body=b"{}")
    assert run.get("/x").all("Link") == []


def test_an_answer_that_sets_our_cookie_is_private(serve, upstream):
    """A renewal (the token was signed by a key that is no longer first) behind a public Cache-Control."""
    upstream.headers = [("Cache-Control", "public, max-age=600")]
    from harness.servers import new_keys
    old = new_keys()
    run = serve(site(keys=old), fresh=True)
    who = granted(run)
    first, *rest = new_keys().splitlines()
    run.write_keys(first.replace("k1", "k2") + "\n" + old)
    run.reload()
    answer = who.navigate("/x")
    assert run.cookie_name in answer.set_cookies()
    control = " ".join(answer.all("Cache-Control"))
    assert "private" in control and "public" not in control


def test_no_renewal_but_on_a_navigation_that_carried_one(serve, upstream):
    run = serve(site())
    who = granted(run)
    assert who.navigate("/x").set_cookies() == {}
    assert run.get("/x", *NAVIGATION).set_cookies() == {}
