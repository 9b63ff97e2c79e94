"""Every directive: its value changes an observable answer, and the nearest level wins.

ROWS is what tests/guards/check_directives.py holds against the modules' tables and READMEs: a directive without a row,
or a row without a directive, fails the build.
"""
import json

import pytest

from harness.client import NAVIGATION, Visitor
from harness.policies import policy
from harness.servers import new_keys
from harness.site import Loc, Site, Vhost

GATED = {"gated/x.html": "<p>gated</p>"}
OTHER_POLICY = json.dumps(policy(policy={"id": "other", "version": "2025-01-01"}))


def consent(run, *lines, host="www"):
    return run.get("/privacy/consent", *lines, host=f"{host}.example.test:{run.port}").json()


def child(value, **more):
    """A second server block that sets its own value."""
    return [Vhost("other.example.test", Loc("/", proxy=True), Loc("/privacy/", endpoint=True), mode="on", **value, **more)]


def check_privacy(serve, upstream):
    run = serve(Site(Loc("/", proxy=True), Loc("/off/", proxy=True, mode="off"), Loc("/report/", proxy=True, mode="report"),
                     Loc("/off/on/", proxy=True, mode="on")))
    for path, passes in (("/x", []), ("/off/x", ["_ga"]), ("/report/x", ["_ga"]), ("/off/on/x", [])):
        run.get(path, "Cookie: _ga=1")
        assert upstream.last.cookies() == passes, path


def check_policy(serve, upstream):
    run = serve(Site(vhosts=child({"policy": "@docroot@/other.json"}), files={"other.json": OTHER_POLICY}))
    assert consent(run)["policy_version"] == "2024-03-15"
    assert consent(run, host="other")["policy_version"] == "2025-01-01"


def check_key_file(serve, upstream):
    def secret(run):
        path = run.dir / "other-keys"
        path.touch(mode=0o600)
        path.write_text(new_keys())
    site = Site(vhosts=child({"key_file": "@dir@/keys"}))
    run = serve(site, fresh=True)
    who = Visitor(run)
    who.choose(preferences=False)
    line = who.cookie_line()[0]
    assert consent(run, line, host="other")["purposes"]["preferences"]["choice"] == "refused"
    secret(run)
    run.write(Site(vhosts=child({"key_file": "@dir@/other-keys"}), store=site.store))
    run.reload()
    assert consent(run, line)["purposes"]["preferences"]["choice"] == "refused"
    assert consent(run, line, host="other")["purposes"]["preferences"]["choice"] is None


def check_cookie(serve, upstream):
    run = serve(Site(main={"cookie": "consent domain=example.test samesite=Strict secure=off"},
                     vhosts=child({"cookie": "__Secure-mine path=/"})))
    body = json.dumps({"purposes": {"statistics": False}}).encode()
    cookies = []
    for host in ("www", "other"):
        answer = run.request("POST", "/privacy/consent", ["Content-Type: application/json"], body,
                             host=f"{host}.example.test:{run.port}")
        cookies.append(answer.set_cookies())
    (name, (_, attributes)), = cookies[0].items()
    assert name == "consent" and attributes["domain"] == "example.test" and attributes["samesite"] == "Strict"
    assert "secure" not in attributes and "httponly" in attributes and attributes["path"] == "/"
    (name, (_, attributes)), = cookies[1].items()
    assert name == "__Secure-mine" and "secure" in attributes and "domain" not in attributes


def check_zone(serve, upstream):
    site = Site(main={"zone": "mine:1m"})
    assert serve(site).get("/x").status == 200
    status, said = serve.check(Site(main={"zone": "mine:1k"}))
    assert status != 0 and "zone" in said.lower()


def check_store(serve, upstream):
    run = serve(Site())
    who = Visitor(run)
    who.choose(statistics=True)
    assert (serve.redis is not None) == (serve.store == "redis")
    if serve.redis:
        assert len(serve.redis.keys("privacy:consent:*")) == 1
    status, said = serve.check(Site(store="redis://a b"))
    assert status != 0 and "store" in said.lower()


