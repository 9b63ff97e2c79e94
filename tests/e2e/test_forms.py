"""The forms of the pages: complete without JavaScript, safe without cookies, never pre-ticked."""
import html.parser
import re

import pytest

from harness.client import Visitor
from harness.policies import policy
from harness.site import Loc, Site

FORM = "application/x-www-form-urlencoded"


def site(**more):
    return Site(Loc("/", proxy=True), **more)


class Forms(html.parser.HTMLParser):
    """The forms of a page: (action, method, [(tag, attributes)])."""

    def __init__(self, text):
        super().__init__()
        self.forms, self.tags = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag == "form":
            self.forms.append((attributes.get("action", ""), attributes.get("method", "get").lower(), []))
        elif tag in ("input", "button", "select", "textarea") and self.forms:
            self.forms[-1][2].append((tag, attributes))


def hidden(fields, name):
    return [a.get("value") for _, a in fields if a.get("name") == name]


@pytest.mark.asan
def test_the_preferences_page(serve):
    answer = serve(site()).get("/privacy/", "Accept-Language: en")
    assert answer.status == 200 and answer.get("Content-Type").startswith("text/html")
    page = Forms(answer.text)
    assert not [t for t, _ in page.tags if t == "script"], "works without JavaScript"
    assert not [a for t, a in page.tags if t == "input" and "checked" in a], "nothing is pre-ticked"
    choices = [a["value"] for t, a in page.tags if t in ("button", "input") and a.get("name") == "choice"]
    assert {"accept", "refuse", "save"} <= set(choices)
    assert {a["value"] for t, a in page.tags if a.get("name") == "purpose"} >= {"preferences", "statistics", "marketing"}
    for text in ("Statistics", "Marketing", "Analytics", "privacy@example.test"):
        assert text in answer.text


def test_accept_and_refuse_are_of_one_kind(serve):
    page = Forms(serve(site()).get("/privacy/").text)
    buttons = {a["value"]: (t, a.get("class"), a.get("type")) for t, a in page.tags if a.get("name") == "choice"}
    assert buttons["accept"] == buttons["refuse"]


def test_the_page_knows_what_was_chosen_and_the_id(serve):
    who = Visitor(serve(site()))
    who.choose(statistics=True)
    answer = who.get("/privacy/")
    ticked = [a["value"] for t, a in Forms(answer.text).tags if "checked" in a and a.get("name") == "purpose"]
    assert ticked == ["statistics"]
    assert who.consent()["id"] in answer.text and who.consent()["decided_at"][:10] in answer.text


def test_what_the_operator_writes_is_escaped(serve):
    evil = '<script>alert(1)</script>"&\''
    changed = policy(purposes={"statistics": {"title": {"en": evil}, "description": {"en": evil}}},
                     vendors={"analytics": {"title": evil, "safeguard": evil}}, policy={"controller": evil})
    text = serve(site(policy=changed)).get("/privacy/").text
    assert "<script" not in text and "alert(1)" in text


@pytest.mark.asan
@pytest.mark.parametrize("choice,allowed", [("accept", {"necessary", "preferences", "statistics", "marketing", "security"}),
                                            ("refuse", {"necessary"})])
def test_accept_and_refuse(serve, choice, allowed):
    who = Visitor(serve(site()))
    answer = who.post_form("/privacy/consent", [("choice", choice)])
    assert answer.status == 303 and answer.get("Location").endswith("/privacy/")
    assert who.allowed() == allowed


def test_save_takes_what_was_asked_and_ticked(serve):
    who = Visitor(serve(site()))
    answer = who.post_form("/privacy/consent", [("choice", "save"), ("asked", "preferences"), ("asked", "statistics"),
                                                ("purpose", "statistics")])
    assert answer.status == 303
    choices = {k: v["choice"] for k, v in who.consent()["purposes"].items()}
    assert choices == {"necessary": None, "preferences": "refused", "statistics": "granted", "marketing": None,
                       "security": None}


