/* privacyctl: options, the table of commands, and what they open. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl.h"

typedef struct ctl_command {
    const char *group, *name; /* name NULL: the group is the whole command */
    ctl_run run;
    const char *usage;
} ctl_command;

static const ctl_command commands[] = {
    {"keys", "new", ctl_keys_new, "FILE                      make a key file with one key of each use"},
    {"keys", "add", ctl_keys_add, "FILE USE                  add a key behind the others of its use"},
    {"keys", "promote", ctl_keys_promote, "FILE USE KID          make a key the one that signs"},
    {"keys", "retire", ctl_keys_retire, "FILE USE KID           remove a key that does not sign"},
    {"policy", "check", ctl_policy_check, "FILE [--strict]        compile; warnings fail with --strict"},
    {"policy", "show", ctl_policy_show, "FILE                    the policy in force, as JSON"},
    {"explain", NULL, ctl_explain,
     "--policy F [--keys F] [--cookie LINE]… [--gpc V] [--dnt V] [--region R]\n"
     "                                  [--record FIELD=VALUE]… [--absent] [--unavailable] [--json] [--batch]\n"
     "                                  what the servers decide, and by which row"},
    {"token", NULL, ctl_token, "--policy F --keys F [--batch] [FIELD=VALUE]…  a signed cookie for tests"},
    {"consent", "get", ctl_consent_get, "ID                      a visitor's record, as JSON"},
    {"consent", "set", ctl_consent_set, "ID PURPOSE=grant|refuse…  change it as the visitor asked"},
    {"consent", "withdraw", ctl_consent_withdraw, "ID                 refuse everything that can be"},
    {"consent", "list", ctl_consent_list, "                        ids of all records"},
    {"consent", "count", ctl_consent_count, "                       records by choice"},
    {"age", NULL, ctl_age, "ID under:N|ok:N|parental:N         what the operator learned of an age"},
    {"discover", NULL, ctl_discover, "--policy F [--catalogue F] [FILE…]  cookies seen in no list"},
    {"watch", NULL, ctl_watch, "--store URL [--json]              changes of records, as they happen"},
    {"doctor", NULL, ctl_doctor,
     "--store URL [--node-user U] [--policy F --keys F] [--json]\n"
     "                                  what is wrong between a node and its Redis"},
};

typedef struct ctl_option {
    const char *name;
    size_t text;  /* offset of a const char *, or 0 */
    size_t list;  /* offset of a ctl_list, or 0 */
    size_t flag;  /* offset of a bool, or 0 */
} ctl_option;

#define TEXT(n, f) {n, offsetof(ctl, f), 0, 0}
#define LIST(n, f) {n, 0, offsetof(ctl, f), 0}
#define FLAG(n, f) {n, 0, 0, offsetof(ctl, f)}
/* `policy_path` stands first in ctl, at offset 0: its option is found by name. */
static const ctl_option options[] = {
    TEXT("--keys", keys_path),       TEXT("--store", store_url),
    TEXT("--password-file", password_file), TEXT("--tls-ca", tls_ca),
    TEXT("--tls-cert", tls_cert), TEXT("--tls-key", tls_key), TEXT("--prefix", prefix),
    TEXT("--cookie-name", cookie_name), TEXT("--gpc", gpc),
    TEXT("--dnt", dnt),              TEXT("--region", region),
    TEXT("--catalogue", catalogue),  TEXT("--now", now),
    TEXT("--min-age", min_age),      TEXT("--node-user", node_user),
        LIST("--cookie", cookies),
    LIST("--record", records),       LIST("--require", require),
    FLAG("--json", json),            FLAG("--strict", strict),
    FLAG("--batch", batch),          FLAG("--absent", absent),
    FLAG("--unavailable", unavailable), FLAG("--deny-on-failure", deny_on_failure),
    FLAG("--all", all),
};

int ctl_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("privacyctl: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return CTL_FAILED;
}

prv_str ctl_str(const char *text)
{
    return text == NULL ? PRV_NONE : (prv_str){text, strlen(text)};
}

