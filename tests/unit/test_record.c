/* Records: read (tests/vectors/record), written and read back, and how long things last. */
#include "state_fixture.h"

#include <stdio.h>

static state_fixture fix;

/* ------------------------------------------------------------------ vectors */

static void expect_number(const vec_case *c, const char *key, long long got)
{
    const prv_str want = vec_get(c, key, 0);
    if (want.p && sf_number(want) != got)
        fail_msg("%s:%u: %s: %lld", c->file, c->line, key, got);
}

static void expect_state(const vec_case *c, const prv_state *got)
{
    char age[48];
    sf_same(c, "granted", fix_str(sf_names(fix.policy, got->granted)));
    sf_same(c, "refused", fix_str(sf_names(fix.policy, got->refused)));
    sf_same(c, "restricted", got->restricted ? PRV_STR("yes") : PRV_STR("no"));
    sf_same(c, "age", (prv_str){age, prv_age_format(&got->age, age)});
    sf_same(c, "signals",
            got->signals == 3   ? PRV_STR("gpc,dnt")
            : got->signals == 1 ? PRV_STR("gpc")
                                : PRV_STR(""));
    char subject[PRV_ID_LEN];
    prv_id_unpack(got->subject, subject);
    sf_same(c, "subject", (prv_str){subject, got->of_account ? PRV_ID_LEN : 0});
    sf_same(c, "gpc", got->gpc ? PRV_STR("yes") : PRV_STR("no"));
    expect_number(c, "age-at", got->age.at);
    expect_number(c, "seq", got->seq);
    expect_number(c, "other", got->n_other);
}

static void record_case(const vec_case *c, void *arg)
{
    static const char *const keys[] = {"case",   "field", "status",       "granted",     "refused",
                                       "seq",    "age",   "age-at",       "restricted",  "signals",
                                       "no-ttl", "other", "kept-granted", "kept-refused", "subject",
                                       "gpc"};
    static const char *const words[] = {"ok", "absent", "unreadable"};
    prv_str pairs[2 * VEC_LINES], field;
    size_t n = 0;
    prv_state got;
    prv_record_kept kept;
    bool no_ttl;
    (void)arg;
    vec_only(c, keys, sizeof keys / sizeof *keys);
    sf_reset(&fix);
    for (size_t i = 0; (field = vec_get(c, "field", i)).p; i++) {
        const char *space = memchr(field.p, ' ', field.n);
        const size_t name = space ? (size_t)(space - field.p) : field.n;
        pairs[n++] = (prv_str){field.p, name};
        pairs[n++] = (prv_str){field.p + name + (space != NULL), field.n - name - (space != NULL)};
    }
    const prv_reply reply = {.status = PRV_REPLY_RECORD, .n = n, .pairs = pairs};
    const prv_record_status status = prv_record_read(fix.policy, fix.keys, PRV_STR(SF_ID), &reply,
                                                     &fix.env, &got, &kept, &no_ttl);
    sf_same(c, "status", fix_str(words[status]));
    expect_state(c, &got);
    sf_same(c, "no-ttl", no_ttl ? PRV_STR("yes") : PRV_STR("no"));
    sf_same(c, "kept-granted", kept.granted);
    sf_same(c, "kept-refused", kept.refused);
    assert_int_equal(fix.logged, status == PRV_RECORD_UNREADABLE);
    assert_null(strstr(fix.log, "aaaqeaye")); /* six characters of an id at most */
    if (status == PRV_RECORD_OK) {
        assert_true(got.present && got.stored && got.id_len == PRV_ID_LEN);
        assert_memory_equal(got.id, SF_ID, PRV_ID_LEN);
    } else {
        assert_int_equal(got.granted, 0);
        assert_false(got.present);
    }
}

static void test_vectors(void **state)
{
    (void)state;
    vec_each("record", record_case, NULL);
}

