/*
 * May the node's user do what a node does? ACL DRYRUN tells it of any user, where this one may ask (privacy-ops may); otherwise
 * redis.acl_check_cmd() in a script tells it of the user who is asking. Neither runs anything.
 */
#include "doctor.h"

#include <string.h>

#define WORDS_MAX 6
#define RECORD "<consent:{doctor}"
#define ACCOUNT "<subject:{doctor}"

/* `<` stands for the prefix. */
static const struct deed {
    const char *words[WORDS_MAX];
    const char *why;
    const char *only; /* a store whose URL begins so; NULL: every one */
} deeds[] = {
#define READS "Then no record is read: the nodes decide by the cookie, as if Redis were down."
#define WRITES "Then no choice is stored: grants are 503, refusals live in the visitor's cookie alone."
#define LINK "Then changes made elsewhere are not pushed: every request asks Redis."
    {{"PING"}, READS, NULL},
    {{"HGETALL", RECORD}, READS, NULL},
    {{"EVALSHA", "0000000000000000000000000000000000000000", "1", RECORD}, WRITES, NULL},
    {{"EVAL", "return 1", "1", RECORD}, WRITES, NULL},
    {{"HGET", RECORD, "seq"}, WRITES, NULL},
    {{"HSET", RECORD, "seq", "1"}, WRITES, NULL},
    {{"HDEL", RECORD, "seq"}, WRITES, NULL},
    {{"EXISTS", RECORD}, WRITES, NULL},
    {{"DEL", RECORD}, WRITES, NULL},
    {{"EXPIREAT", RECORD, "1"}, WRITES, NULL},
    {{"EXPIRE", RECORD, "1", "NX"}, "Then records made by hand never end.", NULL},
    {{"GET", ACCOUNT}, "Then no account's record is found (privacy_subject).", NULL},
    {{"SET", ACCOUNT, "x"}, "Then no account is bound to its record (privacy_subject).", NULL},
    {{"CLIENT", "ID"}, LINK, NULL},
    {{"CLIENT", "TRACKING", "ON"}, LINK, NULL},
    {{"SUBSCRIBE", "__redis__:invalidate"}, LINK, NULL},
    {{"ROLE"}, "Then a replica is not told from the primary (redis+sentinel://).", NULL},
    {{"CLUSTER", "SLOTS"}, "Then nobody knows which node keeps a record.", "redis+cluster:"},
    {{"ASKING"}, "Then records of a slot that moves are away until it has.", "redis+cluster:"},
#undef READS
#undef WRITES
#undef LINK
};
#define DEEDS (sizeof deeds / sizeof *deeds)

static bool needed(const ctl *c, const struct deed *deed)
{
    return deed->only == NULL || strncmp(c->store_url, deed->only, strlen(deed->only)) == 0;
}

static size_t words_of(ctl *c, const struct deed *deed, prv_str out[WORDS_MAX])
{
    size_t n = 0;
    for (; n < WORDS_MAX && deed->words[n] != NULL; n++) {
        const char *word = deed->words[n];
        out[n] = ctl_str(word);
        if (word[0] == '<') {
            char text[160];
            const int len = snprintf(text, sizeof text, "%s%s", c->prefix, word + 1);
            const prv_str made = {text, len > 0 && (size_t)len < sizeof text ? (size_t)len : 0};
            out[n] = (prv_str){ctl_text(c, made), made.n};
        }
    }
    return n;
}

static void may_not(doctor *d, const char *user, const struct deed *deed)
{
    char mend[256];
    const bool with_sub =
        strcmp(deed->words[0], "CLIENT") == 0 || strcmp(deed->words[0], "CLUSTER") == 0;
    const char *sub = with_sub ? deed->words[1] : NULL;
    char name[32];
    size_t at = 0;
    for (const char *p = deed->words[0]; *p != '\0' && at < sizeof name - 1; p++)
        name[at++] = (char)(*p | 0x20);
    if (sub != NULL) {
        name[at++] = '|';
        for (const char *p = sub; *p != '\0' && at < sizeof name - 1; p++)
            name[at++] = (char)(*p | 0x20);
    }
    name[at] = '\0';
    snprintf(mend, sizeof mend, "redis-cli ACL SETUSER %s +%s '~%s*' '&__redis__:invalidate', and the line of config/redis.acl in the ACL file",
             user, name, d->c->prefix);
    doctor_say(d, DOCTOR_WRONG, "permissions", deed->why, mend, "%s may not %s%s%s.", user,
               deed->words[0], sub != NULL ? " " : "", sub != NULL ? sub : "");
}

/* ---- of any user */

