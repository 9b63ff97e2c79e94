"""privacyctl against live servers, and what an operator does while visitors come and go."""
import pytest

from harness.client import NAVIGATION, Visitor
from harness.ctl import privacyctl
from harness.proc import wait_for
from harness.site import Loc, Site

CARRIED = "_ga=2; lang=en"


def site():
    return Site(Loc("/", proxy=True), Loc("/adult/", min_age="18"), Loc("/ads/", require="marketing redirect=/privacy/"),
                files={"adult/index.html": "<p>adult</p>", "ads/index.html": "<p>ads</p>"})


def ops(run, redis, *words):
    password = run.dir / "ops"
    password.write_text("change-me-ops\n")
    password.chmod(0o600)
    return privacyctl(*words, "--policy", run.dir / "policy.json", "--keys", run.dir / "keys", "--store",
                      f"redis://privacy-ops@127.0.0.1:{redis.port}", "--password-file", password, check=False)


@pytest.mark.stores("redis")
def test_what_is_said_of_an_age_adds_up(serve, redis):
    run = serve(site())
    who = Visitor(run)
    name = who.choose(statistics=True).json()["id"]
    for said, kept in (("under:13", "under:13"), ("parental:13", "under:13,parental:13"), ("ok:13", "ok:13,parental:13"),
                       ("under:16", "ok:13,under:16,parental:13"), ("ok:18", "ok:18,parental:13")):
        done = ops(run, redis, "age", name, said)
        assert done.returncode == 0, done.stderr
        assert redis.record(name)["age"] == kept
    assert who.get("/adult/").status == 200


@pytest.mark.stores("redis")
def test_parental_consent_forgets_no_child(serve, redis):
    run = serve(site())
    who = Visitor(run)
    name = who.choose(statistics=True).json()["id"]
    ops(run, redis, "age", name, "under:13")
    ops(run, redis, "age", name, "parental:13")
    state = who.consent(["X-Region: US"])
    assert state["purposes"]["marketing"] == {"allowed": False, "reason": "none", "choice": None}, "a sale, by default"
    assert who.post_json("/privacy/age", {"birth_date": "1980-01-01"}).status == 409
    assert who.get("/adult/").status == 403


@pytest.mark.stores("redis")
def test_what_is_refused_later_is_swept_as_well(serve, redis):
    run = serve(site())
    who = Visitor(run)
    name = who.choose(statistics=True, preferences=True, marketing=False).json()["id"]
    who.jar.update({"_fbp": "1"})
    assert "_fbp" in who.navigate("/").set_cookies()
    redis.r.hset("privacy:consent:{%s}" % name, "refused", "statistics,marketing")
    who.jar.update({"_ga": "2"})
    assert who.navigate("/").set_cookies()["_ga"][1]["max-age"] == "0"
    redis.r.hset("privacy:consent:{%s}" % name, "age", "under:13")
    who.jar.update({"lang": "en"})
    assert who.navigate("/").set_cookies()["lang"][1]["max-age"] == "0"


@pytest.mark.stores("redis")
def test_a_newcomer_refuses_while_the_store_is_down(serve, own_redis):
    run = serve(site(), fresh=True, redis=own_redis)
    serve.tolerate("store")
    own_redis.stop()
    who = Visitor(run)
    answer = who.post_json("/privacy/consent", {"purposes": {"statistics": False}})
    assert answer.status == 202 and answer.json()["stored"] is False
    assert answer.json()["purposes"]["statistics"]["choice"] == "refused"
    answer = Visitor(run).post_json("/privacy/age", {"birth_date": "2018-01-01"})
    assert answer.status == 202 and answer.json()["age"] == "under"
    own_redis.start()
    refuse = {"purposes": {"statistics": False}}
    assert wait_for(lambda: Visitor(run).post_json("/privacy/consent", refuse).status == 200, 5)
    assert own_redis.keys() == []


@pytest.mark.parametrize("path,asks", [("/adult/", "/privacy/age"), ("/ads/", "/privacy/")])
def test_who_keeps_no_cookie_is_told_so(serve, path, asks):
    run = serve(site())
    who = Visitor(run, keeps_cookies=False)
    first = who.get(path, NAVIGATION)
    assert first.status == 303 and first.get("Location").startswith(asks + "?return=")
    assert "does not keep it" in who.get(first.get("Location"), NAVIGATION).text
    again = who.get(path, [*NAVIGATION, f"Referer: http://www.example.test{asks}?return=x"])
    assert again.status == 303 and again.get("Location").endswith("&cookies=none")
    assert "did not keep the cookie" in who.get(again.get("Location"), NAVIGATION).text


def test_the_way_of_calling(serve):
    run = serve(site())
    assert privacyctl("--help").startswith("privacyctl:")
    assert privacyctl("nothing", check=False).returncode == 2
    link = run.dir / "link-to-keys"
    link.unlink(missing_ok=True)
    file = run.dir / "own-keys"
    file.unlink(missing_ok=True)
    privacyctl("keys", "new", file)
    link.symlink_to(file)
    privacyctl("keys", "add", link, "token")
    assert link.is_symlink() and file.read_text().count("token ") == 2
