"""Sec-GPC and DNT: what counts as on, and what each setting of a purpose makes of it."""
import pytest

from harness.client import Visitor
from harness.policies import policy
from harness.site import Loc, Site

US = "X-Region: US"


def site(**more):
    return Site(Loc("/", proxy=True), **more)


def marketing_passes(run, upstream, *lines):
    """In the US marketing is allowed by default, so a signal shows as its absence."""
    assert run.get("/x", US, "Cookie: _fbp=1; session=2", *lines).status == 200
    assert "session" in upstream.last.cookies()
    return "_fbp" in upstream.last.cookies()


GPC = [(["1"], True), (["0"], False), (["11"], False), (["true"], False), (["?1"], False), ([""], False),
       (["0", "1"], True), (["1", "0"], True), (["x", "0"], False), ([" 1 "], True), (["1;a"], False), (["01"], False)]
DNT = [(["1"], True), (["0"], False), (["null"], False), (["1xyz"], True), ([""], False), (["0", "1"], True),
       (["1", "0"], True), (["x1"], False), ([" 1"], True)]


@pytest.mark.parametrize("values,on", GPC)
def test_gpc_is_on_only_for_exactly_1(serve, upstream, values, on):
    assert marketing_passes(serve(site()), upstream, *(f"Sec-GPC: {v}" for v in values)) is not on


@pytest.mark.parametrize("values,on", DNT)
def test_dnt_looks_at_the_first_character(serve, upstream, values, on):
    assert marketing_passes(serve(site()), upstream, *(f"DNT: {v}" for v in values)) is not on


@pytest.mark.parametrize("name,values,on", [("sec-gpc", ["1"], True), ("sec-gpc", ["0", "1"], True),
                                            ("sec-gpc", ["0"], False), ("dnt", ["1"], True), ("dnt", ["0", "1"], True)])
def test_signals_over_h2(serve, upstream, name, values, on):
    run = serve(site(tls=True))
    run.h2("GET", "/x", [("x-region", "US"), ("cookie", "_fbp=1")] + [(name, v) for v in values])
    assert ("_fbp" in upstream.last.cookies()) is not on


def test_a_misspelt_field_is_no_signal(serve, upstream):
    assert marketing_passes(serve(site()), upstream, "SecGPC: 1", "Sec_GPC: 1", "X-DNT: 1", "DNT-: 1")


def test_deny_denies_even_what_was_granted(serve, upstream):
    who = Visitor(serve(site()))
    who.choose(marketing=True, statistics=True)
    assert who.allowed() >= {"marketing", "statistics"}
    assert "marketing" not in who.allowed(["Sec-GPC: 1"])
    assert "marketing" not in who.allowed(["DNT: 1"])


@pytest.mark.parametrize("signal", ["Sec-GPC: 1", "DNT: 1"])
def test_yield_denies_an_older_grant_and_lets_a_newer_one_pass(serve, signal):
    who = Visitor(serve(site()))
    who.choose(statistics=True)
    assert "statistics" in who.allowed()
    state = who.consent([signal])["purposes"]["statistics"]
    assert state == {"allowed": False, "reason": signal.split(":")[0].replace("Sec-", "").lower(), "choice": "granted"}
    who.headers = [signal]
    who.choose(statistics=True)
    assert "statistics" in who.allowed()


def test_ignore_ignores(serve):
    run = serve(site(policy=policy(purposes={"statistics": {"gpc": "ignore", "dnt": "ignore"}})))
    who = Visitor(run, ["X-Region: US"])
    assert "statistics" in who.allowed(["Sec-GPC: 1", "DNT: 1"])
    assert "marketing" not in who.allowed(["Sec-GPC: 1"])


def test_sale_listens_to_gpc_unless_told_otherwise(serve):
    changed = policy(purposes={"marketing": {"dnt": "ignore"}})
    del changed["purposes"]["marketing"]["gpc"]
    who = Visitor(serve(site(policy=changed)), [US])
    assert "marketing" in who.allowed(["DNT: 1"])
    assert "marketing" not in who.allowed(["Sec-GPC: 1"])


def test_turning_a_signal_off_grants_nothing(serve):
    who = Visitor(serve(site()), ["X-Region: FR"])
    assert "marketing" not in who.allowed(["Sec-GPC: 1"])
    assert "marketing" not in who.allowed()


def test_the_choice_of_a_visitor_with_a_signal_names_it(serve):
    who = Visitor(serve(site()))
    assert who.consent(["Sec-GPC: 1", "DNT: 1"])["signals"] == ["gpc", "dnt"]
    assert who.consent()["signals"] == []


def test_what_upstream_learns_of_a_signal(serve, upstream):
    serve(site()).get("/x", US, "Sec-GPC: 1")
    assert upstream.last.all("Privacy-Consent") == [
        "preferences, statistics=?0;r=gpc, marketing=?0;r=gpc, security"]
    assert upstream.last.all("Sec-GPC") == ["1"], "the visitor's own signal goes on to the upstream"


@pytest.mark.parametrize("lines,word", [([], "none"), (["Sec-GPC: 1"], "gpc"), (["DNT: 1"], "dnt"),
                                        (["DNT: 1", "Sec-GPC: 1"], "gpc")])
def test_the_first_row_that_applies_gives_the_reason(serve, upstream, lines, word):
    serve(site()).get("/x", "X-Region: FR", *lines)
    assert f"marketing=?0;r={word}" in upstream.last.get("Privacy-Consent")
