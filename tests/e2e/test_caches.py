"""The servers' own caches: one visitor's answer never carries another's cookies, hits are filtered too."""
import pytest

from harness.client import Visitor
from harness.site import Loc, Site
from harness.upstream import Reply

NGINX_HTTP = "proxy_cache_path @dir@/var/cache keys_zone=c:1m inactive=1m;"
NGINX = """proxy_cache c;
proxy_cache_key $uri@key@;
proxy_ignore_headers Set-Cookie Vary;
proxy_cache_valid any 1m;
add_header X-Cache $upstream_cache_status;"""
HTTPD = "CacheEnable disk\nCacheHeader On"


def site(key="", **more):
    return Site(Loc("/"), Loc("/app/", proxy=True, nginx=NGINX.replace("@key@", key), httpd=HTTPD, **more),
                nginx_http=NGINX_HTTP, httpd="CacheQuickHandler Off")


def cacheable(upstream, **more):
    upstream.headers = [("Cache-Control", "public, max-age=600")]
    upstream.cookies = ["_ga=of-the-first; Path=/", "theme=1; Path=/"]
    upstream.app = lambda r: Reply(body=r.target.encode(), **more)


def hit(answer):
    return any("HIT" in v.upper() for v in answer.all("X-Cache"))


@pytest.fixture
def path(request):
    """A path of its own, so that an earlier test's entry is not found."""
    return "/app/" + "".join(c for c in request.node.name if c.isalnum())


@pytest.mark.asan
def test_a_hit_is_filtered_for_its_own_visitor(serve, upstream, path):
    run = serve(site(forward="off"))
    cacheable(upstream)
    first = Visitor(run)
    first.choose(statistics=True)
    assert "_ga" in first.get(path).set_cookies()
    second = Visitor(run).get(path)
    assert second.status == 200 and second.body == path.encode()
    assert "_ga" not in second.set_cookies()
    third = Visitor(run)
    third.choose(statistics=True)
    assert third.get(path).status == 200


def test_a_gate_before_a_cache_holds_on_hits(serve, upstream, path):
    run = serve(site(require="statistics", forward="off"))
    cacheable(upstream)
    who = Visitor(run)
    who.choose(statistics=True)
    for _ in range(3):
        assert who.get(path).status == 200
    assert run.get(path).status == 403
    who.choose(statistics=False)
    assert who.get(path).status == 403


def test_our_cookie_is_never_kept_in_a_cache(serve, upstream, path):
    """The answer that renews or sets our cookie belongs to one visitor."""
    run = serve(site(forward="off"))
    cacheable(upstream)
    who = Visitor(run)
    who.choose(statistics=True)
    who.choose(statistics=False)
    who.navigate(path, ["Cookie: _ga=1"])
    other = Visitor(run).navigate(path)
    assert run.cookie_name not in other.set_cookies()


def test_a_report_of_the_application_is_ignored_on_a_hit(serve, upstream, path):
    """An age that another visitor's answer told must not mark this one."""
    run = serve(site(forward="off"))
    cacheable(upstream)
    upstream.headers.append(("Privacy-Subject-Age", "under:13"))
    first = Visitor(run)
    first.choose(preferences=True)
    first.get(path)
    second = Visitor(run)
    second.choose(preferences=True)
    answer = second.get(path)
    assert answer.all("Privacy-Subject-Age") == []
    if len(upstream.seen(path)) == 1:
        assert second.consent()["age"] == "unknown"
    assert first.consent()["age"] == "under"


@pytest.mark.stores("redis")
def test_a_hit_logs_nobody_in(serve, upstream, path, redis):
    run = serve(site(forward="off"))
    cacheable(upstream)
    upstream.headers.append(("Privacy-Subject", "alice"))
    assert run.cookie_name in run.get(path).set_cookies()
    # the answer may be here before its entry is: then the next one asks the application again, and is stored in its turn
    answer = next((a for a in (run.get(path) for _ in range(5)) if hit(a)), None)
    assert answer is not None
    assert run.cookie_name not in answer.set_cookies() and answer.all("Privacy-Subject") == []


def test_a_cache_keyed_by_the_variant_keeps_variants_apart(serve, upstream, path):
    """nginx: $privacy_variant in the key; httpd: an upstream that says what its answer varies with."""
    run = serve(site(key="$privacy_variant"))
    cacheable(upstream)
    upstream.headers.append(("Vary", "Privacy-Consent"))
    upstream.app = lambda r: Reply(body=r.get("Privacy-Consent").encode())
    who = Visitor(run)
    assert b"statistics=?0" in who.get(path).body
    who.choose(statistics=True)
    assert b"statistics=?0" not in who.get(path).body
    assert b"statistics=?0" in Visitor(run).get(path).body


def test_a_cache_before_the_gate_is_refused_at_start(serve, server):
    """mod_cache's quick handler answers hits before any gate; nginx's cache comes after it and is accepted."""
    quick = Site(Loc("/", proxy=True, nginx=NGINX.replace("@key@", ""), httpd="CacheEnable disk"),
                 nginx_http=NGINX_HTTP)
    status, said = serve.check(quick)
    if server == "httpd":
        assert status != 0 and "CacheQuickHandler" in said
    else:
        assert status == 0


def test_a_cache_before_the_gate_is_accepted_where_the_gate_is_off(serve):
    quick = Site(Loc("/", proxy=True, nginx=NGINX.replace("@key@", ""), httpd="CacheEnable disk"),
                 nginx_http=NGINX_HTTP, mode="off", endpoint=False)
    status, said = serve.check(quick)
    assert status == 0, said