/* 1 permitted, 0 refused, -1 this cannot be asked, -2 there is no such user */
static int dryrun(doctor *d, const char *user, const struct deed *deed)
{
    prv_str words[3 + WORDS_MAX] = {PRV_STR("ACL"), PRV_STR("DRYRUN"), ctl_str(user)};
    const size_t n = 3 + words_of(d->c, deed, words + 3);
    const prv_answer *answer = prv_sync_ask(d->c->sync, words, n);
    if (answer == NULL)
        return -1;
    if (prv_answer_is(answer) == PRV_ANSWER_ERROR) {
        const prv_str code = prv_answer_text(answer);
        return code.n == 3 && memcmp(code.p, "ERR", 3) == 0 ? -2 : -1;
    }
    return prv_answer_is_word(answer, "OK") ? 1 : 0;
}

/* false: nothing was said. */
static bool by_dryrun(doctor *d, const char *user, bool asked_for)
{
    const int first = dryrun(d, user, &deeds[0]);
    size_t refused = 0;
    if (first == -1 && asked_for)
        doctor_say(d, DOCTOR_UNSEEN, "permissions", NULL, NULL,
                   "ACL DRYRUN is refused: ask with the user of the nodes itself");
    if (first == -2 && asked_for)
        doctor_say(d, DOCTOR_WRONG, "permissions", "The nodes cannot log in.",
                   "add the user of config/redis.acl to the ACL file, then redis-cli ACL LOAD",
                   "There is no user %s.", user);
    if (first < 0)
        return asked_for;
    for (size_t i = 0; i < DEEDS; i++) {
        if (needed(d->c, &deeds[i]) && dryrun(d, user, &deeds[i]) == 0) {
            may_not(d, user, &deeds[i]);
            refused++;
        }
    }
    if (refused == 0)
        doctor_say(d, DOCTOR_OK, "permissions", NULL, NULL, "%s may do all that a node does.", user);
    return true;
}

/* ---- of the user who asks */

static const char script[] =
    "local out = {} "
    "for i = 1, #ARGV do "
    "  local w = {} "
    "  for word in string.gmatch(ARGV[i], '[^\\n]+') do w[#w + 1] = word end "
    "  local ok, may = pcall(redis.acl_check_cmd, unpack(w)) "
    "  out[i] = ok and (may and 1 or 0) or -1 "
    "end return out";

static void by_script(doctor *d)
{
    prv_str words[3 + DEEDS] = {PRV_STR("EVAL"), PRV_STR(script), PRV_STR("0")};
    for (size_t i = 0; i < DEEDS; i++) {
        prv_str parts[WORDS_MAX];
        char text[512];
        size_t at = 0;
        const size_t n = words_of(d->c, &deeds[i], parts);
        for (size_t k = 0; k < n && at + parts[k].n + 1 < sizeof text; k++) {
            memcpy(text + at, parts[k].p, parts[k].n);
            at += parts[k].n;
            text[at++] = '\n';
        }
        words[3 + i] = (prv_str){ctl_text(d->c, (prv_str){text, at}), at};
    }
    const prv_answer *answer = prv_sync_ask(d->c->sync, words, 3 + DEEDS);
    if (answer == NULL || prv_answer_count(answer) != DEEDS) {
        const prv_str code = answer != NULL ? prv_answer_text(answer) : PRV_NONE;
        if (code.n == 6 && memcmp(code.p, "NOPERM", 6) == 0)
            may_not(d, "this user", &deeds[3]);
        doctor_say(d, DOCTOR_UNSEEN, "permissions", NULL, NULL,
                   "what else this user may: a script cannot ask (%s)", doctor_reason(d, answer));
        return;
    }
    size_t refused = 0;
    bool may[DEEDS];
    for (size_t i = 0; i < DEEDS; i++) {
        may[i] = !needed(d->c, &deeds[i]) || prv_answer_number(prv_answer_at(answer, i)) != 0;
        refused += !may[i];
    }
    for (size_t i = 0; i < DEEDS; i++) {
        if (!may[i])
            may_not(d, "this user", &deeds[i]);
    }
    if (refused == 0)
        doctor_say(d, DOCTOR_OK, "permissions", NULL, NULL, "This user may do all that a node does.");
}

/* Redis 7.0 reads its append-only file back as the user `default`, switched off or not. */
static void check_default(doctor *d)
{
    static const struct deed write = {{"HSET", RECORD, "seq", "1"}, NULL, NULL};
    if (dryrun(d, "default", &write) == 0)
        doctor_say(d, DOCTOR_WRONG, "append-only file",
                   "Redis 7.0 reads that file back as this user: after a restart what the nodes stored is gone.",
                   "redis-cli ACL SETUSER default off '~*' '&*' +@all, and the same in the ACL file: switched off, it cannot be used",
                   "The user default may not HSET.");
}

void doctor_permissions(doctor *d)
{
    check_default(d);
    if (d->c->node_user != NULL) {
        (void)by_dryrun(d, d->c->node_user, true);
        return;
    }
    /* The name that config/redis.acl gives to the user of the nodes. */
    if (!by_dryrun(d, "privacy", false))
        by_script(d);
}