def check_store_password_file(serve, upstream):
    status, said = serve.check(Site(store="redis://privacy@127.0.0.1:1", main={"store_password_file": "/nowhere/at/all"}))
    assert status != 0 and "/nowhere/at/all" in said
    if serve.redis:
        who = Visitor(serve(Site()))  # the user of redis.acl has a password
        who.choose(statistics=True)
        assert who.consent()["id"]


def check_store_tls_file(name):
    """What these do is in test_tls.py: here that each is known, and named when it stands beside a URL without TLS."""
    def check(serve, upstream):
        status, said = serve.check(Site(store="redis://127.0.0.1:1", main={name[len("privacy_"):]: "/nowhere/at/all.pem"}))
        assert status != 0 and ("needs hiredis" in said or "begins with rediss://" in said), said
        assert name in said or "Privacy" + "".join(part.capitalize() for part in name.split("_")[1:]) in said
    return check


def check_store_timeout(serve, upstream):
    import socket
    import time
    with socket.socket() as dead:  # accepts and never answers
        dead.bind(("127.0.0.1", 0))
        dead.listen(8)
        took = []
        for value in ("100ms", "1s"):
            run = serve(Site(store=f"redis://127.0.0.1:{dead.getsockname()[1]}", main={"store_timeout": value}), fresh=True)
            start = time.monotonic()
            who = Visitor(run)
            assert who.post_json("/privacy/consent", {"purposes": {"statistics": True}}).status == 503
            took.append(time.monotonic() - start)
        assert took[0] < 0.9 < took[1] < 3


def check_store_wait(serve, upstream):
    status, said = serve.check(Site(store="redis://127.0.0.1:1", main={"store_wait": "17"}))
    assert status != 0 and "from 0 to 16" in said
    if serve.redis:  # it has no replica; with some: test_topologies.py
        run = serve(Site(main={"store_wait": "1", "store_timeout": "400ms"}), fresh=True)
        who = Visitor(run)
        answer = who.post_json("/privacy/consent", {"purposes": {"statistics": True}})
        assert answer.status == 503 and answer.all("Set-Cookie") == []
        assert not serve.redis.keys("privacy:consent:*"), "taken back"
        assert Visitor(serve(Site(main={"store_wait": "0"}))).choose(statistics=True)


def check_store_prefix(serve, upstream):
    if serve.redis:
        run = serve(Site(main={"store_prefix": "privacy:two:"}))
        Visitor(run).choose(statistics=True)
        assert serve.redis.keys("privacy:two:consent:*") and not serve.redis.keys("privacy:consent:*")
    status, said = serve.check(Site(main={"store_prefix": "a{b"}))
    assert status != 0 and "prefix" in said.lower()


def check_on_store_failure(serve, upstream):
    from harness.ctl import token
    run = serve(Site(Loc("/"), Loc("/gated/", require="statistics", on_store_failure="deny"),
                     Loc("/soft/", require="statistics"), files={**GATED, "soft/x.html": "<p>soft</p>"},
                     store="redis://127.0.0.1:1", main={"store_timeout": "100ms"}))
    line = f"Cookie: {run.cookie_name}=" + token(run, id="abcdefghijklmnopqrstuvwxya", granted="statistics", stored="1")
    assert run.get("/gated/x.html", line).status == 403 and run.get("/soft/x.html", line).status == 200


def check_region(serve, upstream):
    expression = {"nginx": "$http_x_country", "httpd": '"%{HTTP:X-Country}"'}[serve.server]
    run = serve(Site(Loc("/", proxy=True), vhosts=child({"region": expression})))
    lines = ["X-Region: US", "X-Country: FR"]
    assert consent(run, *lines)["jurisdiction"] == "opt-out"
    assert consent(run, *lines, host="other")["jurisdiction"] == "opt-in"


def check_require(serve, upstream):
    run = serve(Site(Loc("/"), Loc("/gated/", require="statistics status=451"),
                     Loc("/gated/inner/", require="security"), files={**GATED, "gated/inner/x.html": "<p>in</p>"}))
    assert run.get("/gated/x.html").status == 451 and run.get("/gated/inner/x.html").status == 200


def check_min_age(serve, upstream):
    run = serve(Site(Loc("/"), Loc("/gated/", min_age="18 status=451"), files=GATED))
    assert run.get("/gated/x.html").status == 451