static void test_replies_without_a_record(void **state)
{
    const struct {
        prv_reply reply;
        prv_record_status status;
    } cases[] = {{{.status = PRV_REPLY_ABSENT}, PRV_RECORD_ABSENT},
                 {{.status = PRV_REPLY_CONFLICT}, PRV_RECORD_ABSENT},
                 {{.status = PRV_REPLY_UNREADABLE}, PRV_RECORD_UNREADABLE},
                 {{.status = PRV_REPLY_UNAVAILABLE}, PRV_RECORD_UNREADABLE}};
    prv_state got;
    bool no_ttl;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(prv_record_read(fix.policy, fix.keys, PRV_STR(SF_ID), &cases[i].reply,
                                         NULL, &got, NULL, &no_ttl),
                         cases[i].status);
        assert_false(got.present);
    }
}

/* ------------------------------------------------------------------ a store in memory */

#define STORE_MAX 32
typedef struct store {
    size_t n; /* strings */
    prv_str pairs[2 * STORE_MAX];
} store;

static prv_str store_get(const store *s, const char *name)
{
    for (size_t i = 0; i + 1 < s->n; i += 2) {
        if (s->pairs[i].n == strlen(name) && memcmp(s->pairs[i].p, name, s->pairs[i].n) == 0)
            return s->pairs[i + 1];
    }
    return PRV_NONE;
}

static void store_set(store *s, prv_str name, prv_str value)
{
    for (size_t i = 0; i + 1 < s->n; i += 2) {
        if (s->pairs[i].n == name.n && memcmp(s->pairs[i].p, name.p, name.n) == 0) {
            s->pairs[i + 1] = value;
            return;
        }
    }
    assert_true(s->n < 2 * STORE_MAX);
    s->pairs[s->n++] = name;
    s->pairs[s->n++] = value;
}

static void store_delete(store *s, prv_str name)
{
    for (size_t i = 0; i + 1 < s->n; i += 2) {
        if (s->pairs[i].n == name.n && memcmp(s->pairs[i].p, name.p, name.n) == 0) {
            s->n -= 2;
            s->pairs[i] = s->pairs[s->n];
            s->pairs[i + 1] = s->pairs[s->n + 1];
            return;
        }
    }
}

/* As core/redis/script.h lays the arguments out. */
static void store_apply(store *s, const prv_op *op)
{
    assert_int_equal(op->kind, PRV_OP_CHANGE);
    const size_t n = (size_t)sf_number(op->args[3]);
    assert_true(4 + 2 * n <= op->n_args && op->n_args <= PRV_OP_ARGS_MAX);
    for (size_t i = 0; i < n; i++)
        store_set(s, op->args[4 + 2 * i], op->args[5 + 2 * i]);
    for (size_t i = 4 + 2 * n; i < op->n_args; i++)
        store_delete(s, op->args[i]);
}

static prv_state store_read(const store *s, prv_record_kept *kept)
{
    prv_state got;
    bool no_ttl;
    const prv_reply reply = {.status = PRV_REPLY_RECORD, .n = s->n, .pairs = s->pairs};
    assert_int_equal(prv_record_read(fix.policy, fix.keys, PRV_STR(SF_ID), &reply, &fix.env, &got,
                                     kept, &no_ttl),
                     PRV_RECORD_OK);
    assert_false(no_ttl);
    return got;
}

static prv_state sample(void)
{
    prv_state s = {.present = true,
                   .stored = true,
                   .id_len = PRV_ID_LEN,
                   .version = fix.policy->version,
                   .seq = 3,
                   .at = SF_NOW,
                   .expires = SF_NOW + 182 * 86400,
                   .granted = sf_mask(fix.policy, PRV_STR("preferences statistics")),
                   .refused = sf_mask(fix.policy, PRV_STR("marketing")),
                   .signals = PRV_SIGNAL_DNT,
                   .restricted = true,
                   .age = {.ok = 13, .under = 16, .at = SF_NOW - 60}};
    memcpy(s.id, SF_ID, PRV_ID_LEN);
    return s;
}

static const prv_record_meta meta = {
    .method = {"form", 4}, .region = {2, "FR"}, .change = {SF_ID2, PRV_ID_LEN}};

