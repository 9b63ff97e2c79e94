/* privacyctl: what its commands share. Commands print; everything they decide is the core's. */
#ifndef PRV_CTL_H
#define PRV_CTL_H

#include <stdio.h>

#include "../privacy.h"
#include "../redis/sync.h"
#include "../request/request.h"

#define CTL_MAX_MULTI 64 /* repeatable options: cookies, record fields, positional words */

/* Exit statuses, the same for every command. */
enum { CTL_OK = 0, CTL_FAILED = 1, CTL_USAGE = 2 };

typedef struct ctl_list {
    size_t n;
    prv_str v[CTL_MAX_MULTI];
} ctl_list;

typedef struct ctl {
    /* options, NULL or empty when not given */
    const char *policy_path, *keys_path, *cookie_name;
    const char *store_url, *password_file, *prefix, *tls_ca, *tls_cert, *tls_key;
    const char *gpc, *dnt, *region, *catalogue, *now, *min_age, *node_user;
    ctl_list cookies, records, require;
    bool json, strict, batch, absent, unavailable, deny_on_failure, all;
    ctl_list words; /* what is no option, the command's own words left out */

    /* opened on demand */
    prv_env env;
    void *arena; /* chain of blocks behind env.alloc */
    prv_policies *policies;
    const prv_policy *policy;
    prv_keyring *keys;
    prv_store_conf *store_conf;
    prv_sync *sync;
    prv_site site;
} ctl;

typedef int (*ctl_run)(ctl *c);

/* Say what is missing on stderr and return false. */
bool ctl_need_policy(ctl *c);
bool ctl_need_keys(ctl *c);
bool ctl_need_store(ctl *c);
bool ctl_need_store_conf(ctl *c); /* read, and not connected */
bool ctl_need_words(ctl *c, size_t at_least, size_t at_most, const char *usage);
/* The site that policy, keys, cookie name and prefix describe; store says whether records are read. */
void ctl_site(ctl *c, bool store);
int ctl_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
prv_str ctl_str(const char *text);
/* A NUL-terminated copy in the arena. */
char *ctl_text(ctl *c, prv_str s);
void ctl_arena_reset(ctl *c);

int ctl_keys_new(ctl *c);
int ctl_keys_add(ctl *c);
int ctl_keys_promote(ctl *c);
int ctl_keys_retire(ctl *c);
int ctl_policy_check(ctl *c);
int ctl_policy_show(ctl *c);
int ctl_explain(ctl *c);
int ctl_token(ctl *c);
int ctl_consent_get(ctl *c);
int ctl_consent_set(ctl *c);
int ctl_consent_withdraw(ctl *c);
int ctl_consent_list(ctl *c);
int ctl_consent_count(ctl *c);
int ctl_age(ctl *c);
int ctl_discover(ctl *c);
int ctl_watch(ctl *c);
int ctl_doctor(ctl *c);

#endif