def check_vendor(serve, upstream):
    run = serve(Site(Loc("/", proxy=True), Loc("/v/", proxy=True, vendor="analytics")))
    assert run.get("/v/x").status == 204 and run.get("/x").status == 200


def check_home(serve, upstream):
    run = serve(Site(Loc("/"), Loc("/gated/", min_age="13"), home="/rights/", files=GATED))
    assert run.get("/gated/x.html", *NAVIGATION).get("Location").startswith("/rights/age")


def check_endpoint(serve, upstream):
    run = serve(Site(Loc("/"), Loc("/also/", endpoint=True)))
    assert run.get("/also/consent").status == 200 and run.get("/not/consent").status == 404


def check_well_known(serve, upstream):
    on, off = serve(Site(Loc("/"))), serve(Site(Loc("/"), Loc("/privacy/", endpoint=True), endpoint=False))
    assert on.get("/.well-known/gpc.json").status == 200 and off.get("/.well-known/gpc.json").status == 404


def check_limit(serve, upstream):
    run = serve(Site(main={"limit": "1r/m burst=1"}, vhosts=child({"limit": "off"})), fresh=True)
    body = json.dumps({"purposes": {"statistics": False}}).encode()

    def calls(host):
        return [run.request("POST", "/privacy/consent", ["Content-Type: application/json"], body,
                            host=f"{host}.example.test:{run.port}").status for _ in range(4)]
    assert calls("www")[-1] == 429 and calls("other") == [200] * 4


def check_forward(serve, upstream):
    run = serve(Site(Loc("/", proxy=True), Loc("/quiet/", proxy=True, forward="off")))
    run.get("/x")
    assert upstream.last.get("Privacy-Consent") and upstream.last.get("Privacy-Age")
    run.get("/quiet/x")
    assert upstream.last.get("Privacy-Consent") is None and upstream.last.get("Privacy-Age") is None


def check_scrub_args(serve, upstream):
    run = serve(Site(Loc("/", proxy=True), Loc("/other/", proxy=True, scrub_args="b"), server={"scrub_args": "a token"}, log=True))
    run.get("/x?a=secret&b=seen&token=secret")
    run.get("/other/x?a=seen&b=secret")
    first = run.logged("/x?a=secret&b=seen&token=secret")["request_uri"]
    second = run.logged("/other/x?a=seen&b=secret")["request_uri"]
    assert "secret" not in first and "b=seen" in first and first.startswith("/x?")
    assert "secret" not in second and "a=seen" in second, "a child list replaces the parent's"


def check_subject(serve, upstream):
    import test_accounts as accounts
    run = serve(Site(Loc("/", proxy=True), Loc("/me/", endpoint=True, subject=True, **accounts.AUTH),
                     Loc("/other/", endpoint=True, subject="constant" if serve.server == "nginx" else '"constant"',
                         **accounts.AUTH), policy=accounts.REPLAY, files=accounts.FILES))
    reasons = [run.get(path, accounts.ALICE).json()["purposes"]["session-replay"]["reason"]
               for path in ("/privacy/consent", "/me/consent", "/other/consent")]
    assert reasons == ["anonymous", "none", "none"]
    who = Visitor(run)
    accounts.choose(who, accounts.ALICE, session_replay=True)
    assert who.get("/me/consent", [accounts.ALICE]).json()["purposes"]["session-replay"]["allowed"]
    assert not who.get("/other/consent", [accounts.ALICE]).json()["purposes"]["session-replay"]["allowed"]


def check_status(serve, upstream):
    from harness.metrics import scrape, settled
    run = serve(Site(Loc("/", proxy=True), Loc("/metrics", status=True)), fresh=True)
    run.get("/x")
    settled(run, "requests_total", 1)
    assert "privacy_" not in serve(Site(Loc("/"), Loc("/metrics", status="off"))).get("/metrics").text
    assert scrape(run)("build_info") == 1