typedef struct ctl_block {
    struct ctl_block *next;
    max_align_t data[];
} ctl_block;

static void *arena_alloc(void *ctx, size_t n)
{
    ctl *c = ctx;
    ctl_block *block = n > SIZE_MAX - sizeof *block ? NULL : malloc(sizeof *block + n);
    if (block == NULL) {
        return NULL;
    }
    block->next = c->arena;
    c->arena = block;
    return block->data;
}

void ctl_arena_reset(ctl *c)
{
    for (ctl_block *block = c->arena; block != NULL;) {
        ctl_block *next = block->next;
        free(block);
        block = next;
    }
    c->arena = NULL;
}

char *ctl_text(ctl *c, prv_str s)
{
    char *out = arena_alloc(c, s.n + 1);
    if (out == NULL) {
        fputs("privacyctl: no memory\n", stderr);
        exit(CTL_FAILED);
    }
    if (s.n > 0) {
        memcpy(out, s.p, s.n);
    }
    out[s.n] = '\0';
    return out;
}

static void log_line(void *ctx, prv_level level, prv_str line)
{
    (void)ctx;
    if (level <= PRV_LOG_WARN) {
        fprintf(stderr, "privacyctl: %.*s\n", (int)line.n, line.p);
    }
}

bool ctl_need_policy(ctl *c)
{
    prv_error err = {0};
    if (c->policy != NULL) {
        return true;
    }
    if (c->policy_path == NULL) {
        ctl_fail("this needs --policy FILE");
        return false;
    }
    c->policies = prv_policies_new();
    if (c->policies == NULL ||
        prv_policies_load(c->policies, c->policy_path, &c->policy, &err) != PRV_OK) {
        ctl_fail("%s", c->policies == NULL ? "no memory" : err.text);
        return false;
    }
    return true;
}

bool ctl_need_keys(ctl *c)
{
    prv_error err = {0};
    if (c->keys != NULL) {
        return true;
    }
    if (c->keys_path == NULL) {
        ctl_fail("this needs --keys FILE");
        return false;
    }
    if (prv_keyring_load(c->keys_path, &c->keys, &err) != PRV_OK) {
        ctl_fail("%s", err.text);
        return false;
    }
    return true;
}

bool ctl_need_store_conf(ctl *c)
{
    prv_error err = {0};
    if (c->store_conf != NULL) {
        return true;
    }
    if (c->store_url == NULL) {
        ctl_fail("this needs --store URL (as privacy_store has it)");
        return false;
    }
    prv_store_settings settings = {
        .url = ctl_str(c->store_url),
        .timeout_ms = 5000,
        .password_file = c->password_file,
        .tls_ca = c->tls_ca,
        .tls_cert = c->tls_cert,
        .tls_key = c->tls_key,
    };
    if (prv_prefix_parse(ctl_str(c->prefix), &settings.prefix, &err) != PRV_OK ||
        prv_store_conf_parse(&settings, &c->store_conf, &err) != PRV_OK) {
        ctl_fail("%s", err.text);
        return false;
    }
    if (c->store_conf == NULL) {
        ctl_fail("--store off has no records");
        return false;
    }
    return true;
}

bool ctl_need_store(ctl *c)
{
    prv_error err = {0};
    if (c->sync != NULL) {
        return true;
    }
    if (!ctl_need_store_conf(c)) {
        return false;
    }
    if (prv_sync_open(c->store_conf, &c->sync, &err) != PRV_OK) {
        ctl_fail("%s", err.text);
        return false;
    }
    return true;
}

bool ctl_need_words(ctl *c, size_t at_least, size_t at_most, const char *usage)
{
    if (c->words.n >= at_least && c->words.n <= at_most) {
        return true;
    }
    fprintf(stderr, "usage: privacyctl %s\n", usage);
    return false;
}

void ctl_site(ctl *c, bool store)
{
    memset(&c->site, 0, sizeof c->site);
    c->site.policy = c->policy;
    c->site.keys = c->keys;
    prv_cookie_conf_init(&c->site.cookie);
    if (c->cookie_name != NULL) {
        c->site.cookie.name = ctl_str(c->cookie_name);
    }
    c->site.home = PRV_STR("/privacy/");
    prv_limit_conf_init(&c->site.limit);
    c->site.store = store;
    c->site.prefix = ctl_str(c->prefix);
}

