/* Changes of an account's record, against a store in memory: rounds, conflicts, a store that goes
 * away, what is written unasked. */
#include "visit_fixture.h"

#include "rights/account.h"

#define ALICE PRV_STR("alice")
#define FIELDS 32

typedef struct memory {
    size_t n;
    char name[FIELDS][32], value[FIELDS][256];
    char pointer[PRV_ID_LEN];
    bool pointed;
    unsigned ops, down_from; /* the n-th operation and all after it are not answered; 0: never */
    unsigned writes, binds;
    int64_t record_until, pointer_until;
} memory;

static memory mem;

static int field_at(prv_str name)
{
    for (size_t i = 0; i < mem.n; i++) {
        if (strlen(mem.name[i]) == name.n && memcmp(mem.name[i], name.p, name.n) == 0)
            return (int)i;
    }
    return -1;
}

static const char *field(const char *name)
{
    const int at = field_at(fix_str(name));
    return at < 0 ? "" : mem.value[at];
}

static void field_set(prv_str name, prv_str value)
{
    int at = field_at(name);
    if (at < 0)
        at = (int)mem.n++;
    assert_true(mem.n <= FIELDS && name.n < 32 && value.n < 256);
    snprintf(mem.name[at], sizeof mem.name[at], "%.*s", (int)name.n, name.p);
    snprintf(mem.value[at], sizeof mem.value[at], "%.*s", (int)value.n, value.p);
}

static void field_drop(prv_str name)
{
    const int at = field_at(name);
    if (at < 0)
        return;
    mem.n--;
    memcpy(mem.name[at], mem.name[mem.n], sizeof mem.name[at]);
    memcpy(mem.value[at], mem.value[mem.n], sizeof mem.value[at]);
}

static void fill(prv_str *pairs, prv_reply *reply)
{
    for (size_t i = 0; i < mem.n; i++) {
        pairs[2 * i] = fix_str(mem.name[i]);
        pairs[2 * i + 1] = fix_str(mem.value[i]);
    }
    reply->pairs = pairs;
    reply->n = 2 * mem.n;
}

static void write_record(const prv_op *op, prv_reply *reply)
{
    const char *seq = field("seq");
    const size_t n = (size_t)sf_number(op->args[3]);
    const char *colon = memchr(op->args[1].p, ':', op->args[1].n);
    const prv_str expected = {op->args[1].p,
                              colon ? (size_t)(colon - op->args[1].p) : op->args[1].n};
    if ((seq[0] ? sf_number(fix_str(seq)) : 0) != sf_number(expected)) {
        reply->status = PRV_REPLY_CONFLICT;
        return;
    }
    for (size_t i = 0; i < n; i++)
        field_set(op->args[4 + 2 * i], op->args[5 + 2 * i]);
    for (size_t i = 4 + 2 * n; i < op->n_args; i++)
        field_drop(op->args[i]);
    mem.record_until = sf_number(op->args[2]);
    mem.writes++;
    reply->status = PRV_REPLY_RECORD;
}

static void carry_out(const prv_op *op, prv_str *pairs, prv_reply *reply)
{
    *reply = (prv_reply){.status = PRV_REPLY_UNAVAILABLE};
    if (mem.down_from && ++mem.ops >= mem.down_from)
        return;
    switch (op->kind) {
    case PRV_OP_SUBJECT:
        reply->status = mem.pointed ? PRV_REPLY_RECORD : PRV_REPLY_ABSENT;
        pairs[0] = PRV_STR("id");
        pairs[1] = (prv_str){mem.pointer, PRV_ID_LEN};
        reply->pairs = pairs;
        reply->n = mem.pointed ? 2 : 0;
        return;
    case PRV_OP_BIND:
        assert_int_equal(op->args[0].n, PRV_ID_LEN);
        memcpy(mem.pointer, op->args[0].p, PRV_ID_LEN);
        mem.pointer_until = sf_number(op->args[1]);
        mem.pointed = true;
        mem.binds++;
        reply->status = PRV_REPLY_RECORD;
        return;
    case PRV_OP_READ:
        reply->status = mem.n ? PRV_REPLY_RECORD : PRV_REPLY_ABSENT;
        fill(pairs, reply);
        return;
    case PRV_OP_CHANGE:
        write_record(op, reply);
        fill(pairs, reply);
        return;
    default:
        fail();
    }
}

static uint32_t mask(const char *names)
{
    return sf_mask(visit_fix.policy, fix_str(names));
}