def test_a_tick_that_was_not_asked_for_is_no_grant(serve):
    who = Visitor(serve(site()))
    who.post_form("/privacy/consent", [("choice", "save"), ("asked", "preferences"), ("purpose", "marketing")])
    assert "marketing" not in who.allowed()


def test_an_objection_by_form(serve):
    who = Visitor(serve(site()))
    who.post_form("/privacy/consent", [("choice", "save"), ("object", "security")])
    assert "security" not in who.allowed()


def test_the_form_of_the_page_itself(serve):
    """As a browser would: the page's own fields, one box ticked, the button `save`."""
    who = Visitor(serve(site()))
    action, method, fields = [f for f in Forms(who.get("/privacy/").text).forms
                              if any(a.get("name") == "choice" for _, a in f[2])][0]
    assert method == "post" and action.endswith("consent")
    data = [(a["name"], a.get("value", "")) for t, a in fields if a.get("type") == "hidden" and a.get("name")]
    assert who.post_form("/privacy/consent", [*data, ("purpose", "statistics"), ("choice", "save")]).status == 303
    choices = {k: v["choice"] for k, v in who.consent()["purposes"].items()}
    assert choices["statistics"] == "granted" and choices["marketing"] == choices["preferences"] == "refused"


@pytest.mark.parametrize("target", ["/shop/x?a=b", "/"])
def test_return_to_an_own_path(serve, target):
    answer = Visitor(serve(site())).post_form("/privacy/consent", {"choice": "refuse", "return": target})
    assert answer.status == 303 and re.fullmatch(r"(http://[^/]*)?" + re.escape(target), answer.get("Location"))


@pytest.mark.asan
@pytest.mark.parametrize("target", ["//evil.test/", "https://evil.test/", "/\\evil.test", "/%5Cevil.test", "/%2F/evil.test",
                                    "evil", "/a\r\nSet-Cookie: x=1", "javascript:alert(1)", "/" + "a" * 3000, "\\\\evil",
                                    "/%2fevil.test", "/\tevil"])
def test_return_to_nowhere_else(serve, target):
    answer = Visitor(serve(site())).post_form("/privacy/consent", {"choice": "refuse", "return": target})
    if any(c < " " for c in target):  # a control byte is a bad form
        assert answer.status == 400 and answer.set_cookies() == {}
    else:
        assert answer.status == 303 and "evil" not in answer.get("Location")
        assert answer.get("Location").endswith("/privacy/") and "x" not in answer.set_cookies()


@pytest.mark.parametrize("fields", [[("choice", "maybe")], [("choice", "save"), ("asked", "x"), ("purpose", "x")], []])
def test_bad_forms(serve, fields):
    answer = Visitor(serve(site())).post_form("/privacy/consent", fields)
    assert answer.status == 400 and answer.all("Set-Cookie") == []


@pytest.mark.parametrize("body", [b"choice=%", b"choice=%zz", b"&&&", b"=&=", b"choice", b"%00=%00", b"a=" + b"b" * 9000])
def test_hostile_forms(serve, body):
    answer = Visitor(serve(site())).post_form("/privacy/consent", body)
    assert answer.status == 400 and answer.all("Set-Cookie") == []


@pytest.mark.asan
def test_a_form_that_tells_no_origin_is_confirmed(serve):
    """Neither Sec-Fetch-Site nor Origin: the form comes back with a signed token, and with that it counts."""
    who = Visitor(serve(site()))
    first = who.post_form("/privacy/consent", [("choice", "save"), ("asked", "statistics"), ("purpose", "statistics")],
                          headers=())
    assert first.status == 403 and first.get("Content-Type").startswith("text/html") and who.jar == {}
    action, method, fields = Forms(first.text).forms[0]
    data = [(a["name"], a.get("value", "")) for _, a in fields if a.get("name")]
    assert method == "post" and ("purpose", "statistics") in data
    second = who.post_form(action, data, headers=())
    assert second.status == 303 and "statistics" in who.allowed()