static void usage(FILE *to)
{
    fputs("privacyctl: the operator's side of privacy-gate\n\n", to);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        fprintf(to, "  privacyctl %s%s%s %s\n", commands[i].group, commands[i].name ? " " : "",
                commands[i].name ? commands[i].name : "", commands[i].usage);
    }
    fputs("\nconsent and age need --policy F --keys F --store URL [--password-file F] [--prefix P],\n"
          "and with a rediss:// URL [--tls-ca F] [--tls-cert F --tls-key F];\n"
          "get and list do with --store alone. Exit status: 0 done, 1 failed, 2 wrong call.\n",
          to);
}

static bool push(ctl_list *list, const char *text)
{
    if (list->n == CTL_MAX_MULTI) {
        return false;
    }
    list->v[list->n++] = ctl_str(text);
    return true;
}

/* One argument; *i moves past an option's value. */
static bool take(ctl *c, int argc, char **argv, int *i)
{
    const char *arg = argv[*i];
    if (strncmp(arg, "--", 2) != 0) {
        return push(&c->words, arg);
    }
    if (strcmp(arg, "--policy") == 0) {
        return ++*i < argc && (c->policy_path = argv[*i]) != NULL;
    }
    for (size_t k = 0; k < sizeof options / sizeof *options; k++) {
        const ctl_option *o = &options[k];
        if (strcmp(arg, o->name) != 0) {
            continue;
        }
        if (o->flag != 0) {
            *(bool *)((char *)c + o->flag) = true;
            return true;
        }
        if (++*i >= argc) {
            return false;
        }
        if (o->text != 0) {
            *(const char **)((char *)c + o->text) = argv[*i];
            return true;
        }
        return push((ctl_list *)((char *)c + o->list), argv[*i]);
    }
    return false;
}

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static const ctl_command *find(int argc, char **argv, int *next)
{
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof *commands; i++) {
        const ctl_command *k = &commands[i];
        if (strcmp(argv[1], k->group) != 0) {
            continue;
        }
        if (k->name == NULL) {
            *next = 2;
            return k;
        }
        if (argc > 2 && strcmp(argv[2], k->name) == 0) {
            *next = 3;
            return k;
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    int next = 0;
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        prv_str v = prv_version_string();
        printf("privacyctl %.*s\n", (int)v.n, v.p);
        return CTL_OK;
    }
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0)) {
        usage(stdout);
        return CTL_OK;
    }
    const ctl_command *command = find(argc, argv, &next);
    if (command == NULL) {
        usage(stderr);
        return CTL_USAGE;
    }
    ctl c = {.prefix = "privacy:"};
    c.env = (prv_env){.ctx = &c, .alloc = arena_alloc, .random = prv_random, .log = log_line, .now_ms = now_ms()};
    for (int i = next; i < argc; i++) {
        const char *arg = argv[i];
        if (!take(&c, argc, argv, &i)) {
            ctl_fail("unknown option, missing value or too many of them: %s", arg);
            return CTL_USAGE;
        }
    }
    int64_t at;
    int status;
    if (c.now == NULL) {
        status = command->run(&c);
    } else if (prv_rfc3339_parse(ctl_str(c.now), &at)) {
        c.env.now_ms = at * 1000;
        status = command->run(&c);
    } else {
        ctl_fail("--now wants a time such as 2026-11-23T15:00:00Z");
        status = CTL_USAGE;
    }
    if (c.sync != NULL) {
        prv_sync_close(c.sync);
    }
    prv_store_conf_free(c.store_conf);
    prv_keyring_free(c.keys);
    prv_policies_free(c.policies);
    ctl_arena_reset(&c);
    if (fflush(stdout) != 0 && status == CTL_OK) {
        status = ctl_fail("writing the answer: %s", strerror(errno));
    }
    return status;
}