static void write_to(store *s, const prv_state *next, const prv_record_meta *how)
{
    prv_op op;
    assert_true(
        prv_record_change(fix.policy, fix.keys, PRV_STR("privacy:"), next, 0, how, &fix.env, &op));
    store_apply(s, &op);
}

static void test_write_and_read_back(void **state)
{
    store s = {0};
    prv_op op;
    const prv_state next = sample();
    (void)state;
    sf_reset(&fix);
    assert_true(prv_record_change(fix.policy, fix.keys, PRV_STR("privacy:"), &next, 2, &meta,
                                  &fix.env, &op));
    fix_assert_str(op.key, "privacy:consent:{" SF_ID "}", "key");
    fix_assert_str(op.args[0], SF_ID2, "change");
    fix_assert_str(op.args[1], "2", "expected seq");
    fix_assert_str(op.args[2], "1829574000", "EXPIREAT: the refusal's 395 days");
    store_apply(&s, &op);

    fix_assert_str(store_get(&s, "v"), "1", "v");
    fix_assert_str(store_get(&s, "site"), "example", "site");
    fix_assert_str(store_get(&s, "seq"), "3", "seq");
    fix_assert_str(store_get(&s, "policy"), "2024-06-01", "policy");
    fix_assert_str(store_get(&s, "granted"), "preferences,statistics", "granted");
    fix_assert_str(store_get(&s, "refused"), "marketing", "refused");
    fix_assert_str(store_get(&s, "at"), "2026-11-23T15:00:00Z", "at");
    fix_assert_str(store_get(&s, "expires"), "2027-05-24T15:00:00Z", "expires");
    fix_assert_str(store_get(&s, "signals"), "dnt", "signals");
    fix_assert_str(store_get(&s, "method"), "form", "method");
    fix_assert_str(store_get(&s, "region"), "FR", "region");
    fix_assert_str(store_get(&s, "age"), "ok:13,under:16", "age");
    fix_assert_str(store_get(&s, "age_at"), "2026-11-23T14:59:00Z", "age_at");
    fix_assert_str(store_get(&s, "restricted"), "1", "restricted");
    assert_true(store_get(&s, "proof").n <=
                64); /* a longer field costs Redis four times the memory */

    const prv_state got = store_read(&s, NULL);
    assert_int_equal(got.seq, 3);
    assert_int_equal(got.granted, next.granted);
    assert_int_equal(got.refused, next.refused);
    assert_int_equal(got.version, next.version);
    assert_int_equal(got.at, next.at);
    assert_int_equal(got.expires, next.expires);
    assert_int_equal(got.signals, PRV_SIGNAL_DNT);
    assert_true(got.restricted);
    assert_int_equal(got.age.ok, 13);
    assert_int_equal(got.age.under, 16);
    assert_int_equal(got.age.at, SF_NOW - 60);
}

static void test_fields_go_when_they_say_nothing(void **state)
{
    store s = {0};
    prv_state next = sample();
    const prv_record_meta later = {.method = PRV_STR("api"), .change = PRV_STR("c")};
    (void)state;
    sf_reset(&fix);
    write_to(&s, &next, &meta);
    store_set(&s, PRV_STR("note"), PRV_STR("kept"));
    next.seq = 4;
    next.granted = 0;
    next.signals = 0;
    next.restricted = false;
    next.age = (prv_age){0};
    write_to(&s, &next, &later);
    static const char *const gone[] = {"granted", "proof",  "signals",   "restricted",
                                       "age",     "age_at", "age_proof", "region"};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        assert_null(store_get(&s, gone[i]).p);
    fix_assert_str(store_get(&s, "method"), "api", "method");
    fix_assert_str(store_get(&s, "note"), "kept", "note");
    assert_int_equal(store_read(&s, NULL).seq, 4);
}