/* A request of alice's in a browser with this cookie (n 0: none). */
static prv_request alice(prv_str *cookie, unsigned signals)
{
    prv_str pairs[2 * FIELDS];
    prv_reply reply;
    prv_op op;
    prv_request rq = visit_request(cookie, cookie->n > 0);
    rq.signals = (uint8_t)signals;
    visit_begin(&rq);
    for (prv_step step = prv_subject_begin(&rq, ALICE, &op); step == PRV_STEP_NEED_STORE;) {
        carry_out(&op, pairs, &reply);
        step = prv_subject_feed(&rq, &reply, &op);
    }
    return rq;
}

static prv_change_step change(prv_account_run *run, prv_request *rq, const char *grant,
                              const char *refuse)
{
    prv_str pairs[2 * FIELDS];
    const prv_change wanted = {.grant = mask(grant),
                               .refuse = mask(refuse),
                               .restricted = -1,
                               .signals = rq->signals,
                               .method = PRV_STR("api")};
    prv_reply reply;
    prv_op op;
    prv_change_step step = prv_account_begin(run, rq, &wanted, &op);
    for (unsigned rounds = 0; step == PRV_CHANGE_WRITE; rounds++) {
        assert_true(rounds < 5);
        carry_out(&op, pairs, &reply);
        step = prv_account_feed(run, &reply, &op);
    }
    return step;
}

/* Carries out what is to be written unasked; the number of operations. */
static unsigned unasked(prv_request *rq)
{
    prv_str pairs[2 * FIELDS];
    prv_reply reply;
    prv_op op;
    unsigned n = 0;
    for (; prv_account_want(rq, &op); n++) {
        assert_true(n < 4);
        carry_out(&op, pairs, &reply);
    }
    return n;
}

static prv_str cookie_of(const prv_request *rq)
{
    const prv_state own = prv_request_own(rq);
    char *text = visit_fix.env.alloc(visit_fix.env.ctx, 512), token[PRV_TOKEN_MAX + 1];
    assert_true(prv_token_write(&visit_fix.site, &own, token) > 0);
    return (prv_str){text, (size_t)snprintf(text, 512, "__Host-privacy=%s", token)};
}

/* ------------------------------------------------------------------ choices */

static void test_the_first_choice(void **state)
{
    prv_str none = PRV_NONE;
    prv_account_run run;
    char hash[PRV_ID_LEN];
    (void)state;
    for (unsigned i = 0; i < 2; i++) { /* a grant, or a refusal alone */
        mem = (memory){0};
        prv_request rq = alice(&none, 0);
        assert_int_equal(change(&run, &rq, i ? "" : "statistics", i ? "statistics" : ""),
                         PRV_CHANGE_DONE);
        visit_expect(&rq, i ? "" : "statistics", i ? "statistics" : "");
        prv_id_unpack(rq.subject, hash);
        assert_memory_equal(field("subject"), hash, PRV_ID_LEN);
        assert_memory_equal(field("id"), mem.pointer, PRV_ID_LEN);
        assert_string_equal(field("seq"), "1");
        assert_int_equal(mem.writes + mem.binds, 2);
        assert_true(mem.pointer_until == mem.record_until && mem.pointer_until > SF_NOW);
        assert_false(run.set_cookie); /* the browser has nothing to say */
        assert_memory_equal(rq.state.id, mem.pointer, PRV_ID_LEN);
    }
}

static void test_two_nodes_at_once(void **state)
{
    prv_str none = PRV_NONE;
    prv_account_run run;
    (void)state;
    prv_request one = alice(&none, 0), other = alice(&none, 0);
    assert_false(one.account->pointed || other.account->pointed);
    assert_int_equal(change(&run, &one, "statistics", ""), PRV_CHANGE_DONE);
    assert_int_equal(change(&run, &other, "preferences", "marketing"), PRV_CHANGE_DONE);
    visit_expect(&other, "preferences statistics", "marketing");
    assert_string_equal(field("seq"), "2");
}

static void test_a_pointer_to_nothing(void **state)
{
    prv_str none = PRV_NONE;
    prv_account_run run;
    (void)state;
    mem.pointed = true;
    memcpy(mem.pointer, SF_ID2, PRV_ID_LEN);
    prv_request rq = alice(&none, 0);
    visit_expect(&rq, "", "");
    assert_int_equal(change(&run, &rq, "statistics", ""), PRV_CHANGE_DONE);
    assert_memory_equal(field("id"), SF_ID2, PRV_ID_LEN);
    assert_memory_equal(mem.pointer, SF_ID2, PRV_ID_LEN);
}

