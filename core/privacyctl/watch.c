/*
 * privacyctl watch: a line for each record that changes, as it happens. Redis pushes the names of changed keys (CLIENT TRACKING in
 * broadcasting mode, as the servers' own link does); what a record says now is read on a second connection.
 */
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../redis/ask.h"
#include "ctl.h"

#define CHANNEL "__redis__:invalidate"
#define ASK_MS 1000   /* a sign of life is asked for so often */
#define HANG_MS 5000  /* nothing for so long: a new connection */
#define AGAIN_MS 300  /* between attempts */

static volatile sig_atomic_t stopped;

static void stop(int number)
{
    (void)number;
    stopped = 1;
}

/* Without SA_RESTART: a poll ends, and the loop sees why. */
static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = stop};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static void now_text(char out[24])
{
    out[prv_rfc3339_format((int64_t)time(NULL), out)] = '\0';
}

/* ---- one changed key */

static prv_str field(const prv_reply *reply, const char *name)
{
    for (size_t i = 0; i + 1 < reply->n; i += 2) {
        const prv_str key = reply->pairs[i];
        if (key.n == strlen(name) && memcmp(key.p, name, key.n) == 0)
            return reply->pairs[i + 1];
    }
    return PRV_NONE;
}

/* Records may be edited by hand: nothing of one reaches the terminal but printable characters. */
static void print_plain(prv_str text)
{
    for (size_t i = 0; i < text.n; i++)
        putchar(text.p[i] >= ' ' && text.p[i] <= '~' ? text.p[i] : '?');
}

static void print_field(const prv_reply *reply, const char *name, const char *before)
{
    const prv_str value = field(reply, name);
    if (value.n > 0) {
        fputs(before, stdout);
        print_plain(value);
    }
}

static void print_record(const prv_reply *reply)
{
    const prv_str restricted = field(reply, "restricted");
    if (field(reply, "granted").n == 0 && field(reply, "refused").n == 0)
        fputs(" nothing chosen", stdout);
    print_field(reply, "granted", " granted ");
    print_field(reply, "refused", " refused ");
    print_field(reply, "age", "; age ");
    if (restricted.n == 1 && restricted.p[0] == '1')
        fputs("; restricted", stdout);
    print_field(reply, "seq", "; seq ");
    print_field(reply, "method", ", by ");
}

static const char *event_of(const prv_reply *reply)
{
    return reply->status == PRV_REPLY_RECORD       ? "changed"
           : reply->status == PRV_REPLY_ABSENT     ? "gone"
           : reply->status == PRV_REPLY_UNREADABLE ? "unreadable"
                                                   : "unknown";
}

static json_t *json_names(prv_str list)
{
    json_t *out = json_array();
    while (list.n > 0) {
        const char *comma = memchr(list.p, ',', list.n);
        const size_t n = comma == NULL ? list.n : (size_t)(comma - list.p);
        json_t *name = json_stringn(list.p, n);
        json_array_append_new(out, name != NULL ? name : json_string("(not UTF-8)"));
        list.p += n + (comma != NULL);
        list.n -= n + (comma != NULL);
    }
    return out;
}

static void json_put(json_t *out, const char *name, prv_str value)
{
    if (value.n > 0) {
        json_t *text = json_stringn(value.p, value.n);
        json_object_set_new(out, name, text != NULL ? text : json_string("(not UTF-8)"));
    }
}

