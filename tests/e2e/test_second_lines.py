"""What a second line does: of a gate, of a field of the application, of a browser's own fields; and what Vary owes to the region."""
import pytest

from harness.client import NAVIGATION, Visitor
from harness.site import Loc, Site

ADULT = {"adult/index.html": "<p>adult</p>", "stats/index.html": "<p>stats</p>"}


# ---- one gate of a kind in one section

@pytest.mark.stores("off")
@pytest.mark.parametrize("name,first,second", [("require", "statistics", "marketing"), ("min_age", "18", "13"),
                                               ("vendor", "metrics", "adtech"), ("require", "marketing", "marketing")])
def test_a_second_gate_of_a_kind_is_refused(serve, server, name, first, second):
    status, said = serve.check(Site(Loc("/"), Loc("/x/", proxy=True, **{name: [first, second]})))
    word = {"nginx": f'"privacy_{name}" directive is duplicate',
            "httpd": f"Privacy{name.title().replace('_', '')} stands twice in this section"}[server]
    assert status != 0 and word in said, said


@pytest.mark.stores("off")
def test_an_inner_section_may_have_its_own(serve):
    status, said = serve.check(Site(Loc("/"), Loc("/x/", require="statistics", min_age="13"),
                                    Loc("/x/y/", require="marketing", min_age="18")))
    assert status == 0, said


# ---- Vary names the field that gives the region

def tokens(answer):
    """Every member of Vary as often as it stands there."""
    return sorted(t.strip().lower() for field in answer.all("Vary") for t in field.split(",") if t.strip())


ALL = ["cookie", "dnt", "sec-gpc", "x-region"]


@pytest.mark.asan
def test_vary_names_the_regions_field(serve, upstream):
    run = serve(Site(Loc("/", proxy=True), Loc("/quiet/", proxy=True, forward="off"),
                     Loc("/stats/", require="statistics"), Loc("/plain/"), files={"plain/a.html": "a", **ADULT}))
    assert tokens(run.get("/x")) == ALL
    assert "X-Region" in ",".join(run.get("/x").all("Vary"))
    assert tokens(run.get("/stats/")) == ALL                              # refused
    assert tokens(run.get("/stats/", "X-Region: US")) == ALL              # passed
    assert tokens(run.get("/stats/", "X-Region: US", *NAVIGATION)) == ALL
    assert tokens(run.get("/quiet/x")) == [] == tokens(run.get("/plain/a.html"))
    assert tokens(run.get("/plain/a.html", "Cookie: _ga=1", "X-Region: US")) == []
    assert tokens(run.get("/quiet/x", "Cookie: lang=1")) == ["cookie", "x-region"]
    upstream.cookies = ["lang=1"]
    assert tokens(run.get("/quiet/x")) == ["cookie", "x-region"]


def test_vary_names_no_field_twice(serve, upstream):
    run = serve(Site(Loc("/", proxy=True)))
    for fields in (["x-REGION, Accept"], ["Accept", "x-region"], ["Accept", "cookie,X-Region"]):
        upstream.headers = [("Vary", v) for v in fields]
        assert tokens(run.get("/x")) == ["accept", *ALL], fields


def test_vary_star_says_it_all(serve, upstream):
    upstream.headers = [("Vary", "Accept"), ("Vary", "*")]
    assert "x-region" not in tokens(serve(Site(Loc("/", proxy=True))).get("/x"))


@pytest.mark.stores("off")
@pytest.mark.parametrize("nginx,httpd,names", [
    ("$http_cf_ipcountry", '"%{req:Cf-Ipcountry}"', ["cf-ipcountry"]),
    ('"${http_x_country}-$http_x_part"', '"%{HTTP:X-Country}-%{http:X-Part}"', ["x-country", "x-part"]),
    ("${HTTP_X_Country}", '"%{HTTP:X-Country}"', ["x-country"]),
    ("http_x_country", "http:X-Country", []), ("$host", '"%{req_novary:X-Country}"', []),
    ("$upstream_http_x_country", '"%{resp:X-Country}"', []), ("$host", '"%{HTTP_HOST}"', []), ("FR", "FR", [])])
def test_the_field_however_it_is_written(serve, server, upstream, nginx, httpd, names):
    run = serve(Site(Loc("/", proxy=True), region={"nginx": nginx, "httpd": httpd}[server]))
    assert tokens(run.get("/x")) == sorted(["cookie", "dnt", "sec-gpc", *names])


@pytest.mark.stores("off")
def test_the_nearest_region_is_the_one_named(serve, upstream):
    run = serve(Site(Loc("/", proxy=True), Loc("/near/", proxy=True, nginx="privacy_region $http_x_near;",
                                               httpd='PrivacyRegion "%{HTTP:X-Near}"'),
                     Loc("/fixed/", proxy=True, nginx="privacy_region FR;", httpd="PrivacyRegion FR")))
    assert "x-near" in tokens(run.get("/near/x")) and "x-region" not in tokens(run.get("/near/x"))
    assert tokens(run.get("/fixed/x")) == ["cookie", "dnt", "sec-gpc"]
    assert "x-region" in tokens(run.get("/x"))


def test_a_report_never_touches_vary(serve, upstream):
    run = serve(Site(Loc("/", proxy=True), Loc("/stats/", proxy=True, require="statistics"), mode="report"))
    upstream.cookies = ["_ga=1"]
    for path in ("/x", "/stats/x"):
        assert tokens(run.get(path, "Cookie: _ga=1; lang=2")) == []


# ---- several words of the application about one visitor's age

@pytest.mark.asan
@pytest.mark.parametrize("values", [("ok:18", "under:13"), ("under:13", "ok:18"), ("", "ok:18", "under:13")])
def test_every_line_of_the_application_is_heard(serve, upstream, values):
    run = serve(Site(Loc("/"), Loc("/app/", proxy=True), Loc("/adult/", min_age="18 status=403"), files=ADULT))
    who = Visitor(run)
    upstream.headers = [("Privacy-Subject-Age", v) for v in values]
    assert who.get("/app/x").all("Privacy-Subject-Age") == []
    assert who.get("/adult/").status == 403 and who.consent()["age"] == "under"


def test_two_lines_that_agree(serve, upstream):
    run = serve(Site(Loc("/"), Loc("/app/", proxy=True), Loc("/adult/", min_age="18 status=403"), files=ADULT))
    who = Visitor(run)
    upstream.headers = [("Privacy-Subject-Age", "ok:18")] * 2
    who.get("/app/x")
    assert who.get("/adult/").status == 200


# ---- a browser sends one Origin and one Sec-Fetch-Site

@pytest.mark.asan
@pytest.mark.parametrize("name,own,foreign", [("Sec-Fetch-Site", "same-origin", "cross-site"),
                                              ("Origin", "@own@", "https://evil.test")])
@pytest.mark.parametrize("own_first", [True, False])
def test_two_lines_of_which_one_is_foreign(serve, name, own, foreign, own_first):
    run = serve(Site(Loc("/")))
    own = own.replace("@own@", run.origin)
    lines = [f"{name}: {own}", f"{name}: {foreign}"]
    body = {"purposes": {"statistics": True}}
    who = Visitor(run)
    assert who.post_json("/privacy/consent", body, lines if own_first else lines[::-1]).status == 403
    assert who.jar == {}
    assert who.post_json("/privacy/consent", body, [f"{name}: {own}"]).status == 200
