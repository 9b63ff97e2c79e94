/*
 * What the files of mod_privacy share. Read mod_privacy.c first: its hooks table is the map.
 *
 *   configuration   prv_server_conf (virtual host), prv_dir_conf (location), prv_shared (process)
 *   a request       prv_root (the client's request, once), prv_view (each request_rec: redirects,
 * subrequests)
 */
#ifndef MOD_PRIVACY_H
#define MOD_PRIVACY_H

#include "httpd.h"
#include "http_config.h"
#include "http_log.h"
#include "http_request.h"
#include "ap_expr.h"
#include "apr_strings.h"
#include "apr_tables.h"

#include "../core/privacy.h"

/* The one symbol that leaves the shared object. */
extern __attribute__((visibility("default"))) module AP_MODULE_DECLARE_DATA privacy_module;
#ifdef APLOG_USE_MODULE
APLOG_USE_MODULE(privacy);
#endif

/* ------------------------------------------------------------------ configuration */

/* What names of purposes or a vendor mean under one policy; filled when the configuration is
 * checked. */
typedef struct prv_bound {
    const prv_policy *policy;
    uint32_t mask;
    int vendor;
} prv_bound;

/* `PrivacyRequire`, `PrivacyVendor` or `Require privacy-purpose` as written, and what it means per
 * policy. */
typedef struct prv_named {
    prv_require_conf require;
    const char *vendor;
    apr_array_header_t *bound; /* of prv_bound */
} prv_named;

typedef enum prv_tristate { PRV_UNSET = -1, PRV_NO = 0, PRV_YES = 1 } prv_tristate;

#define PRV_MODE_UNSET (-1)

typedef struct prv_dir_conf {
    int mode; /* prv_mode or PRV_MODE_UNSET */
    prv_tristate failure_deny;
    prv_tristate forward;
    prv_tristate endpoint;
    prv_tristate well_known;
    prv_tristate status;
    const char *mount; /* of the endpoint; NULL: PrivacyHome */
    const ap_expr_info_t *region;
    const apr_array_header_t *region_fields; /* of const char *: request fields that it reads */
    const ap_expr_info_t *subject;
    const prv_named *require;
    const prv_named *vendor;
    unsigned min_age;
    prv_answer age_answer;
    const apr_array_header_t *scrub; /* of prv_str */
} prv_dir_conf;

/* What one process generation shares: made in post_config, filled in by each child. */
typedef struct prv_shared {
    prv_zone *zone;
    const apr_array_header_t *sites; /* of const prv_site *: one for each policy in use */
    const prv_store_conf *store;
    struct prv_backend *backend; /* per child; NULL: no store or no thread */
    uint32_t timeout_ms;
    uint32_t env_wanted; /* bits of prv_var that the configuration reads */
    bool consent_wanted; /* the configuration mentions Privacy-Consent or Privacy-Age */
    const char *env_names[PRV_VAR_COUNT];
} prv_shared;

typedef struct prv_server_conf {
    const prv_policy *policy;
    const prv_keyring *keys;
    const prv_cookie_conf *cookie;
    const prv_limit_conf *limit;
    const char *home;

    /* main server only */
    size_t zone_bytes;
    const char *store_url;
    const ap_directive_t *store_at;
    const char *password_file, *tls_ca, *tls_cert, *tls_key;
    uint32_t timeout_ms;
    uint32_t store_wait;
    const char *prefix;
    prv_store_conf *store;

    prv_mode strongest; /* of this server's locations */
    const ap_directive_t *strongest_at;

    prv_site site; /* complete after check_config */
    prv_shared *shared;
} prv_server_conf;

#define PRV_ZONE_DEFAULT ((size_t)16 * 1024 * 1024)
#define PRV_TIMEOUT_DEFAULT 50u

/* Something that can only be judged when all of the configuration is known. */
typedef enum prv_use_kind { PRV_USE_NAMES, PRV_USE_VENDOR, PRV_USE_ENDPOINT } prv_use_kind;
typedef struct prv_use {
    prv_use_kind kind;
    server_rec *server;
    const ap_directive_t *at;
    prv_named *named;  /* names, vendor */
    const char *mount; /* endpoint; NULL: PrivacyHome */
} prv_use;