/* An operator marks a child between our read and our write. */
static void test_what_was_not_asked_for_is_left(void **state)
{
    store s = {0};
    prv_state next = sample();
    const prv_record_meta repair = {
        .change = PRV_STR("c"), .leave_age = true, .leave_restricted = true};
    (void)state;
    sf_reset(&fix);
    write_to(&s, &next, &meta);
    store_set(&s, PRV_STR("age"), PRV_STR("under:13"));
    next.seq = 4;
    next.restricted = false;
    next.age = (prv_age){.ok = 16};
    write_to(&s, &next, &repair);
    const prv_state got = store_read(&s, NULL);
    assert_int_equal(got.seq, 4);
    assert_int_equal(got.age.under, 13);
    assert_int_equal(got.age.ok, 0);
    assert_true(got.restricted);
    fix_assert_str(store_get(&s, "method"), "form", "method");
    fix_assert_str(store_get(&s, "region"), "FR", "region");
}

static void test_names_of_other_versions(void **state)
{
    store s = {0};
    prv_state next = sample();
    prv_record_kept kept;
    prv_record_meta how = meta;
    (void)state;
    sf_reset(&fix);
    how.kept = (prv_record_kept){PRV_STR("newsletter,telemetry"), PRV_STR("profiling")};
    next.other[0] = (prv_other){prv_purpose_hash(PRV_STR("telemetry")), false}; /* refused since */
    next.n_other = 1;
    write_to(&s, &next, &how);
    fix_assert_str(store_get(&s, "granted"), "preferences,statistics,newsletter", "granted");
    fix_assert_str(store_get(&s, "refused"), "marketing,profiling,telemetry", "refused");
    const prv_state got = store_read(&s, &kept);
    fix_assert_str(kept.granted, "newsletter", "kept");
    fix_assert_str(kept.refused, "profiling,telemetry", "kept");
    assert_int_equal(got.n_other, 3);
}

static void test_no_write_without(void **state)
{
    prv_op op;
    prv_state next = sample();
    (void)state;
    sf_reset(&fix);
    assert_false(
        prv_record_change(fix.policy, NULL, PRV_STR("p:"), &next, 0, &meta, &fix.env, &op));
    fix.fail_at = 1;
    assert_false(
        prv_record_change(fix.policy, fix.keys, PRV_STR("p:"), &next, 0, &meta, &fix.env, &op));
    sf_reset(&fix);
    next.id_len = 0;
    assert_false(
        prv_record_change(fix.policy, fix.keys, PRV_STR("p:"), &next, 0, &meta, &fix.env, &op));
}

/* A flipped byte anywhere in what was stored never adds a grant or an age. */
static void test_edits_never_add(void **state)
{
    prv_state next = sample();
    store s = {0};
    (void)state;
    sf_reset(&fix);
    next.restricted = false;
    write_to(&s, &next, &meta);
    for (size_t i = 1; i < s.n; i += 2) {
        const prv_str value = s.pairs[i];
        for (size_t at = 0; at < value.n; at++) {
            for (unsigned bit = 0; bit < 7; bit++) {
                char edited[128];
                prv_state got;
                bool no_ttl;
                assert_true(value.n <= sizeof edited);
                memcpy(edited, value.p, value.n);
                edited[at] = (char)(edited[at] ^ (1 << bit));
                s.pairs[i] = (prv_str){edited, value.n};
                const prv_reply reply = {.status = PRV_REPLY_RECORD, .n = s.n, .pairs = s.pairs};
                prv_record_read(fix.policy, fix.keys, PRV_STR(SF_ID), &reply, NULL, &got, NULL,
                                &no_ttl);
                assert_int_equal(got.granted & ~next.granted, 0);
                assert_true(got.age.ok == 0 || got.age.ok == 13);
                assert_true(got.granted == 0 || got.expires == next.expires);
                assert_true(got.granted == 0 || got.version == next.version);
                assert_true(got.granted == 0 || got.seq == next.seq);
            }
        }
        s.pairs[i] = value;
    }
}

/* ------------------------------------------------------------------ age */