/* ------------------------------------------------------------------ the browser beside it */

static void test_over_a_refusal_of_the_browser(void **state)
{
    prv_account_run run;
    (void)state;
    prv_str cookie = visit_cookie(&(view){.seq = 3, .refused = "statistics marketing"});
    prv_request rq = alice(&cookie, 0);
    assert_int_equal(change(&run, &rq, "statistics preferences", ""), PRV_CHANGE_DONE);
    visit_expect(&rq, "preferences statistics", "marketing");
    assert_true(run.set_cookie);
    cookie = cookie_of(&rq);
    rq = visit_begun(cookie);
    visit_expect(&rq, "", "statistics marketing"); /* nobody is logged in */
    rq = alice(&cookie, 0);
    visit_expect(&rq, "preferences statistics", "marketing");
    assert_int_equal(change(&run, &rq, "", "statistics"), PRV_CHANGE_DONE);
    assert_true(run.set_cookie);
    cookie = cookie_of(&rq);
    field_drop(PRV_STR("refused")); /* as if granted elsewhere meanwhile */
    rq = alice(&cookie, 0);
    assert_int_equal(rq.token.over, 0);
}

/* ------------------------------------------------------------------ the store goes away */

static void test_away(void **state)
{
    prv_account_run run;
    (void)state;
    /* Two operations look alice up, or one while she has no pointer; then read, write, pointer. */
    for (unsigned down = 1; down <= 4; down++) {
        mem = (memory){.down_from = down};
        prv_str cookie = visit_cookie(&(view){.seq = 3, .refused = "marketing"});
        prv_request rq = alice(&cookie, 0);
        assert_int_equal(change(&run, &rq, "statistics", ""), PRV_CHANGE_UNAVAILABLE);
        assert_true((rq.state.granted & mask("statistics")) == 0 || down == 4);

        mem = (memory){.down_from = down};
        rq = alice(&cookie, 0);
        assert_int_equal(change(&run, &rq, "preferences", "statistics"), PRV_CHANGE_LOCAL);
        assert_true(run.set_cookie && run.run.partly);
        const prv_state own = prv_request_own(&rq);
        assert_int_equal(own.refused, mask("statistics marketing"));
        assert_int_equal(own.owed, mask("statistics"));
        assert_true(own.seq > 3 && own.granted == 0);
    }
    /* A pointer that is there already needs no answer. */
    mem = (memory){0};
    prv_str none = PRV_NONE;
    prv_request rq = alice(&none, 0);
    assert_int_equal(change(&run, &rq, "statistics", ""), PRV_CHANGE_DONE);
    rq = alice(&none, 0);
    mem.ops = 0;
    mem.down_from = 3;
    assert_int_equal(change(&run, &rq, "preferences", ""), PRV_CHANGE_DONE);
    assert_string_equal(field("seq"), "2");
}

static void test_owed(void **state)
{
    prv_account_run run;
    prv_str none = PRV_NONE;
    (void)state;
    prv_request rq = alice(&none, 0);
    assert_int_equal(change(&run, &rq, "statistics preferences", ""), PRV_CHANGE_DONE);
    mem.down_from = 1;
    visit_fix.env.now_ms += 10000;
    rq = alice(&none, 0);
    assert_int_equal(change(&run, &rq, "", "statistics"), PRV_CHANGE_LOCAL);
    prv_str cookie = cookie_of(&rq);

    mem.down_from = 0;
    rq = alice(&cookie, 0);
    visit_expect(&rq, "preferences", "statistics");
    assert_int_equal(unasked(&rq), 2); /* the record, and its pointer's new life */
    assert_string_equal(field("refused"), "statistics");
    assert_string_equal(field("granted"), "preferences");
    assert_string_equal(field("method"), "api");
    rq = alice(&cookie, 0);
    assert_int_equal(unasked(&rq), 0); /* and once */
    assert_true(rq.renew);
    assert_int_equal(prv_request_own(&rq).owed, 0);

    /* Granted later, elsewhere, before this cookie came back. */
    visit_fix.env.now_ms += 10000;
    rq = alice(&none, 0);
    assert_int_equal(change(&run, &rq, "statistics", ""), PRV_CHANGE_DONE);
    rq = alice(&cookie, 0);
    assert_int_equal(unasked(&rq), 0);
    assert_string_equal(field("granted"), "preferences,statistics");
}