/* config.c */
void *prv_dir_create(apr_pool_t *p, char *path);
void *prv_dir_merge(apr_pool_t *p, void *base, void *add);
void *prv_server_create(apr_pool_t *p, server_rec *s);
void *prv_server_merge(apr_pool_t *p, void *base, void *add);
prv_dir_conf *prv_dir_of(const request_rec *r);
prv_server_conf *prv_server_of(const server_rec *s);
/* The policies of this configuration; they live as long as `pconf`. NULL: no memory. */
prv_policies *prv_policies_of(apr_pool_t *pconf);
/* The list of prv_use of this configuration. */
apr_array_header_t *prv_uses_of(apr_pool_t *pconf);
/* What `named` means under `policy`; NULL: it was never checked. */
const prv_bound *prv_named_under(const prv_named *named, const prv_policy *policy);

/* directives.c */
extern const command_rec prv_commands[];
/* The core's messages name directives as nginx does: this names httpd's. */
const char *prv_httpd_words(apr_pool_t *p, const char *text);

/* check.c: check_config hook; false states are said with file and line. */
int prv_check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s);
/* Warnings of the policies, and for a PrivacyHome that nothing serves. */
void prv_check_warn(apr_pool_t *pconf, server_rec *s);
/* A cache that answers before the gate could look; false: said. (conftree.c) */
bool prv_check_quick_cache(server_rec *main_server);
/* Fills env_wanted and consent_wanted. (conftree.c) */
void prv_scan_variables(prv_shared *shared);

/* zone.c: post_config and child_init hooks */
int prv_post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s);
void prv_child_init(apr_pool_t *pchild, server_rec *s);

/* ------------------------------------------------------------------ store */

/* loop.c: prv_loop over an apr_pollset. Everything but prv_turner_wake() belongs to one thread. */
typedef struct prv_turner prv_turner;
prv_turner *prv_turner_create(apr_pool_t *pool, server_rec *s);
const prv_loop *prv_turner_loop(prv_turner *turner);
/* The loop's clock: any thread may ask, and it is no system call. */
int64_t prv_mono_ms(void);
/* Waits for descriptors, timers or a wake, and calls back. */
void prv_turner_run_once(prv_turner *turner);
void prv_turner_wake(prv_turner *turner);

/* store.c: the loop thread of one child process, and how request threads wait for it. */
typedef struct prv_backend prv_backend;
typedef struct prv_flight prv_flight;
/* Starts the thread; it ends with `pchild`. NULL: said. */
prv_backend *prv_backend_start(apr_pool_t *pchild, server_rec *s, const prv_shared *shared);
/* Blocks until the reply or the deadline. NULL backend or no reply in time: *reply is UNAVAILABLE.
 * The result holds the reply's strings until prv_flight_free(), and may be NULL. */
prv_flight *prv_backend_call(prv_backend *backend, const prv_op *op, prv_reply *reply);
void prv_flight_free(prv_flight *flight);
/* Sends for nobody. */
void prv_backend_queue(prv_backend *backend, const prv_op *op);

/* ------------------------------------------------------------------ one request */

/* The client's request; lives with the first request_rec of redirects and subrequests. */
typedef struct prv_root {
    request_rec *r;
    prv_server_conf *server;
    prv_env env;
    prv_request rq;
    prv_tally tally;
    prv_str *cookies; /* as the client sent them */
    bool captured;
    bool begun;          /* token and cache were read */
    bool resolved;       /* so was the store */
    unsigned generation; /* moves with the state; decisions of another one are taken again */

    bool edited; /* a location changed request fields: the next starts from the client's */
    apr_table_t *withheld; /* what a vendor's location took away */
    char *client_ip;       /* the true one, while a cut one stands in r->useragent_ip */

    request_rec
        *refused; /* the main request that our gate refused: its ErrorDocument is not gated */
    int refused_status;
    const char *refused_body;    /* problem+json for it, when the operator has no ErrorDocument */
    unsigned vary;               /* inputs that gates and edits of any location looked at */
    apr_array_header_t *regions; /* of region_fields: what gave the region behind them */
    apr_array_header_t
        *set_cookies;   /* of prv_str: fields of the answer before editing, for variables */
    prv_str own_cookie; /* to be set: the application told an age, or who is logged in */
    bool authenticated; /* PrivacySubject gave the account: */
    const char *account;
    bool personal;      /* and something depended on it */
} prv_root;

