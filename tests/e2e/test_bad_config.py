"""Mistakes stop `nginx -t` and `httpd -t` with file, line and a plain sentence; a reload with one changes nothing."""
import json
import re
import time

import pytest

from harness.client import Visitor
from harness.policies import policy
from harness.proc import wait_for
from harness.servers import b64, new_keys
from harness.site import Loc, Site, Vhost

pytestmark = pytest.mark.stores("off")


def refused(serve, site, *words, change=None):
    status, said = serve.check(site, change)
    assert status != 0, "accepted"
    for word in words:
        assert word in said, said
    assert "Segmentation" not in said
    return said


def broken(text, old, new):
    assert old in text
    return text.replace(old, new, 1)


TEXT = json.dumps(policy(), indent=1)
POLICIES = [
    ('"basis": "contract"', '"basis": "contact"', "basis"), ('"unknown_cookies"', '"unknown_cookie"', "unknown_cookie"),
    ('"schema": 1', '"schema": 2', "schema"), ('"statistics": {', '"Statistics": {', "Statistics"),
    ('"dnt": "yield"', '"dnt": "maybe"', "dnt"), ('"2024-03-15"', '"2024-15-03"', "2024-15-03"),
    ('"_gid"', '"_ga"', "_ga"), ('"minimum": 13', '"minimum": "13"', "minimum"), ('"182d"', '"182x"', "182x"),
    ('"FR": 15', '"FRANCE": 15', "FRANCE"), ('"purpose": "statistics"', '"purpose": "statistic"', "statistic"),
    ("{", "{{", ""), ('"schema": 1,', "", "schema"), ('"schema": 1,', '"schema": 1, "schema": 1,', ""),
    ('"schema": 1,', '"schema": 1, "managers": {},', "managers"), ('"schema": 1,', '"schema": 1, "rights": {},', "rights")]


@pytest.mark.asan
@pytest.mark.parametrize("old,new,word", POLICIES)
def test_a_bad_policy(serve, old, new, word):
    said = refused(serve, Site(policy=broken(TEXT, old, new)), word)
    assert re.search(r"policy\.json:\d+:\d+: ", said), said


def test_a_member_of_a_later_version_says_so(serve):
    said = refused(serve, Site(policy=broken(TEXT, '"schema": 1,', '"schema": 1, "managers": {},')), "managers")
    assert "not supported in this version" in said


def test_a_policy_that_is_not_there(serve):
    refused(serve, Site(main={"policy": "@dir@/no-such-file.json"}), "no-such-file.json")


def test_two_files_with_one_policy_id(serve):
    site = Site(vhosts=[Vhost("b.example.test", Loc("/"), mode="on", policy="@docroot@/b.json")], files={"b.json": TEXT})
    refused(serve, site, "b.json")


def test_one_file_named_twice_is_no_mistake(serve):
    site = Site(vhosts=[Vhost("b.example.test", Loc("/privacy/", endpoint=True), mode="on", policy="@dir@/policy.json")])
    status, said = serve.check(site)
    assert status == 0, said


SECRET = b64(b"x" * 32)
KEYS = [("token k1\n", "keys:1"), ("token k1 short\n", "keys:1"), (f"token k/1 {SECRET}\n", "keys:1"),
        (f"tokens k1 {SECRET}\n", "keys:1"), (f"token k1 {SECRET}\ntoken k1 {SECRET}\n", "keys:2"),
        (f"subject a {SECRET}\nsubject b {SECRET}\n", "keys:2"), (f"token {'k' * 17} {SECRET}\n", "keys:1"),
        (f"token k1 {SECRET}=\n", "keys:1"), ("".join(f"token k{i} {SECRET}\n" for i in range(17)), "keys:17"),
        (f"# only a comment\n", "keys"), ("", "keys"), (f"link k1 {SECRET}\n", "token")]


@pytest.mark.asan
@pytest.mark.parametrize("text,place", KEYS)
def test_a_bad_key_file(serve, text, place):
    said = refused(serve, Site(keys=text or "\n"), place)
    assert SECRET not in said, "a secret never reaches a log"


def test_a_key_file_that_others_can_read(serve):
    said = refused(serve, Site(), "keys", change=lambda run: (run.dir / "keys").chmod(0o644))
    assert "read" in said or "permission" in said.lower() or "mode" in said


def test_a_key_file_that_is_not_there(serve):
    refused(serve, Site(), "keys", change=lambda run: (run.dir / "keys").unlink())