/* ------------------------------------------------------------------ GPC */

static void test_gpc(void **state)
{
    prv_account_run run;
    prv_str none = PRV_NONE;
    (void)state;
    prv_request rq = alice(&none, 0);
    assert_int_equal(change(&run, &rq, "marketing preferences", ""), PRV_CHANGE_DONE);
    const long long until = mem.record_until;
    visit_fix.env.now_ms += 86400000;
    rq = alice(&none, PRV_SIGNAL_GPC);
    assert_int_equal(unasked(&rq), 2);
    visit_expect(&rq, "preferences", "marketing"); /* this request, too */
    assert_string_equal(field("gpc"), "1");
    assert_string_equal(field("refused"), "marketing");
    assert_string_equal(field("method"), "signal");
    assert_true(mem.record_until > until); /* a refusal must not run out with old grants */
    rq = alice(&none, PRV_SIGNAL_GPC);
    visit_expect(&rq, "preferences", "marketing");
    assert_int_equal(unasked(&rq), 0);

    rq = alice(&none, 0);
    assert_int_equal(change(&run, &rq, "marketing", ""), PRV_CHANGE_DONE);
    assert_string_equal(field("gpc"), "1");
    rq = alice(&none, PRV_SIGNAL_GPC);
    assert_int_equal(unasked(&rq), 0);
    visit_expect(&rq, "preferences marketing", "");

    mem = (memory){0}; /* a grant that is made with it on */
    rq = alice(&none, PRV_SIGNAL_GPC);
    assert_int_equal(change(&run, &rq, "marketing", ""), PRV_CHANGE_DONE);
    assert_string_equal(field("granted"), "marketing");
    assert_string_equal(field("gpc"), "1");
    assert_int_equal(unasked(&rq), 0);
}

static void test_an_age_that_the_application_tells(void **state)
{
    prv_str none = PRV_NONE, set;
    prv_op op;
    (void)state;
    prv_request rq = alice(&none, 0);
    assert_false(prv_request_report_age(&rq, PRV_STR("ok:18"), &set, &op));
    assert_int_equal(set.n, 0); /* not the browser's */
    assert_int_equal(unasked(&rq), 2);
    assert_string_equal(field("age"), "ok:18");
    rq = alice(&none, 0);
    assert_int_equal(rq.state.age.ok, 18);
    mem = (memory){0};
    rq = alice(&none, 0);
    assert_false(prv_request_report_age(&rq, PRV_STR("under:13"), &set, &op));
    assert_true(set.n > 0); /* both */
    assert_int_equal(unasked(&rq), 2);
    assert_string_equal(field("age"), "under:13");
    assert_int_equal(rq.state.age.under, 13);
}

/* ------------------------------------------------------------------ memory */

static void test_no_memory(void **state)
{
    (void)state;
    for (unsigned fail_at = 1; fail_at < 60; fail_at++) {
        prv_account_run run;
        mem = (memory){0};
        visit_fix.fail_at = 0;
        prv_str cookie = visit_cookie(&(view){.seq = 3, .refused = "statistics"});
        visit_fix.fail_at = visit_fix.n_blocks + fail_at;
        prv_request rq = alice(&cookie, PRV_SIGNAL_GPC);
        const prv_change_step step = change(&run, &rq, "statistics", "preferences");
        if (step == PRV_CHANGE_DONE)
            assert_string_equal(field("granted"), "statistics");
        (void)unasked(&rq);
        visit_fix.fail_at = 0;
        assert_true(step == PRV_CHANGE_DONE || !(rq.state.granted & mask("statistics")) ||
                    mem.writes);
    }
}

static int setup(void **state)
{
    visit_setup_store(state);
    prv_keyring_free(visit_fix.keys);
    visit_fix.keys = sf_keys("token a " SF_KEY_A "\nsubject s " SF_KEY_B "\n");
    visit_fix.site.keys = visit_fix.keys;
    mem = (memory){0};
    return 0;
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, setup)
    const struct CMUnitTest tests[] = {
        TEST(test_the_first_choice),
        TEST(test_two_nodes_at_once),
        TEST(test_a_pointer_to_nothing),
        TEST(test_over_a_refusal_of_the_browser),
        TEST(test_away),
        TEST(test_owed),
        TEST(test_gpc),
        TEST(test_an_age_that_the_application_tells),
        TEST(test_no_memory),
    };
    sf_open(&visit_fix);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    sf_close(&visit_fix);
    return failed;
}