/* One request_rec. */
typedef struct prv_view {
    prv_root *root;
    prv_dir_conf *dir;
    prv_rules rules;
    prv_decision d;
    bool decided;
    unsigned generation; /* of the root when decided */
    bool endpoint;       /* found in translate_name, where the location is known */
    bool dynamic;        /* somebody may read the request's fields */
    bool forwarded;      /* Privacy-Consent was added */
    bool withheld;       /* from a vendor */
    unsigned edit_vary;  /* inputs that mattered when Cookie was edited */
    bool unbound;        /* the gate's names mean nothing under this policy: refused */
    bool problem;        /* the error text is problem+json */
} prv_view;

/* request.c */
prv_root *prv_root_get(request_rec *r);
/* Follows the location: a merged configuration that is another one forgets the decision. */
prv_view *prv_view_get(request_rec *r);
/* Resolves the state, the store included: may wait up to the store's time-out, once per client
 * request. */
void prv_root_resolve(prv_root *root);
/* Decides for the view's location. io false: token and cache only, unless the state is resolved
 * already. */
void prv_view_decide(prv_view *view, request_rec *r, bool io);
/* The answer depends on this location's decision by these PRV_VARY_* bits. */
void prv_view_depends(prv_view *view, unsigned bits);
/* Reads the account, where the location names one and this request was authenticated: behind authentication only. */
void prv_root_subject(prv_view *view, request_rec *r);
/* Queues what is to be written of the account without anybody having asked. */
void prv_root_account_write(prv_root *root);
/* The child's store thread, or NULL. */
prv_backend *prv_backend_of(const prv_root *root);
prv_str prv_str_of(const char *text);
/* NUL-terminated copy in the request's pool. */
char *prv_text(const request_rec *r, prv_str s);
/* A table's entries as they stand, n of them: what looks for several names at once walks over them once. */
const apr_table_entry_t *prv_entries(const apr_table_t *table, int *n);
/* Does a field of a name that only this server may say stand in it? */
bool prv_has_own_field(const apr_table_t *table);
bool prv_is_cookie_field(const char *name);
/* The client's path and query. */
prv_str prv_uri_of(const request_rec *r);

/* Is this request one that the endpoint or well-known handler answers? */
bool prv_is_endpoint(const prv_dir_conf *dir);
bool prv_is_well_known(const prv_dir_conf *dir, const char *path);
/* ... or where the counters are shown? With Privacy off, too. */
bool prv_is_status(const prv_dir_conf *dir);

/* The handler's name in logs. prv_handler() goes by the directives: SetHandler cannot reach it. */
#define PRV_HANDLER "privacy-endpoint"

/* gate.c */
int prv_post_read_first(request_rec *r);
int prv_post_read_last(request_rec *r);
int prv_translate(request_rec *r);
int prv_map_to_storage(request_rec *r);
int prv_header_parser_first(request_rec *r);
int prv_header_parser_last(request_rec *r);
int prv_fixups_first(request_rec *r);
int prv_fixups_last(request_rec *r);

/* upstream.c */
/* Gives the request the client's own fields back where an earlier location edited them. */
void prv_upstream_restore(prv_root *root, request_rec *r);
/* Edits Cookie, adds Privacy-Consent and Privacy-Age, and withholds what a vendor must not see. */
void prv_upstream_edit(prv_view *view, request_rec *r);
/* Takes from a vendor's request what is not the vendor's business. */
void prv_upstream_withhold(prv_view *view, request_rec *r);
/* A filter reads the request's fields, though the handler does not: forwards to it too. */
void prv_upstream_dynamic(prv_view *view, request_rec *r);
/* May anything but httpd's own file handler see this request? */
bool prv_is_dynamic(const request_rec *r);
bool prv_reads_environment(const request_rec *r); /* of a dynamic one: its handler does */

/* output.c */
void prv_output_register(void);
void prv_insert_filter(request_rec *r);
void prv_insert_error_filter(request_rec *r);
/* Takes Privacy-Subject-Age and Privacy-Subject from the answer so far. */
void prv_hear_application(request_rec *r);

/* interim.c */
void prv_interim_register(void);
/* Filters what is written to the connection before this request's answer begins. */
void prv_interim_watch(request_rec *r, bool wanted);

/* env.c */
#define PRV_VARS_ALL (((uint32_t)1 << PRV_VAR_COUNT) - 1)
void prv_env_set(prv_view *view, request_rec *r, uint32_t wanted);
int prv_log_transaction(request_rec *r);

/* authz.c */
void prv_authz_register(apr_pool_t *p);

/* endpoint.c */
int prv_handler(request_rec *r);

#endif
