/* The pages: complete, neutral, escaped, in the visitor's language. */
#include "rights_fixture.h"

static rig r;

static int setup(void **state)
{
    (void)state;
    rig_open(&r, rig_policy, false);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rig_close(&r);
    return 0;
}

static size_t count(const char *text)
{
    size_t n = 0;
    for (const char *at = rig_body(&r); (at = strstr(at, text)) != NULL; at += strlen(text))
        n++;
    return n;
}

static void test_style_version_follows_the_style(void **state)
{
    (void)state;
    char want[17];
    snprintf(want, sizeof want, "%016llx",
             (unsigned long long)prv_fnv64(PRV_FNV64_SEED, prv_page_style()));
    prv_str version = prv_page_style_version();
    assert_int_equal(version.n, 16);
    if (memcmp(version.p, want, 16) != 0)
        fail_msg("the style changed: its version is now %s", want);
}

static void test_what_a_choice_needs_to_be_informed(void **state)
{
    (void)state;
    assert_int_equal(rig_get(&r, "/privacy/"), 200);
    static const char *const wanted[] = {
        "<html lang=\"en\">",
        "<title>Privacy choices</title>",
        "style.css?v=",
        "<legend>Statistics</legend>",
        "Counts &lt;visits&gt;",
        "Analytics &quot;x&quot;",
        "US",
        "SCC",
        "<code>_ga_*</code>",
        "<td>2y</td>",
        "legitimate interests",
        "your consent",
        "A &amp; B &lt;Ltd&gt;",
        "href=\"mailto:privacy@example.com?subject=Privacy%20Concern\"",
        "href=\"/privacy-policy\"",
        "2024-03-15",
        "2024-03-20",
        "https://www.cnil.fr/",
        "Yes &amp; all",
        "name=\"object\" value=\"security\">",
        "You have not chosen yet",
        "href=\"opt-out\""};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        rig_assert_has(&r, wanted[i]);
    rig_assert_lacks(&r, "<script");
    rig_assert_lacks(&r, "style=");
    rig_assert_lacks(&r, " checked");
    rig_assert_lacks(&r, "<Ltd>");
    rig_assert_lacks(&r, "value=\"old\"");
    rig_assert_lacks(&r, "edpb");
    assert_int_equal(count("<fieldset>"), 5);
    assert_int_equal(count("<fieldset>"), count("</fieldset>"));
    assert_int_equal(count("type=\"checkbox\""), 4);
    assert_int_equal(count("<label>"), 4);
    assert_int_equal(count("name=\"asked\""), 3);
}

/* Same element, same attributes, side by side: only value and word differ. */
static void test_accept_and_refuse_are_equals(void **state)
{
    (void)state;
    rig_get(&r, "/privacy/");
    rig_assert_has(
        &r, "<button type=\"submit\" name=\"choice\" value=\"refuse\">Refuse all</button>\n"
            "<button type=\"submit\" name=\"choice\" value=\"accept\">Yes &amp; all</button>\n");
    /* Enter presses the first button of a form: in the list that must not be one of those. */
    const char *body = rig_body(&r);
    assert_true(strstr(body, "value=\"save\"") < strstr(body, "value=\"refuse\""));
}

static void test_what_was_chosen(void **state)
{
    (void)state;
    rig_json(&r, "/privacy/consent",
             "{\"purposes\":{\"statistics\":true,\"preferences\":false,\"security\":false}}");
    rig_get(&r, "/privacy/");
    rig_assert_has(&r, "name=\"purpose\" value=\"statistics\" checked>");
    rig_assert_has(&r, "name=\"purpose\" value=\"preferences\">");
    rig_assert_has(&r, "name=\"object\" value=\"security\" checked>");
    rig_assert_has(&r, "name=\"asked\" value=\"security\">");
    rig_assert_has(&r, "<time datetime=\"2026-11-23T15:02:03Z\">2026-11-23</time>");
    char id[64];
    snprintf(id, sizeof id, "<code>%.26s</code>", r.rq.state.id);
    rig_assert_has(&r, id);
    rig_assert_has(&r, "Withdraw everything");
    assert_int_equal(count(" checked"), 2);
    r.env.now_ms += (int64_t)200 * 86400 * 1000; /* a grant that ran out is not ticked */
    rig_get(&r, "/privacy/");
    rig_assert_has(&r, "name=\"purpose\" value=\"statistics\">");
}

static void test_signals(void **state)
{
    (void)state;
    rig_json(&r, "/privacy/consent", "{\"purposes\":{\"statistics\":true,\"marketing\":true}}");
    r.signals = PRV_SIGNAL_GPC;
    rig_get(&r, "/privacy/");
    rig_assert_has(&r, "Opt-out request honoured");
    rig_assert_lacks(&r, "Do Not Track");
    assert_int_equal(count("opt-out signal comes first"), 2);
    rig_get(&r, "/privacy/opt-out");
    rig_assert_has(&r, "Opt-out request honoured");
}

static void test_languages(void **state)
{
    (void)state;
    r.http.accept_language = PRV_STR("fr-CA, en;q=0.5");
    rig_get(&r, "/privacy/");
    rig_assert_has(&r, "<html lang=\"fr\">");
    rig_assert_has(&r, "Tout refuser");
    rig_assert_has(&r, "<legend>Statistiques</legend>");
    rig_assert_has(&r, "<span lang=\"en\">Counts");
    r.http.accept_language = PRV_STR("de");
    rig_get(&r, "/privacy/age");
    rig_assert_has(&r, "Geburtsdatum");
    r.http.accept_language = PRV_STR("nl");
    rig_get(&r, "/privacy/");
    rig_assert_has(&r, "<html lang=\"nl\">");
    rig_assert_has(&r, ">Alles weigeren<");
    rig_assert_has(&r, ">Accept all<"); /* a key that the policy's nl lacks: the built-in English */
    r.http.accept_language = PRV_STR("ja");
    rig_get(&r, "/privacy/");
    rig_assert_has(&r, "<html lang=\"en\">");
}

