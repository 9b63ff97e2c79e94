/* privacy_status: both formats, escaping, bounds, no memory. */
#include "state/count.h"
#include "rights/endpoint.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static size_t allocations, fail_at;
static void *blocks[64];

static void *take(void *ctx, size_t n)
{
    (void)ctx;
    if (++allocations == fail_at)
        return NULL;
    assert_true(allocations < 64);
    return blocks[allocations] = malloc(n);
}

static void give_back(void)
{
    for (size_t i = 0; i < 64; i++) {
        free(blocks[i]);
        blocks[i] = NULL;
    }
    allocations = fail_at = 0;
}

/* No policy file can have these names: the format must not depend on that. */
static const prv_purpose purposes[] = {{.name = {"plain", 5}, .hash = 1},
                                       {.name = {"a\"b\\c\nd\te", 9}, .hash = 2}};
static const prv_jurisdiction jurisdictions[] = {{.name = {"\xc3\xa9t\xc3\xa9", 5}},
                                                 {.name = {"*", 1}}};
static const prv_policy policy = {.id = {"s\"\\", 3},
                                  .n_purposes = 2,
                                  .purposes = purposes,
                                  .n_jurisdictions = 2,
                                  .jurisdictions = jurisdictions};

static _Alignas(64) char memory[PRV_ZONE_MIN];
static prv_zone *zone;
static prv_site site;
static const prv_site *const sites[] = {&site};
static prv_response response;

static char *show(const char *accept, bool store)
{
    static const prv_env env = {.alloc = take};
    const prv_status status = {
        .env = &env, .zone = zone, .sites = sites, .n_sites = 1, .store = store};
    const prv_http http = {.method = {"GET", 3}, .accept = {accept, strlen(accept)}};
    response = (prv_response){0};
    prv_status_respond(&status, &http, &response);
    char *out = malloc(response.body.n + 1);
    memcpy(out, response.body.p, response.body.n);
    out[response.body.n] = '\0';
    return out;
}

static int fresh(void **state)
{
    (void)state;
    memset(memory, 0, sizeof memory);
    zone = prv_zone_attach(memory, sizeof memory);
    site = (prv_site){.policy = &policy, .counts = prv_zone_site(zone, &policy)};
    return 0;
}

static void has(const char *text, const char *line)
{
    if (text == NULL || strstr(text, line) == NULL)
        fail_msg("%s\nhas no\n%s", text != NULL ? text : "nothing", line);
}

static void test_labels_are_escaped(void **state)
{
    (void)state;
    prv_cold_add(zone, prv_choice_key(&policy, 1, true, PRV_STR("form"), 0), 3);
    prv_cold_add(zone, prv_choice_key(&policy, 0, false, PRV_STR("api"), 1), INT64_MAX);
    char *text = show("", false);
    has(text, "privacy_choices_total{site=\"s\\\"\\\\\",purpose=\"a\\\"b\\\\c\\nd e\",choice=\"granted\","
              "method=\"form\",jurisdiction=\"\xc3\xa9t\xc3\xa9\"} 3\n");
    has(text, "privacy_choices_total{site=\"s\\\"\\\\\",purpose=\"plain\",choice=\"refused\",method=\"api\","
              "jurisdiction=\"*\"} 9223372036854775807\n");
    free(text);

    text = show("application/json", false);
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    json_t *samples = json_object_get(json_object_get(root, "privacy_choices_total"), "samples");
    assert_int_equal(json_array_size(samples), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(samples, 1), "purpose")),
                        "a\"b\\c\nd e");
    json_decref(root);
    free(text);
}

/* Each family once, HELP and TYPE before its samples, every line of the one or the other form. */
static void test_the_form(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        prv_count_latency(zone, 700 << (4 * i));
    char *text = show("text/plain", true), *last = NULL, family[80] = "";
    size_t families = 0;
    for (char *line = strtok_r(text, "\n", &last); line; line = strtok_r(NULL, "\n", &last)) {
        if (strncmp(line, "# HELP ", 7) == 0) {
            families++;
            assert_int_equal(sscanf(line, "# HELP %79s", family), 1);
            line = strtok_r(NULL, "\n", &last);
            char again[80], type[20];
            assert_int_equal(sscanf(line, "# TYPE %79s %19s", again, type), 2);
            assert_string_equal(again, family);
            const bool total = strcmp(family + strlen(family) - 6, "_total") == 0;
            assert_int_equal(total, strcmp(type, "counter") == 0);
            continue;
        }
        assert_int_equal(strncmp(line, family, strlen(family)), 0);
    }
    assert_true(families >= 10);
    free(text);
    text = show("", true);
    has(text, "privacy_store_operation_duration_seconds_bucket{le=\"0.0005\"} 0\n");
    has(text, "privacy_store_operation_duration_seconds_bucket{le=\"0.001\"} 1\n");
    has(text, "privacy_store_operation_duration_seconds_bucket{le=\"0.025\"} 2\n");
    has(text, "privacy_store_operation_duration_seconds_bucket{le=\"+Inf\"} 3\n");
    has(text, "privacy_store_operation_duration_seconds_sum 0.191100\n");
    has(text, "privacy_store_operation_duration_seconds_count 3\n");
    free(text);
    text = show("", false);
    assert_null(strstr(text, "privacy_store_"));
    free(text);
}

static void test_a_request_is_counted_once(void **state)
{
    (void)state;
    prv_tally tally = {.cookies = 2, .set_cookies = 3, .gate = PRV_GATE_REQUIRE, .row = 15};
    prv_rules rules;
    prv_rules_init(&rules);
    rules.mode = PRV_MODE_ON;
    prv_request rq = {.site = &site, .zone = zone, .tally = &tally, .source = PRV_SOURCE_CACHE};
    const prv_decision d = {.row = {15, 15}};
    prv_tally_count(&rq, &rules, &d, NULL, 0);
    rules.exempt = true;
    prv_tally_count(&rq, &rules, &d, NULL, 0);
    rules.exempt = false;
    rules.mode = PRV_MODE_OFF;
    prv_tally_count(&rq, &rules, &d, NULL, 0);
    char *text = show("", false);
    has(text, "mode=\"on\",state=\"cache\"} 1\n");
    has(text, "reason=\"none\",outcome=\"deny\"} 2\n");
    has(text, "direction=\"request\"} 2\n");
    has(text, "direction=\"response\"} 3\n");
    has(text, "mode=\"on\",gate=\"require\",reason=\"none\"} 1\n");
    free(text);

    site.counts = 0; /* the table of sites was full */
    rules.mode = PRV_MODE_ON;
    prv_tally_count(&rq, &rules, &d, NULL, 0);
    text = show("", false);
    has(text, "mode=\"on\",state=\"cache\"} 0\n");
    has(text, "privacy_uncounted_total 1\n");
    free(text);
    rq.zone = NULL;
    prv_tally_count(&rq, &rules, &d, NULL, 0);
}

static void test_without_memory(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        give_back();
        fail_at = n;
        char *text = show("", true);
        const bool failed = allocations >= n;
        assert_int_equal(response.status, failed ? 503 : 200);
        free(text);
        if (!failed)
            break;
    }
    give_back();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_labels_are_escaped, fresh),
        cmocka_unit_test_setup(test_the_form, fresh),
        cmocka_unit_test_setup(test_a_request_is_counted_once, fresh),
        cmocka_unit_test_setup(test_without_memory, fresh),
    };
    const int failed = cmocka_run_group_tests_name("status", tests, NULL, NULL);
    give_back();
    return failed;
}
