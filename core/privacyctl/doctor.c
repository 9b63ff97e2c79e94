/*
 * privacyctl doctor: what is wrong between a node and its Redis, in plain words: what, why it matters here, and what mends it. It
 * writes nothing and needs no more than the users of config/redis.acl have; what it may not see it says it could not see.
 */
#include "doctor.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PINGS 9
#define SLOW_US 50000 /* the default of privacy_store_timeout */
#define SKEW_MS 2000
#define NEAR_PERCENT 90

/* ---- findings */

void doctor_say(doctor *d, doctor_level level, const char *check, const char *why, const char *mend,
                const char *what, ...)
{
    static const char *const words[] = {"ok", "wrong", "unseen"};
    char text[512];
    va_list args;
    va_start(args, what);
    vsnprintf(text, sizeof text, what, args);
    va_end(args);
    d->wrong += level == DOCTOR_WRONG;
    d->unseen += level == DOCTOR_UNSEEN;
    if (d->list != NULL) {
        json_t *one = json_pack("{ss ss ss}", "level", words[level], "check", check, "what", text);
        if (d->c->sync != NULL)
            json_object_set_new(one, "redis", json_string(prv_sync_where(d->c->sync)));
        if (level == DOCTOR_WRONG)
            json_object_set_new(one, "why", json_string(why)),
                json_object_set_new(one, "mend", json_string(mend));
        json_array_append_new(d->list, one);
        return;
    }
    printf("%-6s  %s: %s\n", words[level], check, text);
    if (level == DOCTOR_WRONG)
        printf("        %s\n        Mend: %s\n", why, mend);
}

const prv_answer *doctor_ask(doctor *d, const char *const *words, size_t n)
{
    prv_str views[16];
    for (size_t i = 0; i < n && i < 16; i++)
        views[i] = ctl_str(words[i]);
    return prv_sync_ask(d->c->sync, views, n < 16 ? n : 16);
}

const char *doctor_reason(const doctor *d, const prv_answer *answer)
{
    if (answer == NULL)
        return prv_sync_why(d->c->sync);
    const prv_str code = prv_answer_text(answer);
    if (prv_answer_is(answer) == PRV_ANSWER_ERROR && code.n == 6 && memcmp(code.p, "NOPERM", 6) == 0)
        return "this user may not ask";
    return "the answer makes no sense";
}

/* A copy of one section of INFO; PRV_NONE: said. */
static prv_str info(doctor *d, const char *section, const char *check)
{
    const prv_answer *answer = DOCTOR_ASK(d, "INFO", section);
    if (answer == NULL || prv_answer_is(answer) != PRV_ANSWER_TEXT) {
        doctor_say(d, DOCTOR_UNSEEN, check, NULL, NULL, "INFO %s: %s", section,
                   doctor_reason(d, answer));
        return PRV_NONE;
    }
    const prv_str text = prv_answer_text(answer);
    return (prv_str){ctl_text(d->c, text), text.n};
}

/* ---- the checks */