ROWS = {"privacy": check_privacy, "privacy_policy": check_policy, "privacy_key_file": check_key_file,
        "privacy_cookie": check_cookie, "privacy_zone": check_zone, "privacy_store": check_store,
        "privacy_store_password_file": check_store_password_file, "privacy_store_timeout": check_store_timeout,
        "privacy_store_wait": check_store_wait, "privacy_store_prefix": check_store_prefix, "privacy_on_store_failure": check_on_store_failure,
        "privacy_region": check_region, "privacy_require": check_require, "privacy_min_age": check_min_age,
        "privacy_vendor": check_vendor, "privacy_home": check_home, "privacy_endpoint": check_endpoint,
        "privacy_well_known": check_well_known, "privacy_limit": check_limit, "privacy_forward": check_forward,
        "privacy_scrub_args": check_scrub_args, "privacy_subject": check_subject, "privacy_status": check_status,
        "privacy_store_tls_ca": check_store_tls_file("privacy_store_tls_ca"),
        "privacy_store_tls_cert": check_store_tls_file("privacy_store_tls_cert"),
        "privacy_store_tls_key": check_store_tls_file("privacy_store_tls_key")}


@pytest.mark.parametrize("name", ROWS)
def test_directive(serve, upstream, name):
    ROWS[name](serve, upstream)


# Named in the design, not in this version: the server says that it does not know them.
ABSENT = ["privacy_html", "privacy_banner", "privacy_history"]


@pytest.mark.parametrize("name", ABSENT)
def test_an_absent_directive_is_unknown(serve, server, name):
    site = Site(server={name[len("privacy_"):]: "on"})
    status, said = serve.check(site)
    written = name if server == "nginx" else "Privacy" + "".join(p.capitalize() for p in name.split("_")[1:])
    assert status != 0 and written.lower() in said.lower()
    assert "unknown directive" in said or "Invalid command" in said


# Where a directive may stand: (name, value, allowed in main, in a server, in a location)
CONTEXTS = [("mode", "report", 1, 1, 1), ("policy", "@dir@/policy.json", 1, 1, 0), ("key_file", "@dir@/keys", 1, 1, 0),
            ("cookie", "__Host-x", 1, 1, 0), ("zone", "z:1m", 1, 0, 0), ("store", "off", 1, 0, 0),
            ("store_timeout", "1s", 1, 0, 0), ("store_prefix", "p:", 1, 0, 0), ("on_store_failure", "deny", 1, 1, 1),
            ("region", "FR", 1, 1, 1), ("subject", True, 1, 1, 1), ("require", "statistics", 0, 0, 1), ("min_age", "13", 0, 0, 1),
            ("vendor", "analytics", 0, 0, 1), ("home", "/p/", 1, 1, 0), ("limit", "off", 1, 1, 0), ("forward", "off", 1, 1, 1),
            ("scrub_args", "a", 1, 1, 1), ("endpoint", True, 0, 0, 1), ("well_known", True, 0, 0, 1),
            ("status", True, 0, 0, 1)]


@pytest.mark.stores("off")
@pytest.mark.parametrize("name,value,main,block,location", CONTEXTS)
def test_where_a_directive_may_stand(serve, server, name, value, main, block, location):
    if name == "region":
        value = {"nginx": "FR", "httpd": '"FR"'}[server]
    keep = {} if name in ("policy", "key_file", "limit", "region") else {name: value}
    for allowed, site in (
            (main, Site(main={name: value, **keep})),
            (block, Site(server={name: value})),
            (location, Site(Loc("/"), Loc("/l/", **{name: value})))):
        status, said = serve.check(site)
        if allowed:
            assert status == 0, said
        else:
            assert status != 0, f"{name} was accepted where it must not stand"


@pytest.mark.stores("off")
def test_never_in_htaccess(serve, server):
    """httpd: .htaccess; nginx has none, an `if` block is its nearest thing and takes no legal control either."""
    name = "Privacy Off\n"
    site = Site(Loc("/"), files={"sub/.htaccess": name, "sub/x.html": "<p>x</p>"},
                httpd='<Directory "@docroot@/sub">\nAllowOverride All\n</Directory>')
    run = serve(site)
    answer = run.get("/sub/x.html")
    if server == "httpd":
        assert answer.status == 500 and "not allowed here" in run.log()
    else:
        assert answer.status == 200
        status, said = serve.check(Site(Loc("/", nginx="if ($arg_x) { privacy off; }")))
        assert status != 0 and "not allowed here" in said