static void print_json(const char *at, const char *event, prv_str id, const prv_reply *reply)
{
    static const char *const fields[] = {"seq", "age", "method", "policy", "site"};
    json_t *out = json_pack("{ss ss}", "time", at, "event", event);
    json_put(out, "id", id);
    if (reply != NULL && reply->status == PRV_REPLY_RECORD) {
        const prv_str restricted = field(reply, "restricted");
        json_object_set_new(out, "granted", json_names(field(reply, "granted")));
        json_object_set_new(out, "refused", json_names(field(reply, "refused")));
        json_object_set_new(out, "restricted",
                            json_boolean(restricted.n == 1 && restricted.p[0] == '1'));
        for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
            json_put(out, fields[i], field(reply, fields[i]));
    }
    json_dumpf(out, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(out);
}

static void show_record(ctl *c, prv_str key, prv_str id)
{
    static const char *const words[] = {[PRV_REPLY_ABSENT] = " gone: deleted or expired",
                                        [PRV_REPLY_UNREADABLE] = " holds something that is no record",
                                        [PRV_REPLY_CONFLICT] = "",
                                        [PRV_REPLY_UNAVAILABLE] = " changed; the store does not say how"};
    const prv_op op = {.kind = PRV_OP_READ, .key = key};
    prv_reply reply;
    char at[24];
    prv_sync_op(c->sync, &op, &reply);
    now_text(at);
    if (c->json) {
        print_json(at, event_of(&reply), id, &reply);
        return;
    }
    printf("%s ", at);
    print_plain(id);
    if (reply.status == PRV_REPLY_RECORD)
        print_record(&reply);
    else
        fputs(words[reply.status], stdout);
    putchar('\n');
}

static void show_account(ctl *c, prv_str key, prv_str hash)
{
    const prv_str words[] = {PRV_STR("GET"), key};
    const prv_answer *answer =
        prv_sync_aim(c->sync, key) ? prv_sync_ask(c->sync, words, 2) : NULL;
    const prv_str id = answer != NULL ? prv_answer_text(answer) : PRV_NONE;
    const bool found = answer != NULL && prv_answer_is(answer) == PRV_ANSWER_TEXT;
    char at[24];
    now_text(at);
    if (c->json) {
        json_t *out = json_pack("{ss ss}", "time", at, "event", found ? "account" : "account-gone");
        json_put(out, "account", hash);
        json_put(out, "id", found ? id : PRV_NONE);
        json_dumpf(out, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(out);
        return;
    }
    printf("%s account ", at);
    print_plain(hash);
    fputs(found ? " has the record " : " has no record any more", stdout);
    print_plain(found ? id : PRV_NONE);
    putchar('\n');
}

/* `PREFIX` + kind + `{` id `}`: what stands between the braces; empty: another key. */
static prv_str between(const ctl *c, prv_str key, const char *kind)
{
    const size_t prefix = c->site.prefix.n, n = strlen(kind), head = prefix + n + 1;
    if (key.n <= head + 1 || memcmp(key.p, c->site.prefix.p, prefix) != 0 ||
        memcmp(key.p + prefix, kind, n) != 0 || key.p[head - 1] != '{' || key.p[key.n - 1] != '}')
        return PRV_NONE;
    return (prv_str){key.p + head, key.n - head - 1};
}

static void show_key(ctl *c, prv_str key)
{
    /* A copy: the key's reply goes when the next one comes. */
    const prv_str mine = {ctl_text(c, key), key.n};
    const prv_str id = between(c, mine, "consent:"), hash = between(c, mine, "subject:");
    if (id.n > 0)
        show_record(c, mine, id);
    else if (hash.n > 0)
        show_account(c, mine, hash);
    ctl_arena_reset(c);
}

static void show_flush(const ctl *c)
{
    char at[24];
    now_text(at);
    if (c->json)
        print_json(at, "flushed", PRV_NONE, NULL);
    else
        printf("%s every record is gone: the whole store was flushed\n", at);
}

/* ["message", channel, [key, ...] or nil] */
static void show(ctl *c, const prv_answer *message)
{
    if (prv_answer_count(message) != 3 || !prv_answer_is_word(prv_answer_at(message, 0), "message"))
        return;
    const prv_answer *keys = prv_answer_at(message, 2);
    if (prv_answer_is(keys) == PRV_ANSWER_NIL)
        show_flush(c);
    for (size_t i = 0; i < prv_answer_count(keys); i++)
        show_key(c, prv_answer_text(prv_answer_at(keys, i)));
    fflush(stdout);
}

/* ---- the subscription: one connection for each primary */

typedef struct links {
    size_t n;
    prv_sync *of[CTL_MAX_MULTI];
    int64_t heard[CTL_MAX_MULTI], asked;
} links;

static int refused(const ctl *c, const char *what, const prv_answer *answer)
{
    const prv_str code = answer != NULL ? prv_answer_text(answer) : PRV_NONE;
    return ctl_fail("Redis at %s refuses %s (%.*s); config/redis.acl shows what the user privacy-ops needs",
                    c->store_url, what, (int)code.n, code.p != NULL ? code.p : "");
}

static bool subscribe_again(prv_sync *link)
{
    const prv_str words[] = {PRV_STR("SUBSCRIBE"), PRV_STR(CHANNEL)};
    return prv_sync_say(link, words, 2);
}

/* CTL_OK: changes arrive on the link; CTL_USAGE: not now, try again; CTL_FAILED: said. */
static int listen_one(ctl *c, prv_sync *link)
{
    char id[24], records[160], accounts[160];
    bool lost;
    const prv_str ask_id[] = {PRV_STR("CLIENT"), PRV_STR("ID")};
    const prv_answer *answer = prv_sync_ask(link, ask_id, 2);
    if (answer == NULL)
        return CTL_USAGE;
    if (prv_answer_is(answer) != PRV_ANSWER_NUMBER)
        return refused(c, "CLIENT ID", answer);
    snprintf(id, sizeof id, "%lld", (long long)prv_answer_number(answer));
    snprintf(records, sizeof records, "%sconsent:", c->prefix);
    snprintf(accounts, sizeof accounts, "%ssubject:", c->prefix);
    const prv_str track[] = {PRV_STR("CLIENT"),  PRV_STR("TRACKING"), PRV_STR("ON"),
                             PRV_STR("REDIRECT"), ctl_str(id),         PRV_STR("BCAST"),
                             PRV_STR("PREFIX"),   ctl_str(records),    PRV_STR("PREFIX"),
                             ctl_str(accounts)};
    answer = prv_sync_ask(link, track, sizeof track / sizeof *track);
    if (answer == NULL)
        return CTL_USAGE;
    if (prv_answer_is(answer) == PRV_ANSWER_ERROR)
        return refused(c, "CLIENT TRACKING", answer);
    answer = subscribe_again(link) ? prv_sync_wait(link, HANG_MS, &lost) : NULL;
    if (answer == NULL)
        return CTL_USAGE;
    return prv_answer_is(answer) == PRV_ANSWER_ERROR ? refused(c, "SUBSCRIBE", answer) : CTL_OK;
}

static int64_t mono_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void links_close(links *l)
{
    for (size_t i = 0; i < l->n; i++)
        prv_sync_close(l->of[i]);
    l->n = 0;
}

/* As listen_one(), for all primaries as they are now. */
static int listen_begin(ctl *c, links *l)
{
    prv_error err = {0};
    size_t primaries = 1;
    l->n = 0;
    for (size_t i = 0; i < primaries && i < CTL_MAX_MULTI; i++) {
        if (prv_sync_open(c->store_conf, &l->of[i], &err) != PRV_OK)
            return CTL_USAGE;
        l->n++;
        primaries = prv_sync_primaries(l->of[i]);
        prv_sync_use(l->of[i], i);
        const int status = listen_one(c, l->of[i]);
        if (status != CTL_OK)
            return status;
        l->heard[i] = mono_ms();
    }
    l->asked = mono_ms();
    return CTL_OK;
}

/* Until a connection ends, or somebody interrupts: the index of that connection. */
static size_t listen_on(ctl *c, links *l)
{
    for (size_t i = 0; !stopped; i = (i + 1) % l->n) {
        bool lost = false;
        const prv_answer *answer = prv_sync_wait(l->of[i], ASK_MS / (int)l->n / 4, &lost);
        for (; answer != NULL; answer = prv_sync_wait(l->of[i], 0, &lost)) {
            l->heard[i] = mono_ms();
            show(c, answer);
        }
        if (mono_ms() - l->asked >= ASK_MS) {
            l->asked = mono_ms();
            for (size_t k = 0; k < l->n; k++) {
                if (k != i && !subscribe_again(l->of[k]))
                    return k;
            }
            lost = lost || !subscribe_again(l->of[i]);
        }
        if (lost || mono_ms() - l->heard[i] >= HANG_MS)
            return i;
    }
    return 0;
}

static void say_state(const links *l, const char *form)
{
    const size_t more = l->n - 1;
    fprintf(stderr, form, prv_sync_where(l->of[0]));
    if (more > 0)
        fprintf(stderr, " (and %zu more)", more);
}

int ctl_watch(ctl *c)
{
    if (!ctl_need_words(c, 0, 0, "watch --store URL [--json]"))
        return CTL_USAGE;
    if (!ctl_need_store(c))
        return CTL_FAILED;
    ctl_site(c, true);
    catch_signals();
    for (bool before = false; !stopped;) {
        links l = {0};
        const int status = listen_begin(c, &l);
        if (status == CTL_OK) {
            say_state(&l, before ? "privacyctl: Redis at %s answers again" : "privacyctl: watching the records at %s");
            fputs(before ? "; what changed meanwhile is not shown\n" : "\n", stderr);
            before = true;
            const prv_sync *ended = l.of[listen_on(c, &l)];
            if (!stopped)
                fprintf(stderr, "privacyctl: Redis at %s %s; trying again until it is back\n",
                        prv_sync_where(ended),
                        prv_sync_why(ended)[0] != '\0' ? prv_sync_why(ended) : "does not answer");
        }
        links_close(&l);
        if (status == CTL_FAILED)
            return CTL_FAILED;
        if (!stopped)
            nanosleep(&(struct timespec){.tv_nsec = AGAIN_MS * 1000000}, NULL);
    }
    return CTL_OK;
}
