/*
 * The nginx binding: configuration, what is kept for one client request, and the functions that the
 * phases share.
 */
#ifndef NGX_HTTP_PRIVACY_H
#define NGX_HTTP_PRIVACY_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "../core/privacy.h"
#include "ngx_http_privacy_compat.h"

/* ---- configuration */

/* Where a directive stands, for messages after the file has been read. */
typedef struct {
    u_char *file;
    ngx_uint_t line;
} ngx_http_privacy_place_t;

typedef struct {
    ngx_str_t path;
    prv_keyring *keys;
} ngx_http_privacy_keys_t;

/* The name of a field that we say to applications, as nginx keeps names. */
typedef struct {
    ngx_str_t key;
    u_char *lowcase;
    ngx_uint_t hash;
} ngx_http_privacy_name_t;

typedef struct {
    prv_policies *policies;
    ngx_array_t keyrings; /* ngx_http_privacy_keys_t */

    prv_str zone_name;
    size_t zone_size;
    ngx_shm_zone_t *shm;
    prv_zone *zone;

    ngx_str_t store_url;
    ngx_http_privacy_place_t store_place;
    ngx_str_t store_password_file;
    ngx_str_t store_tls_ca;
    ngx_str_t store_tls_cert;
    ngx_str_t store_tls_key;
    uint32_t store_timeout;
    uint32_t store_wait;
    unsigned store_wait_set : 1;
    prv_str store_prefix;
    prv_store_conf *store_conf; /* NULL: off */
    prv_store *store;           /* opened by the first request of a process that needs it */
    unsigned store_failed : 1;

    ngx_array_t sites;    /* prv_site *: of the servers that are on or report somewhere */
    ngx_array_t shown;   /* const prv_site *: one for each policy of these */

    ngx_http_privacy_name_t consent_field, age_field;

    unsigned in_use : 1;  /* some location is on or report */
    unsigned vendors : 1; /* some location names a vendor */
} ngx_http_privacy_main_conf_t;

typedef struct {
    const prv_policy *policy;
    const prv_keyring *keys;
    prv_cookie_conf *cookie;
    prv_str home;
    prv_limit_conf *limit;

    prv_site site;
    prv_mode strongest;
    unsigned home_served : 1;
} ngx_http_privacy_srv_conf_t;

typedef struct {
    ngx_uint_t mode;
    ngx_uint_t store_failure;
    ngx_flag_t forward;
    ngx_http_complex_value_t *region;
    ngx_array_t *region_fields; /* prv_str: request fields that `region` reads; NULL: none */
    ngx_http_complex_value_t *subject;
    ngx_http_complex_value_t *client_verify; /* beside `subject`: NULL without TLS */

    prv_require_conf *require;
    ngx_http_privacy_place_t require_place;
    ngx_uint_t min_age;
    prv_answer age_answer;
    ngx_http_privacy_place_t age_place;
    ngx_str_t vendor;
    ngx_http_privacy_place_t vendor_place;

    ngx_flag_t endpoint;
    ngx_flag_t well_known;
    ngx_flag_t status;
    ngx_http_privacy_place_t endpoint_place;

    ngx_array_t *scrub; /* prv_str */

    prv_rules rules;
    prv_str mount;
} ngx_http_privacy_loc_conf_t;

extern ngx_module_t ngx_http_privacy_module;

/* conf.c */
void *ngx_http_privacy_create_main_conf(ngx_conf_t *cf);
char *ngx_http_privacy_init_main_conf(ngx_conf_t *cf, void *conf);
void *ngx_http_privacy_create_srv_conf(ngx_conf_t *cf);
char *ngx_http_privacy_merge_srv_conf(ngx_conf_t *cf, void *parent, void *child);
extern ngx_command_t ngx_http_privacy_commands[];
char *ngx_http_privacy_fail(ngx_conf_t *cf, const prv_error *err);
/* The same form as ngx_conf_log_error(), for a directive that was read earlier. */
char *ngx_http_privacy_fail_at(ngx_conf_t *cf, const ngx_http_privacy_place_t *place,
                               const char *text);