static void test_age_op(void **state)
{
    prv_op op;
    prv_state next = sample();
    const prv_age old = {.ok = 13};
    (void)state;
    sf_reset(&fix);
    next.age = (prv_age){.under = 13};
    assert_true(prv_record_age(fix.policy, fix.keys, PRV_STR("p:"), &next, &old, &fix.env, &op));
    assert_int_equal(op.kind, PRV_OP_AGE);
    assert_int_equal(op.n_args, 4);
    fix_assert_str(op.key, "p:consent:{" SF_ID "}", "key");
    fix_assert_str(op.args[0], "ok:13", "old");
    fix_assert_str(op.args[1], "under:13", "new");
    fix_assert_str(op.args[3], "", "age_at");

    /* What the script stores is read back with its proof. */
    store s = {0};
    next.age = (prv_age){.under = 13, .parental = 13};
    write_to(&s, &next, &meta);
    assert_true(prv_record_age(fix.policy, fix.keys, PRV_STR("p:"), &next, &old, &fix.env, &op));
    store_set(&s, PRV_STR("age"), op.args[1]);
    store_set(&s, PRV_STR("age_proof"), op.args[2]);
    const prv_state got = store_read(&s, NULL);
    assert_int_equal(got.age.under, 13);
    assert_int_equal(got.age.parental, 13);

    next.age = (prv_age){0};
    assert_false(prv_record_age(fix.policy, fix.keys, PRV_STR("p:"), &next, &old, &fix.env, &op));
    next.age.under = 13;
    fix.fail_at = fix.n_blocks + 1;
    assert_false(prv_record_age(fix.policy, fix.keys, PRV_STR("p:"), &next, &old, &fix.env, &op));
}

/* ------------------------------------------------------------------ lifetimes */

static void test_lifetimes(void **state)
{
    const int64_t day = 86400;
    prv_policy policy = *fix.policy;
    policy.lifetimes = (prv_lifetimes){
        .choice = 100 * day, .refusal = 200 * day, .maximum = 300 * day, .age = 150 * day};
    const struct {
        prv_state state;
        int64_t expires, end;
    } cases[] = {
        {{.at = 0}, 200, 200},
        {{.at = 0, .granted = 1}, 100, 100},
        {{.at = 0, .refused = 1}, 200, 200},
        {{.at = 0, .granted = 1, .refused = 2}, 100, 200},
        {{.at = 0, .granted = 1, .restricted = true}, 100, 200},
        {{.at = 0, .granted = 1, .age = {.under = 13}}, 100, 300},
        {{.at = 0, .granted = 1, .age = {.parental = 13}}, 100, 300},
        {{.at = 0, .age = {.ok = 13, .at = 20 * day}}, 200, 170},
        {{.at = 0, .age = {.ok = 13, .at = 250 * day}}, 200, 300}, /* capped */
        {{.at = 0, .n_other = 1, .other = {{1, true}}}, 100, 100},
        {{.at = 0, .n_other = 1, .other = {{1, false}}}, 200, 200},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        prv_state s = cases[i].state;
        for (int64_t at = 0; at < 3; at++) {
            s.at = at * 1000;
            s.age.at = cases[i].state.age.at ? cases[i].state.age.at + s.at : 0;
            assert_int_equal(prv_state_expires(&policy, &s) - s.at, cases[i].expires * day);
            assert_int_equal(prv_state_end(&policy, &s) - s.at, cases[i].end * day);
        }
    }
    policy.lifetimes.maximum = 50 * day;
    const prv_state s = {.granted = 1, .refused = 2, .age = {.under = 13}};
    assert_int_equal(prv_state_expires(&policy, &s), 50 * day);
    assert_int_equal(prv_state_end(&policy, &s), 50 * day);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_replies_without_a_record),
        cmocka_unit_test(test_write_and_read_back),
        cmocka_unit_test(test_fields_go_when_they_say_nothing),
        cmocka_unit_test(test_what_was_not_asked_for_is_left),
        cmocka_unit_test(test_names_of_other_versions),
        cmocka_unit_test(test_no_write_without),
        cmocka_unit_test(test_edits_never_add),
        cmocka_unit_test(test_age_op),
        cmocka_unit_test(test_lifetimes),
    };
    sf_open(&fix);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    sf_close(&fix);
    return failed;
}