DIRECTIVES = [
    (dict(main={"cookie": "__Host-x domain=example.test"}), "__Host-"), (dict(main={"cookie": "__Host-x path=/a"}), "__Host-"),
    (dict(main={"cookie": "__Secure-x secure=off"}), "__Secure-"), (dict(main={"cookie": "x samesite=None secure=off"}), ""),
    (dict(main={"cookie": "a;b"}), ""), (dict(main={"cookie": "x expires=1"}), "expires"),
    (dict(main={"zone": "z"}), ""), (dict(main={"zone": "z:0"}), ""), (dict(main={"zone": "z:1x"}), ""),
    (dict(main={"store": "redis://"}), ""), (dict(main={"store": "http://x"}), ""), (dict(main={"store": "redis://h:70000"}), ""),
    (dict(main={"store": "redis://127.0.0.1/x"}), ""), (dict(main={"store": "redis+unix://relative"}), ""),
    (dict(main={"store": "rediss://127.0.0.1"}), "TLS needs hiredis"),
    (dict(main={"store": "redis+sentinel://127.0.0.1:1"}), "must name the primary"),
    (dict(main={"store": "redis+cluster://127.0.0.1:1/2"}), "a cluster has one database"),
    (dict(main={"store_timeout": "0"}), ""), (dict(main={"store_timeout": "61s"}), ""), (dict(main={"store_timeout": "x"}), ""),
    (dict(main={"store_prefix": "a*"}), ""), (dict(main={"store_prefix": "x" * 65}), ""),
    (dict(main={"on_store_failure": "maybe"}), "maybe"), (dict(main={"home": "privacy"}), ""), (dict(main={"home": "/a b/"}), ""),
    (dict(main={"limit": "30"}), ""), (dict(main={"limit": "30r/m bursts=3"}), ""), (dict(main={"limit": "0r/m"}), ""),
    (dict(mode="maybe"), ""), (dict(main={"forward": "maybe"}), "")]


@pytest.mark.parametrize("more,word", DIRECTIVES)
def test_a_bad_value(serve, server, more, word):
    said = refused(serve, Site(Loc("/"), **more), word)
    assert re.search(r"\.conf:\d+|line \d+", said), said


LOCATIONS = [dict(require="nothing-known"), dict(require="statistics status=200"), dict(require="statistics status=x"),
             dict(require="statistics redirect=there"), dict(require="statistics redirect=//evil.test/"),
             dict(require="status=403"), dict(min_age="0"), dict(min_age="121"), dict(min_age="x"), dict(min_age="13 what=1"),
             dict(vendor="nobody")]


@pytest.mark.parametrize("directives", LOCATIONS)
def test_a_bad_value_in_a_location(serve, directives):
    said = refused(serve, Site(Loc("/"), Loc("/l/", **directives)))
    assert re.search(r"\.conf:\d+|line \d+", said), said
    if "nothing-known" in str(directives):
        assert "nothing-known" in said and "statistics" in said, "names what there is"


@pytest.mark.parametrize("member", ["policy", "key_file"])
def test_on_needs_policy_and_keys(serve, member):
    refused(serve, Site(main={member: None}))


def test_an_endpoint_with_the_gate_off(serve):
    refused(serve, Site(Loc("/"), Loc("/privacy/", endpoint=True, mode="off"), endpoint=False))


def test_a_site_without_its_pages_is_warned_about(serve):
    status, said = serve.check(Site(Loc("/"), endpoint=False))
    assert status == 0 and "/privacy/" in said, said


def test_the_check_never_connects_to_redis(serve):
    start = time.monotonic()
    status, said = serve.check(Site(store="redis://10.255.255.1:6379"))
    assert status == 0 and time.monotonic() - start < 5, said


@pytest.mark.asan
@pytest.mark.parametrize("what", ["policy", "keys", "directive"])
def test_a_reload_with_a_mistake_leaves_the_running_server_as_it_was(serve, server, what):
    serve.tolerate("[emerg]")
    run = serve(Site(Loc("/", proxy=True)), fresh=True)
    who = Visitor(run)
    who.choose(statistics=True)
    good = run.config.read_text()
    if what == "policy":
        (run.dir / "policy.json").write_text("{")
    elif what == "keys":
        run.write_keys("nonsense\n")
    else:
        run.config.write_text(good.replace("privacy on" if server == "nginx" else "Privacy On", "privacy_nonsense on"))
    status, said = run.check_config()
    assert status != 0
    if server == "nginx":
        run.reload(wait=False)
        assert wait_for(lambda: "[emerg]" in run.log(), 5)
    # httpd: `apachectl graceful` runs this same check first and does not signal the server
    assert "statistics" in who.allowed() and who.get("/x").status == 200
    run.config.write_text(good)
    (run.dir / "policy.json").write_text(run.site.policy_text())
    run.write_keys(run.keys_text)
    run.reload()
    assert "statistics" in who.allowed()