void ngx_http_privacy_place(ngx_conf_t *cf, ngx_http_privacy_place_t *place);
/* The directive's arguments as views; their text lives as long as the configuration. */
prv_str *ngx_http_privacy_args(ngx_conf_t *cf, size_t *n);

/* location.c */
void *ngx_http_privacy_create_loc_conf(ngx_conf_t *cf);
char *ngx_http_privacy_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child);
char *ngx_http_privacy_set_region(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_privacy_set_require(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_privacy_set_min_age(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_privacy_set_vendor(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_privacy_set_endpoint(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_privacy_set_scrub(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* zone.c */
ngx_int_t ngx_http_privacy_zone_add(ngx_conf_t *cf, ngx_http_privacy_main_conf_t *mcf);

/* loop.c: the store client of this process; NULL: no store, or it could not be opened. */
prv_store *ngx_http_privacy_store(ngx_http_privacy_main_conf_t *mcf);
void ngx_http_privacy_store_close(ngx_http_privacy_main_conf_t *mcf);
/* The clock of the store client's loop: it is no system call. */
int64_t ngx_http_privacy_mono_ms(void);

/* ---- one client request */

/* Kept for the life of the client request in a pool cleanup: r->ctx is wiped by internal redirects.
 */
typedef struct {
    prv_request rq;
    prv_tally tally;
    prv_env env;
    prv_op *op;                  /* what prv_request_begin() asked for; NULL: nothing */
    ngx_http_request_t *request; /* the main request */
    ngx_http_privacy_srv_conf_t *srv;

    prv_wait *wait; /* a store operation under way */
    void (*arrived)(void *state, const prv_reply *reply);
    void *endpoint;    /* of endpoint.c */
    ngx_event_t guard; /* not cancelable: a worker that shuts down waits for the store */

    ngx_table_elt_t **lines; /* the client's own Cookie fields */
    ngx_uint_t n_lines;
    ngx_http_privacy_multi_t cookies; /* what headers_in held for them */
    ngx_array_t *withheld; /* ngx_table_elt_t *: the client's fields that vendors do not get */
    ngx_table_elt_t *authorization;

    prv_str
        *set_cookies; /* the answer's, before editing, for $privacy_removed and $privacy_unknown */
    ngx_uint_t n_set_cookies;
    prv_str cache_control;      /* an endpoint's own, which the operator's does not loosen */
    prv_str told_cookie;        /* ours, after Privacy-Subject-Age or Privacy-Subject */
    ngx_http_upstream_t *heard; /* the upstream whose fields of that kind have been read */
    const u_char *waived;       /* the name of the error page's location after our refusal */

    ngx_uint_t generation; /* moves when the state changes: decisions are taken again */
    const prv_rules *waiting; /* of the gate that waits, */
    prv_decision without;     /* and how it decides without an account */
    unsigned vary;         /* PRV_VARY_* of gates */
    ngx_array_t *regions;  /* ngx_array_t *: the region_fields behind them; NULL: none */
    unsigned edit_vary;    /* of edited Cookie fields: matters when an application answered */
    unsigned begun : 1;
    unsigned resolved : 1;
    unsigned of_account : 1;    /* `op` looks up the session's account */
    unsigned authenticated : 1; /* privacy_subject gave the account */
    unsigned personal : 1;      /* and something depended on it */
    unsigned deferred : 1;      /* a gate waits for the account, until PRECONTENT */
    unsigned access : 1;        /* the rewrite phase of its location is over */
    unsigned edited : 1;      /* some request of this client request carries our edits */
    unsigned withholding : 1; /* ... those of a vendor */
    unsigned refused : 1;     /* a gate refused */
    unsigned waiving : 1;     /* ... and led to the error page in `waived` */
    unsigned forwarded : 1;   /* Privacy-Consent went upstream */
    unsigned logging : 1;     /* log phase: addresses are whole again */
} ngx_http_privacy_state_t;

/* Of one request in one location; wiped with r->ctx. */
typedef struct {
    ngx_http_privacy_state_t *st;
    ngx_http_privacy_loc_conf_t *lcf; /* the decision's; NULL: none yet */
    ngx_uint_t generation;
    prv_decision d;
    unsigned vendor : 1; /* being forwarded to a vendor: addresses are cut */
} ngx_http_privacy_ctx_t;

/* state.c */
/* The state if there is one, else NULL. */
ngx_http_privacy_state_t *ngx_http_privacy_state_find(ngx_http_request_t *r);
/* The state; made at the first look, which removes the client's Privacy-* fields. NULL: no memory.
 */
ngx_http_privacy_state_t *ngx_http_privacy_state_get(ngx_http_request_t *r);
/* The state with the token's and cache's view at least, and the decision for this location; no I/O.
 * NULL: no memory. */
ngx_http_privacy_ctx_t *ngx_http_privacy_decide(ngx_http_request_t *r);
/* Starts the core's request once. */
void ngx_http_privacy_begin(ngx_http_privacy_state_t *st);
/* The answer depends on this decision by these PRV_VARY_* bits: notes what gave the region, too. */
ngx_int_t ngx_http_privacy_depends(ngx_http_privacy_ctx_t *ctx, unsigned bits);
void ngx_http_privacy_clock(ngx_http_privacy_state_t *st);
/* Memory, randomness and log of this request; no time. */
void ngx_http_privacy_env(ngx_http_request_t *r, prv_env *env);
ngx_int_t ngx_http_privacy_first_look(ngx_http_request_t *r);

/* resolve.c */
/* NGX_OK: the state is resolved, or as good as it gets here; NGX_AGAIN: the request is suspended;
 * NGX_ERROR. */
ngx_int_t ngx_http_privacy_resolve(ngx_http_request_t *r, ngx_http_privacy_state_t *st);
/* The same for the account that authentication gave. To be called again when the request goes on. */
ngx_int_t ngx_http_privacy_account(ngx_http_request_t *r, ngx_http_privacy_state_t *st,
                                   prv_str account);
/* Queues what is to be written of the account without anybody having asked. */
void ngx_http_privacy_account_write(ngx_http_privacy_state_t *st);
/* Sends op; `arrived` is called on the reply. NGX_DECLINED: the store is unavailable, `arrived` is
 * not called. */
ngx_int_t ngx_http_privacy_submit(ngx_http_privacy_state_t *st, const prv_op *op,
                                  void (*arrived)(void *state, const prv_reply *reply));
/* Has the request's write_event_handler called from the event loop. */
void ngx_http_privacy_wake(ngx_http_privacy_state_t *st);
/* Leaves the request to the event loop: `resumed` runs on every write event, the one of wake()
 * included. NGX_AGAIN, or NGX_ERROR. */
ngx_int_t ngx_http_privacy_park(ngx_http_request_t *r, ngx_http_event_handler_pt resumed);
/* The request dies: nothing calls back any more. */
void ngx_http_privacy_detach(ngx_http_privacy_state_t *st);

/* subject.c */
char *ngx_http_privacy_set_subject(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
/* Reads the account, where this location names one and the request was authenticated. As resolve(). */
ngx_int_t ngx_http_privacy_subject(ngx_http_request_t *r, ngx_http_privacy_state_t *st);

/* gate.c */
ngx_int_t ngx_http_privacy_access_handler(ngx_http_request_t *r);
/* Where no handler is asked any more: is this answer behind a gate that still waits? Then its refusal. */
ngx_uint_t ngx_http_privacy_undecided(ngx_http_request_t *r, ngx_int_t *status);
/* The gate of this location, now. NGX_DECLINED is the only pass. */
ngx_int_t ngx_http_privacy_gate_last(ngx_http_request_t *r);
ngx_int_t ngx_http_privacy_rewrite_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_privacy_preaccess_handler(ngx_http_request_t *r);

/* forward.c */
ngx_int_t ngx_http_privacy_precontent_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_privacy_log_handler(ngx_http_request_t *r);

/* list.c: lists of header elements are never changed in place, because subrequests share their
 * parts. */
/* Replaces *list by one without the elements that `drop` names and with `added` at its end. */
ngx_int_t ngx_http_privacy_list_replace(ngx_pool_t *pool, ngx_list_t *list,
                                        ngx_uint_t (*drop)(const ngx_table_elt_t *h, void *data),
                                        void *data, ngx_table_elt_t *added, ngx_uint_t n_added);
typedef struct {
    const ngx_list_part_t *part;
    ngx_uint_t i;
} ngx_http_privacy_walk_t;
void ngx_http_privacy_walk_init(ngx_http_privacy_walk_t *walk, const ngx_list_t *list);
/* The next element, NULL at the end. */
ngx_table_elt_t *ngx_http_privacy_walk_next(ngx_http_privacy_walk_t *walk);
/* The values of all fields of this name joined with ", ". p is NULL: there is none. */
ngx_int_t ngx_http_privacy_joined(ngx_pool_t *pool, const ngx_list_t *list, const char *name,
                                  prv_str *value);

/* response.c */
ngx_int_t ngx_http_privacy_response_init(ngx_conf_t *cf);
/* Reads what the application said about this visitor's age, once per upstream answer. */
void ngx_http_privacy_hear_upstream(ngx_http_request_t *r, ngx_http_privacy_state_t *st);
/* Sends a whole answer of our own; to be finalised by the caller with what it returns. */
ngx_int_t ngx_http_privacy_send(ngx_http_request_t *r, int status, const prv_field *fields,
                                size_t n, prv_str body);

/* endpoint.c */
ngx_int_t ngx_http_privacy_endpoint_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_privacy_well_known_handler(ngx_http_request_t *r);
/* Sends what the core made of a call. */
ngx_int_t ngx_http_privacy_respond(ngx_http_request_t *r, const prv_response *response);

/* status.c */
ngx_int_t ngx_http_privacy_status_handler(ngx_http_request_t *r);
/* Log phase: adds this client request to the counters. */
void ngx_http_privacy_count(ngx_http_request_t *r, ngx_http_privacy_state_t *st);

/* variables.c */
ngx_int_t ngx_http_privacy_add_variables(ngx_conf_t *cf);
/* Makes cookie and header variables uncacheable, because what they show changes from location to
 * location, and cuts addresses that are forwarded to vendors. */
ngx_int_t ngx_http_privacy_wrap_variables(ngx_conf_t *cf, ngx_http_privacy_main_conf_t *mcf);
/* Each address of a comma-separated list cut; what is no address is left out. */
prv_str ngx_http_privacy_cut(const prv_env *env, prv_str list);

/* ---- small things */

static ngx_inline prv_str ngx_http_privacy_view(const ngx_str_t *s)
{
    return (prv_str){(const char *)s->data, s->len};
}

/* A field of a name that only this server may say. */
static ngx_inline ngx_uint_t ngx_http_privacy_is_own(const ngx_table_elt_t *h)
{
    return h->key.len > 0 && (h->key.data[0] | 0x20) == 'p' &&
           prv_is_privacy_field(ngx_http_privacy_view(&h->key));
}

static ngx_inline ngx_str_t ngx_http_privacy_str(prv_str s)
{
    return (ngx_str_t){s.n, (u_char *)(uintptr_t)s.p};
}

static ngx_inline ngx_http_privacy_main_conf_t *ngx_http_privacy_main(ngx_http_request_t *r)
{
    return ngx_http_get_module_main_conf(r, ngx_http_privacy_module);
}

static ngx_inline ngx_http_privacy_srv_conf_t *ngx_http_privacy_srv(ngx_http_request_t *r)
{
    return ngx_http_get_module_srv_conf(r, ngx_http_privacy_module);
}

static ngx_inline ngx_http_privacy_loc_conf_t *ngx_http_privacy_loc(ngx_http_request_t *r)
{
    return ngx_http_get_module_loc_conf(r, ngx_http_privacy_module);
}

#endif