static int64_t clock_us(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int by_size(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static bool check_speed(doctor *d)
{
    int64_t took[PINGS];
    for (size_t i = 0; i < PINGS; i++) {
        const int64_t start = clock_us(CLOCK_MONOTONIC);
        if (DOCTOR_ASK(d, "PING") == NULL) {
            doctor_say(d, DOCTOR_WRONG, "connection",
                       "Without Redis the nodes decide by the cookie and what they remember; grants are 503.",
                       "see Redis' own log, and what stands between", "Redis %s.",
                       prv_sync_why(d->c->sync));
            return false;
        }
        took[i] = clock_us(CLOCK_MONOTONIC) - start;
    }
    qsort(took, PINGS, sizeof *took, by_size);
    const double ms = (double)took[PINGS / 2] / 1000;
    if (took[PINGS / 2] > SLOW_US)
        doctor_say(d, DOCTOR_WRONG, "connection",
                   "A request waits 50 ms unless privacy_store_timeout says otherwise; what is slower counts as "
                   "unavailable.",
                   "find out what is slow (redis-cli --latency, redis-cli SLOWLOG GET), or raise privacy_store_timeout",
                   "Redis answers in %.1f ms.", ms);
    else
        doctor_say(d, DOCTOR_OK, "connection", NULL, NULL, "Redis answers in %.2f ms.", ms);
    return true;
}

static void check_version(doctor *d)
{
    const prv_str text = info(d, "server", "version");
    const prv_str version = prv_info_find(text, "redis_version");
    if (text.n == 0)
        return;
    if (prv_version_reaches(version, 7, 0))
        doctor_say(d, DOCTOR_OK, "version", NULL, NULL, "Redis %.*s.", (int)version.n, version.p);
    else
        doctor_say(d, DOCTOR_WRONG, "version",
                   "The nodes use commands and permissions that came with 7.0.",
                   "upgrade Redis to 7.0 or later", "Redis is %.*s.", (int)version.n,
                   version.p != NULL ? version.p : "");
}

static void check_role(doctor *d)
{
    const prv_answer *answer = DOCTOR_ASK(d, "ROLE");
    const size_t n = answer != NULL ? prv_answer_count(answer) : 0;
    if (n > 0 && prv_answer_is_word(prv_answer_at(answer, 0), "master")) {
        doctor_say(d, DOCTOR_OK, "role", NULL, NULL, "This is a primary.");
    } else if (n > 2 && prv_answer_is_word(prv_answer_at(answer, 0), "slave")) {
        const prv_str host = prv_answer_text(prv_answer_at(answer, 1));
        doctor_say(d, DOCTOR_WRONG, "role",
                   "A replica takes no writes: no choice is stored, and what it shows may be old.",
                   "name the primary in privacy_store, or the sentinels (redis+sentinel://)",
                   "This is a replica of %.*s:%lld.", (int)host.n, host.p,
                   (long long)prv_answer_number(prv_answer_at(answer, 2)));
    } else {
        doctor_say(d, DOCTOR_UNSEEN, "role", NULL, NULL, "ROLE: %s", doctor_reason(d, answer));
    }
}

static void check_memory(doctor *d)
{
    const prv_str text = info(d, "memory", "eviction");
    if (text.n == 0)
        return;
    const prv_str policy = prv_info_find(text, "maxmemory_policy");
    const int64_t most = prv_info_number(text, "maxmemory");
    const int64_t used = prv_info_number(text, "used_memory");
    if (policy.n == 10 && memcmp(policy.p, "noeviction", 10) == 0)
        doctor_say(d, DOCTOR_OK, "eviction", NULL, NULL, "maxmemory-policy is noeviction.");
    else if (policy.n == 0)
        doctor_say(d, DOCTOR_UNSEEN, "eviction", NULL, NULL, "INFO memory does not tell maxmemory_policy");
    else
        doctor_say(d, DOCTOR_WRONG, "eviction",
                   "When memory runs short Redis throws records away, and what a visitor refused is forgotten.",
                   "redis-cli CONFIG SET maxmemory-policy noeviction, and the same line in redis.conf",
                   "maxmemory-policy is %.*s.", (int)policy.n, policy.p);
    if (most > 0 && used >= most / 100 * NEAR_PERCENT)
        doctor_say(d, DOCTOR_WRONG, "memory",
                   "When memory is full no choice is stored: a grant is answered 503.",
                   "raise maxmemory, or find out what else is kept in this Redis (redis-cli --bigkeys)",
                   "%lld of %lld bytes are in use.", (long long)used, (long long)most);
    else if (most >= 0 && used >= 0)
        doctor_say(d, DOCTOR_OK, "memory", NULL, NULL, most > 0 ? "%lld bytes in use, at most %lld." : "%lld bytes in use, without a limit.",
                   (long long)used, (long long)most);
}

static bool is(prv_str value, const char *word)
{
    return value.n == strlen(word) && memcmp(value.p, word, value.n) == 0;
}

static void check_persistence(doctor *d)
{
    const prv_str text = info(d, "persistence", "persistence");
    if (text.n == 0)
        return;
    const prv_str snapshot = prv_info_find(text, "rdb_last_bgsave_status");
    const prv_str written = prv_info_find(text, "aof_last_write_status");
    if (prv_info_number(text, "loading") == 1)
        doctor_say(d, DOCTOR_WRONG, "loading", "Until that is done the nodes decide without the store.",
                   "wait; INFO persistence tells how far it is", "Redis is loading its data.");
    if (prv_info_number(text, "aof_enabled") == 1)
        doctor_say(d, DOCTOR_OK, "persistence", NULL, NULL, "The append-only file is on.");
    else
        doctor_say(d, DOCTOR_WRONG, "persistence",
                   "When Redis ends, choices since its last snapshot are lost.",
                   "redis-cli CONFIG SET appendonly yes, and in redis.conf: appendonly yes, appendfsync always (or everysec)",
                   "The append-only file is off.");
    if (snapshot.n > 0 && !is(snapshot, "ok"))
        doctor_say(d, DOCTOR_WRONG, "snapshot",
                   "Redis refuses writes then (stop-writes-on-bgsave-error): no choice is stored.",
                   "look into Redis' log; often the disk is full or the directory not writable",
                   "The last snapshot failed.");
    if (written.n > 0 && !is(written, "ok"))
        doctor_say(d, DOCTOR_WRONG, "append-only file",
                   "Redis refuses writes then: no choice is stored.",
                   "look into Redis' log; often the disk is full", "The last write to it failed.");
}

static void check_clients(doctor *d)
{
    const prv_str text = info(d, "clients", "connections");
    const int64_t most = prv_info_number(text, "maxclients");
    const int64_t used = prv_info_number(text, "connected_clients");
    if (text.n == 0 || most <= 0 || used < 0)
        return;
    if (used >= most / 100 * NEAR_PERCENT)
        doctor_say(d, DOCTOR_WRONG, "connections",
                   "Each worker of each node holds one, and each node one more for its link: those beyond the limit "
                   "decide without the store.",
                   "raise maxclients in redis.conf", "%lld of %lld connections are in use.",
                   (long long)used, (long long)most);
    else
        doctor_say(d, DOCTOR_OK, "connections", NULL, NULL, "%lld, at most %lld.", (long long)used,
                   (long long)most);
}

static void check_clock(doctor *d)
{
    const int64_t before = clock_us(CLOCK_REALTIME);
    const prv_answer *answer = DOCTOR_ASK(d, "TIME");
    const int64_t here = (before + clock_us(CLOCK_REALTIME)) / 2;
    const int64_t s = answer != NULL && prv_answer_count(answer) == 2
                          ? prv_answer_number(prv_answer_at(answer, 0))
                          : -1;
    if (s < 0 || s > INT64_MAX / 2000000) {
        doctor_say(d, DOCTOR_UNSEEN, "clock", NULL, NULL, "TIME: %s", doctor_reason(d, answer));
        return;
    }
    const int64_t us = prv_answer_number(prv_answer_at(answer, 1));
    const int64_t skew = (s * 1000000 + (us > 0 && us < 1000000 ? us : 0) - here) / 1000;
    const int64_t size = skew < 0 ? -skew : skew;
    if (size > SKEW_MS)
        doctor_say(d, DOCTOR_WRONG, "clock",
                   "Choices are dated by the node and deleted by Redis' clock: some end too early or too late.",
                   "let NTP set both clocks (timedatectl set-ntp true)",
                   "Redis' clock is %lld.%03lld s %s this one.", (long long)(size / 1000),
                   (long long)(size % 1000), skew < 0 ? "behind" : "ahead of");
    else
        doctor_say(d, DOCTOR_OK, "clock", NULL, NULL, "Redis' clock and this one differ by %lld ms.",
                   (long long)size);
}

/* The link as a node makes it, on a connection of its own. */
static void check_link(doctor *d)
{
    static const char *const why = "Without the link every request asks Redis, and its cache vouches for nothing.";
    static const char *const mend = "give the user what config/redis.acl lists: +client|id +client|tracking +subscribe "
                                    "and the channel &__redis__:invalidate";
    char id[24], records[160];
    prv_error err = {0};
    prv_sync *mine = d->c->sync, *link = NULL;
    const char *step = "CLIENT ID";
    if (prv_sync_open(d->c->store_conf, &link, &err) != PRV_OK) {
        doctor_say(d, DOCTOR_WRONG, "link", why, "see maxclients and Redis' log",
                   "A second connection is not to be had: %s", err.text);
        return;
    }
    d->c->sync = link;
    prv_sync_use(link, d->primary);
    const prv_answer *answer = DOCTOR_ASK(d, "CLIENT", "ID");
    bool good = answer != NULL && prv_answer_is(answer) == PRV_ANSWER_NUMBER;
    if (good) {
        step = "CLIENT TRACKING";
        snprintf(id, sizeof id, "%lld", (long long)prv_answer_number(answer));
        snprintf(records, sizeof records, "%sconsent:", d->c->prefix);
        answer = DOCTOR_ASK(d, "CLIENT", "TRACKING", "ON", "REDIRECT", id, "BCAST", "PREFIX", records);
        good = answer != NULL && prv_answer_is_word(answer, "OK");
    }
    if (good) {
        step = "SUBSCRIBE";
        answer = DOCTOR_ASK(d, "SUBSCRIBE", "__redis__:invalidate");
        good = answer != NULL && prv_answer_count(answer) == 3;
    }
    if (good)
        doctor_say(d, DOCTOR_OK, "link", NULL, NULL, "Redis pushes changes to this user.");
    else
        doctor_say(d, DOCTOR_WRONG, "link", why, mend, "%s is refused: %s.", step, doctor_reason(d, answer));
    d->c->sync = mine;
    prv_sync_close(link);
}

/* ---- the whole */

static const char *mend_of(const char *text)
{
    static const struct {
        const char *words, *mend;
    } table[] = {
        {"Connection refused", "start Redis, and compare its bind, port and unixsocket with privacy_store"},
        {"No such file", "compare unixsocket in redis.conf with privacy_store"},
        {"Permission denied", "let the server's user open the socket (unixsocketperm)"},
        {"does not accept", "compare the user in the URL and the password file with redis.acl; ACL LIST shows the users"},
        {"asks for a password", "name the user in the URL and give --password-file (privacy_store_password_file)"},
        {"loading", "wait; INFO persistence tells how far it is"},
        {"does not answer", "see whether Redis runs, and what stands between: firewall, proxy, another service on the port"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (strstr(text, table[i].words) != NULL)
            return table[i].mend;
    }
    return "compare the URL, the user and the password file with Redis' own configuration";
}

static bool connected(doctor *d)
{
    prv_error err = {0};
    if (prv_sync_open(d->c->store_conf, &d->c->sync, &err) == PRV_OK)
        return true;
    doctor_say(d, DOCTOR_WRONG, "connection",
               "Without Redis the nodes decide by the cookie and what they remember; grants are 503.",
               mend_of(err.text), "%s.", err.text);
    return false;
}

static int summary(const doctor *d)
{
    if (d->list != NULL) {
        json_dumpf(d->list, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(d->list);
    } else {
        printf("%zu wrong, %zu could not be seen\n", d->wrong, d->unseen);
    }
    return d->wrong > 0 ? CTL_FAILED : CTL_OK;
}

/* One primary; false: it cannot be asked. */
static bool check_one(doctor *d)
{
    const bool several = prv_sync_primaries(d->c->sync) > 1;
    prv_sync_use(d->c->sync, d->primary);
    if (several && d->list == NULL)
        printf("%s\n", prv_sync_where(d->c->sync));
    if (!check_speed(d))
        return false;
    check_version(d);
    check_role(d);
    check_memory(d);
    check_persistence(d);
    check_clients(d);
    check_clock(d);
    doctor_permissions(d);
    check_link(d);
    return true;
}

int ctl_doctor(ctl *c)
{
    doctor d = {.c = c};
    if (!ctl_need_words(c, 0, 0, "doctor --store URL [--password-file F] [--node-user U] [--policy F --keys F]"))
        return CTL_USAGE;
    if (!ctl_need_store_conf(c) || (c->policy_path != NULL && !ctl_need_policy(c)) ||
        (c->keys_path != NULL && !ctl_need_keys(c)))
        return CTL_FAILED;
    d.list = c->json ? json_array() : NULL;
    ctl_site(c, true);
    if (connected(&d)) {
        bool all = true;
        for (d.primary = 0; d.primary < prv_sync_primaries(c->sync); d.primary++)
            all = check_one(&d) && all;
        if (all)
            doctor_records(&d);
    }
    return summary(&d);
}