static void test_authority_of_the_region(void **state)
{
    (void)state;
    r.http.region = prv_region_parse(PRV_STR("SE"));
    rig_get(&r, "/privacy/");
    rig_assert_has(&r, "https://edpb.europa.eu/");
    rig_assert_lacks(&r, "cnil");
    r.http.region = prv_region_parse(PRV_NONE);
    rig_get(&r, "/privacy/");
    rig_assert_has(&r, "https://edpb.europa.eu/");
}

static void test_return_goes_along(void **state)
{
    (void)state;
    rig_get(&r, "/privacy/?return=%2Fa%3Fb%3D%22%3E");
    rig_assert_has(&r, "name=\"return\" value=\"/a?b=&quot;&gt;\"");
    rig_get(&r, "/privacy/?return=%2F%2Fevil.example");
    rig_assert_lacks(&r, "evil");
}

static void test_opt_out(void **state)
{
    (void)state;
    rig_get(&r, "/privacy/opt-out");
    rig_assert_has(&r, "name=\"asked\" value=\"marketing\"");
    rig_assert_has(&r, "name=\"choice\" value=\"save\"");
    assert_int_equal(count("name=\"asked\""), 1);
    rig_assert_lacks(&r, "You have opted out");
    assert_int_equal(rig_form(&r, "/privacy/consent", "asked=marketing&choice=save"), 303);
    rig_get(&r, "/privacy/opt-out");
    rig_assert_has(&r, "You have opted out");
}

static void test_the_age_question_is_neutral(void **state)
{
    (void)state;
    prv_site_age(&r.site, 18);
    assert_int_equal(rig_get(&r, "/privacy/age?return=%2Fa"), 200);
    rig_assert_has(&r, "name=\"year\"");
    rig_assert_has(&r, "name=\"return\" value=\"/a\"");
    static const char *const hints[] = {"13",      "15",       "16",        "18",
                                        "checked", "selected", "old enough"};
    const char *form = strstr(rig_body(&r), "<main>");
    for (size_t i = 0; i < sizeof hints / sizeof hints[0]; i++)
        assert_null(strstr(form, hints[i]));
}

static void test_the_age_page_after_an_answer(void **state)
{
    (void)state;
    rig_json(&r, "/privacy/age", "{\"birth_date\":\"1990-01-01\"}");
    rig_get(&r, "/privacy/age?return=%2Fa");
    rig_assert_lacks(&r, "<form");
    rig_assert_has(&r, "<a href=\"/a\">Continue</a>");
    prv_site_age(&r.site, 18); /* a location that asks for more than the answer told */
    rig_get(&r, "/privacy/age");
    rig_assert_has(&r, "<form");
    r.jar[0] = '\0';
    rig_json(&r, "/privacy/age", "{\"birth_date\":\"2020-01-01\"}");
    rig_get(&r, "/privacy/age?return=%2Fa");
    rig_assert_lacks(&r, "<form");
    rig_assert_lacks(&r, "href=\"/a\"");
    rig_assert_has(&r, "not open to you");
}

static void test_a_policy_without_anything(void **state)
{
    (void)state;
    rig_close(&r);
    rig_open(&r,
             "{\"schema\":1,\"policy\":{\"id\":\"s\",\"version\":\"2024-03-15\"},"
             "\"purposes\":{\"necessary\":{\"basis\":\"contract\"}},"
             "\"jurisdictions\":{\"*\":{\"default\":\"deny\"}}}",
             false);
    assert_int_equal(rig_get(&r, "/privacy/"), 200);
    rig_assert_lacks(&r, "mailto:");
    rig_assert_lacks(&r, "href=\"\"");
    rig_assert_lacks(&r, "value=\"accept\"");
    rig_get(&r, "/privacy/age");
    rig_assert_has(&r, "does not ask for your age");
    rig_get(&r, "/privacy/opt-out");
    rig_assert_has(&r, "does not sell or share");
    rig_assert_lacks(&r, "<form");
    assert_int_equal(rig_form(&r, "/privacy/consent", "choice=accept"), 303);
    assert_int_equal(rig_count(&r, "Set-Cookie"), 0);
}

static void test_no_report_without_a_policy(void **state)
{
    (void)state;
    r.site.policy = prv_policy_empty();
    r.site.keys = NULL;
    r.rules.mode = PRV_MODE_REPORT;
    assert_int_equal(rig_get(&r, "/privacy/"), 200);
    assert_int_equal(rig_get(&r, "/privacy/consent"), 200);
    assert_int_equal(rig_get(&r, "/privacy/policy"), 200);
    assert_int_equal(rig_json(&r, "/privacy/consent", "{\"purposes\":{}}"), 503);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_style_version_follows_the_style),
        T(test_what_a_choice_needs_to_be_informed),
        T(test_accept_and_refuse_are_equals),
        T(test_what_was_chosen),
        T(test_signals),
        T(test_languages),
        T(test_authority_of_the_region),
        T(test_return_goes_along),
        T(test_opt_out),
        T(test_the_age_question_is_neutral),
        T(test_the_age_page_after_an_answer),
        T(test_a_policy_without_anything),
        T(test_no_report_without_a_policy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