def test_a_forged_form_token_does_not_count(serve):
    who = Visitor(serve(site()))
    page = who.post_form("/privacy/consent", [("choice", "accept")], headers=())
    _, _, fields = Forms(page.text).forms[0]
    data = {a["name"]: a.get("value", "") for _, a in fields if a.get("name")}
    signed = [k for k, v in data.items() if k not in ("choice", "purpose", "asked", "object", "return")]
    assert len(signed) == 1
    value = data[signed[0]]
    for bad in ("", "x", value[:-1], value + "A", ("B" if value[0] != "B" else "C") + value[1:]):
        assert who.post_form("/privacy/consent", {**data, signed[0]: bad}, headers=()).status == 403
    assert who.post_form("/privacy/consent", data, headers=["Origin: https://evil.test"]).status == 403


def test_a_foreign_form_is_refused(serve):
    who = Visitor(serve(site()))
    for lines in (["Sec-Fetch-Site: cross-site"], ["Origin: https://evil.test"], ["Origin: null"]):
        answer = who.post_form("/privacy/consent", {"choice": "accept"}, headers=lines)
        assert answer.status == 403 and who.jar == {}


# ---- the other pages

def test_opt_out(serve):
    run = serve(site())
    who = Visitor(run, ["X-Region: US"])
    page = who.get("/privacy/opt-out")
    assert page.status == 200 and Forms(page.text).forms and "no-store" in page.get("Cache-Control")
    action, method, fields = Forms(page.text).forms[0]
    assert "marketing" in who.allowed()
    data = [(a["name"], a.get("value", "")) for _, a in fields if a.get("name")]
    assert who.post_form(action, data).status == 303
    assert "marketing" not in who.allowed()


def test_policy_document(serve):
    answer = serve(site()).get("/privacy/policy")
    assert answer.status == 200 and answer.get("Content-Type") == "application/json"
    document = answer.json()
    assert document["policy"]["version"] == "2024-03-15" and document["policy"]["contact"] == "privacy@example.test"
    text = answer.text
    for word in ("statistics", "analytics", "_ga", "opt-out"):
        assert word in text


def test_style_is_versioned_and_cacheable(serve):
    run = serve(site())
    link = re.search(r'href="([^"]*style\.css[^"]*)"', run.get("/privacy/").text).group(1)
    path = link if link.startswith("/") else "/privacy/" + link
    answer = run.get(path)
    assert answer.status == 200 and answer.get("Content-Type").startswith("text/css") and "?" in path
    assert "max-age" in answer.get("Cache-Control") and "no-store" not in answer.get("Cache-Control")


def test_the_page_speaks_the_visitors_language(serve):
    run = serve(site(policy=policy(purposes={"statistics": {"title": {"en": "Statistics", "fr": "Mesure d'audience"}}})))
    english, french = run.get("/privacy/", "Accept-Language: en").text, run.get("/privacy/", "Accept-Language: fr").text
    assert "Statistics" in english and "audience" in french and 'lang="en"' in english


def test_another_home(serve):
    run = serve(Site(Loc("/"), home="/your/data/"))
    who = Visitor(run)
    assert who.get("/your/data/").status == 200
    who.choose(statistics=True)
    assert "statistics" in who.allowed() and run.get("/privacy/").status == 404
    assert who.post_form("/your/data/consent", {"choice": "refuse"}).get("Location").endswith("/your/data/")


def test_well_known_documents(serve):
    run = serve(site())
    answer = run.get("/.well-known/gpc.json")
    assert answer.status == 200 and answer.get("Content-Type") == "application/json"
    assert answer.json()["gpc"] is True and re.fullmatch(r"\d{4}-\d\d-\d\d", answer.json()["lastUpdate"])
    answer = run.get("/.well-known/dnt/", "DNT: 1")
    assert answer.status == 200 and answer.get("Content-Type") == "application/tracking-status+json"
    assert answer.json()["tracking"] in ("T", "C", "D", "P") and answer.all("Set-Cookie") == []
    assert answer.json()["policy"] and answer.json()["controller"] and "config" in answer.json()
    assert run.get("/.well-known/other").status == 404
    assert run.request("POST", "/.well-known/gpc.json").status == 405
