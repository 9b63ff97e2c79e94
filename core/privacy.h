/*
 * privacy-gate: the one header that a server binding includes.
 *
 * The core decides, bindings translate. Nothing here does I/O: where the core needs the store it hands
 * out a prv_op, the binding carries it out through prv_store_submit() and feeds the reply back.
 *
 * Conventions
 *   - Strings are views {p, n}; they need no NUL and are never modified. A view that a binding hands in
 *     must live as long as the request pool unless a function says otherwise.
 *   - `alloc` of the environment is the server's request pool: nothing obtained from it is freed here.
 *   - Times: names that end in _ms are milliseconds, all others seconds since 1970-01-01T00:00:00Z.
 *   - Purposes are bits in a uint32_t: bit i is purpose i of the compiled policy, in policy order.
 *   - "INTERFACE n" in comments means section n of the interface that config/README.md documents.
 */
#ifndef PRIVACY_H
#define PRIVACY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ------------------------------------------------------------------ limits, each with its reason */

#define PRV_MAX_PURPOSES 32   /* a mask fits one word */
#define PRV_TOKEN_MAX 240     /* characters of our cookie's value; longer ones are not looked at */
#define PRV_ID_LEN 26         /* 128 bits in lower-case base32 */
#define PRV_MAX_PAIRS 32      /* cookies of a request that are noted when they are first walked */
#define PRV_MAX_COPIES 4      /* copies of our cookie that are verified in one request */
#define PRV_BODY_MAX 16384    /* bytes of a request body at an endpoint; more is 413 */
#define PRV_MAX_OTHER 16      /* choices about purposes that only another policy version names */
#define PRV_OP_ARGS_MAX 48    /* arguments of one store operation */
#define PRV_EXPIRE_MAX 20     /* Set-Cookie fields that expire denied cookies in one answer */
#define PRV_HEADERS_MAX 48    /* header fields of one endpoint answer */
#define PRV_SUBJECT_MAX 512   /* bytes of an account's name; a longer one is no account */
#define PRV_SUBJECT_LEN 16    /* bytes of its keyed hash */

/* ------------------------------------------------------------------ basic types */

typedef struct prv_str {
    const char *p;
    size_t n;
} prv_str;

#define PRV_STR(literal) ((prv_str){(literal), sizeof(literal) - 1})
#define PRV_NONE ((prv_str){NULL, 0})

typedef enum prv_code {
    PRV_OK = 0,
    PRV_ERR_NOMEM,
    PRV_ERR_IO,          /* a file could not be read; errno text is in the message */
    PRV_ERR_SYNTAX,      /* not the expected grammar */
    PRV_ERR_VALUE,       /* grammar right, meaning wrong */
    PRV_ERR_UNSUPPORTED  /* known name, not in this version */
} prv_code;

/* `text` is a whole sentence for an operator, NUL-terminated, prefixed by "file:line:column: " where a
 * place is known. line and column count from 1; 0 means no place. */
typedef struct prv_error {
    prv_code code;
    unsigned line;
    unsigned column;
    char text[768];
} prv_error;

typedef enum prv_level { PRV_LOG_ERROR, PRV_LOG_WARN, PRV_LOG_NOTICE, PRV_LOG_INFO } prv_level;

typedef struct prv_env {
    void *ctx;
    void *(*alloc)(void *ctx, size_t n);                       /* aligned for any type; NULL: no memory */
    bool (*random)(void *ctx, void *out, size_t n);            /* cryptographic; false: none to be had */
    void (*log)(void *ctx, prv_level level, prv_str line);     /* may be NULL */
    int64_t now_ms;                                            /* wall clock */
    int64_t mono_ms;                                           /* monotonic, the clock of prv_loop.now_ms */
} prv_env;

/* The default for prv_env.random (libcrypto's RAND_bytes); ctx is ignored. */
bool prv_random(void *ctx, void *out, size_t n);

/* ------------------------------------------------------------------ policy (core/policy) */

typedef struct prv_policy prv_policy;     /* immutable once compiled; shared between threads and workers */
typedef struct prv_policies prv_policies; /* the policies of one configuration, each file compiled once */

/* A set that lives as long as one configuration. prv_policies_load() gives the same pointer for the same path;
 * two files with one policy.id are an error (PRV_ERR_VALUE). Free the set to free all its policies. */
prv_policies *prv_policies_new(void);
void prv_policies_free(prv_policies *set);
prv_code prv_policies_load(prv_policies *set, const char *path, const prv_policy **out, prv_error *err);

/* Compiles JSON text (INTERFACE 2). `name` stands in messages. The caller frees with prv_policy_free(). */
prv_code prv_policy_compile(prv_str text, const char *name, prv_policy **out, prv_error *err);
void prv_policy_free(prv_policy *policy);

/* The policy of `privacy report;` without a privacy_policy: no purposes, everything is unclassified. Static. */
const prv_policy *prv_policy_empty(void);

prv_str prv_policy_id(const prv_policy *policy);
int prv_policy_purpose(const prv_policy *policy, prv_str name); /* index, or -1 */
int prv_policy_vendor(const prv_policy *policy, prv_str name);  /* index, or -1 */
/* The i-th warning for start-up and `privacyctl policy check`; n == 0 past the last. */
prv_str prv_policy_warning(const prv_policy *policy, size_t i);
prv_str prv_policy_url(const prv_policy *policy); /* for Link rel="privacy-policy"; may be empty */
bool prv_policy_names_dnt(const prv_policy *policy); /* some purpose says dnt deny or yield: send Tk */

/* ------------------------------------------------------------------ keys (core/request) */

typedef struct prv_keyring prv_keyring; /* immutable; `generation` differs between different contents */

/* Reads a key file (INTERFACE 1, privacy_key_file). Refuses a file that group or others may read. */
prv_code prv_keyring_load(const char *path, prv_keyring **out, prv_error *err);
prv_code prv_keyring_parse(prv_str text, const char *name, prv_keyring **out, prv_error *err);
void prv_keyring_free(prv_keyring *keys);

/* ------------------------------------------------------------------ configuration (core/request/rules.c) */

typedef enum prv_mode { PRV_MODE_OFF = 0, PRV_MODE_ON, PRV_MODE_REPORT } prv_mode;

typedef enum prv_samesite { PRV_SAMESITE_LAX, PRV_SAMESITE_STRICT, PRV_SAMESITE_NONE } prv_samesite;

typedef struct prv_cookie_conf {
    prv_str name;   /* default __Host-privacy */
    prv_str domain; /* empty: host-only */
    prv_str path;   /* default / */
    prv_samesite samesite;
    bool secure;    /* default on */
} prv_cookie_conf;

/* Fills the default. */
void prv_cookie_conf_init(prv_cookie_conf *conf);
/* args are what stands behind `privacy_cookie`. Refuses what a browser would drop (__Host- with domain, ...).
 * The views point into args: those must live as long as the configuration. */
prv_code prv_cookie_conf_parse(const prv_str *args, size_t n, prv_cookie_conf *out, prv_error *err);

/* How a gate answers when it does not pass. status 0: the gate's default. redirect: navigations only. */
typedef struct prv_answer {
    int status;
    prv_str redirect;
} prv_answer;

#define PRV_REQUIRE_NAMES_MAX PRV_MAX_PURPOSES
typedef struct prv_require_conf {
    prv_str names[PRV_REQUIRE_NAMES_MAX];
    size_t n_names;
    prv_answer answer;
} prv_require_conf;
/* `privacy_require purpose… [status=…|redirect=/path]`: syntax only, views point into args. */
prv_code prv_require_parse(const prv_str *args, size_t n, prv_require_conf *out, prv_error *err);
/* Names to mask once the policy is known; an unknown purpose is an error that names it and what there is. */
prv_code prv_require_resolve(const prv_require_conf *conf, const prv_policy *policy, uint32_t *mask,
                             prv_error *err);

#define PRV_AGE_POLICY 255 /* prv_rules.min_age: the policy's table by region */
/* `privacy_min_age 13|policy [status=…|redirect=…]`; *min_age is 1..120 or PRV_AGE_POLICY. */
prv_code prv_min_age_parse(const prv_str *args, size_t n, unsigned *min_age, prv_answer *answer, prv_error *err);

typedef struct prv_limit_conf {
    bool off;
    uint32_t per_minute; /* 30r/m; r/s is multiplied by 60 */
    uint32_t burst;
} prv_limit_conf;
void prv_limit_conf_init(prv_limit_conf *conf); /* 30r/m burst=30 */
prv_code prv_limit_parse(const prv_str *args, size_t n, prv_limit_conf *out, prv_error *err);

/* `name:size` with size such as 16m, 512k (at least 256k). */
prv_code prv_zone_parse(prv_str arg, prv_str *name, size_t *bytes, prv_error *err);
/* 50ms, 2s, or a bare number of ms; 1..60000. */
prv_code prv_timeout_parse(prv_str arg, uint32_t *ms, prv_error *err);
/* privacy_store_wait: 0 (none) to PRV_WAIT_MAX replicas. */
#define PRV_WAIT_MAX 16
prv_code prv_store_wait_parse(prv_str arg, uint32_t *replicas, prv_error *err);
/* A home: begins and ends with '/', unreserved characters only. */
prv_code prv_home_parse(prv_str arg, prv_str *out, prv_error *err);
/* The store prefix: 1..64 printable bytes without spaces, braces and glob characters. */
prv_code prv_prefix_parse(prv_str arg, prv_str *out, prv_error *err);

/* One location's rules after merging. Immutable. */
typedef struct prv_rules {
    prv_mode mode;
    uint32_t require;       /* purposes, 0: none */
    prv_answer require_answer;
    uint8_t min_age;        /* 0: none, else years or PRV_AGE_POLICY */
    prv_answer age_answer;
    int vendor;             /* index, -1: none */
    bool store_failure_deny;
    bool forward;
    bool exempt;            /* endpoint or well-known location: never gated, cookies never edited */
} prv_rules;
void prv_rules_init(prv_rules *rules); /* mode off, vendor -1, forward on */

/* One server block or virtual host. Immutable once configuration is loaded. */
typedef struct prv_site {
    const prv_policy *policy;  /* never NULL: prv_policy_empty() in report mode without one */
    const prv_keyring *keys;   /* NULL only in report mode: then no token can be verified or made */
    prv_cookie_conf cookie;
    prv_str home;              /* /privacy/ */
    prv_limit_conf limit;
    bool store;                /* a store is configured */
    uint32_t timeout_ms;       /* how long one request may wait for it, all operations together; 0: not known */
    bool subject;              /* some location says privacy_subject */
    prv_str prefix;            /* privacy: */
    uint32_t counts;           /* prv_zone_site(); 0: not counted */
    uint64_t ages[2];          /* ages that locations of this server ask for, bit N is age N: prv_site_age() */
} prv_site;

/* While configuration loads: some location asks for this age, so an answer at the age page must tell about it. 0 and
 * PRV_AGE_POLICY note nothing. */
void prv_site_age(prv_site *site, unsigned min_age);

/* What cannot be served is said when configuration loads: mode on without policy or keys and the like.
 * `any_gated` tells whether some location of this server is on or report. */
prv_code prv_site_check(const prv_site *site, prv_mode strongest, prv_error *err);

/* ------------------------------------------------------------------ signals and region (core/request) */

#define PRV_SIGNAL_GPC 1u
#define PRV_SIGNAL_DNT 2u

/* Each field of the request, in any order: returns the bits to OR in. Sec-GPC: only an exact `1` (as a list member
 * after trimming OWS, because httpd joins fields). DNT: a member whose first character is 1. */
unsigned prv_signal_gpc(prv_str field);
unsigned prv_signal_dnt(prv_str field);

/* ISO 3166-1 alpha-2 or 3166-2, upper-cased; n == 0: unknown (empty or malformed input). */
typedef struct prv_region {
    uint8_t n;
    char c[7];
} prv_region;
prv_region prv_region_parse(prv_str text);

/* A navigation: GET with Sec-Fetch-Mode: navigate, or, without that field, an Accept that asks for text/html. */
bool prv_is_navigation(prv_str method, prv_str sec_fetch_mode, prv_str accept);

/* ------------------------------------------------------------------ state (core/state) */

typedef enum prv_source {
    PRV_SOURCE_NONE,
    PRV_SOURCE_TOKEN,
    PRV_SOURCE_CACHE,
    PRV_SOURCE_STORE,
    PRV_SOURCE_DEGRADED /* the store is needed and does not answer */
} prv_source;

/* Age bounds (INTERFACE 6): 0 = no such bound. `at` is when an answer gave them (they last lifetimes.age);
 * 0: from the application or ops, as long as the record. */
typedef struct prv_age {
    uint8_t ok;
    uint8_t under;
    uint8_t parental;
    int64_t at;
} prv_age;

typedef struct prv_other {
    uint16_t hash;  /* prv_purpose_hash() of a name this policy does not have */
    bool granted;   /* else refused */
} prv_other;

/* What is known about this visitor: token, record and cache merged (INTERFACE 7). */
typedef struct prv_state {
    bool present;     /* something valid of this policy id was found */
    bool unreadable;  /* a cookie of ours arrived that could not be verified or read (row 14) */
    bool stored;      /* the token says, or we saw, that Redis holds the record */
    bool away;        /* of a token: made over a record in Redis while that was away, so it only lowers what is there */
    bool restricted;
    bool swept;       /* denied cookies were expired since the last choice */
    bool old_key;     /* of a record as read: something in it is vouched for by a key that no longer signs */
    uint8_t signals;  /* PRV_SIGNAL_* in force at the choice */
    uint8_t id_len;   /* 0 or PRV_ID_LEN */
    char id[PRV_ID_LEN];
    uint32_t version; /* prv_version of the policy the choice was made under; 0: none */
    uint32_t seq;
    int64_t at;       /* of the choice; rounded to the hour when there is no id */
    int64_t expires;  /* grants end here, and we may ask again */
    uint32_t granted;
    uint32_t refused;
    prv_age age;
    uint8_t n_other;
    prv_other other[PRV_MAX_OTHER];

    /* Accounts. Of what is decided on: */
    bool account;     /* an account is known (row 4) */
    /* Of a cookie: whom it is bound to, and how. `over` and `owed` are among what it refuses. */
    bool has_subject;
    bool session;     /* the application said that `subject` is logged in here */
    bool owned;       /* without a store: the choices are `subject`'s, not the browser's */
    uint32_t over;    /* `subject` granted these here later than they were refused here */
    uint32_t owed;    /* `subject` refused these while the store was away: its record is to hear of it */
    /* Of a record: */
    bool of_account;  /* it is `subject`'s */
    bool gpc;         /* GPC was seen with the account, and written down */
    uint8_t subject[PRV_SUBJECT_LEN];
} prv_state;

/* Shared memory: cache of last-seen and verified states, breaker and rate limits. */
typedef struct prv_zone prv_zone;
#define PRV_ZONE_MIN 262144
/* Takes over a segment of this layout version and size, else formats it. `mem` is aligned to 64. Never fails for
 * size >= PRV_ZONE_MIN. Safe while other processes use the same segment. Several processes may attach. */
prv_zone *prv_zone_attach(void *mem, size_t size);
/* While configuration loads: the handle by which a site's requests are counted (prv_site.counts), the same for the same policy id
 * over reloads. 0: the zone is too small for one more policy; its requests are not counted. */
uint32_t prv_zone_site(prv_zone *zone, const prv_policy *policy);

/* ------------------------------------------------------------------ store operations */

typedef enum prv_op_kind {
    PRV_OP_READ,    /* HGETALL key */
    PRV_OP_CHANGE,  /* the write script: args as core/redis/script.h says; a reply RECORD or CONFLICT */
    PRV_OP_AGE,     /* lower or set the age of an existing record without a new seq */
    PRV_OP_EXPIRE,  /* EXPIRE key seconds NX: a hand-made key gets a TTL */
    PRV_OP_SUBJECT, /* GET key: the id of an account's record; a reply RECORD has it as the value of `id` */
    PRV_OP_BIND     /* SET key id EXAT s: the account's record is that one; a reply RECORD without pairs */
} prv_op_kind;

typedef struct prv_op {
    prv_op_kind kind;
    uint32_t wait_ms; /* of the time-out is left; 0: all of it. Less than all of it says nothing about the store */
    uint32_t stamp; /* READ: what the cache's entry will be stamped with; 0: not cached */
    bool raises; /* a change that grants: with privacy_store_wait it is taken back unless the replicas have it in time */
    prv_str key;
    size_t n_args;
    prv_str args[PRV_OP_ARGS_MAX];
} prv_op;

typedef enum prv_reply_status {
    PRV_REPLY_RECORD,      /* pairs: field, value, ... of the record as stored */
    PRV_REPLY_ABSENT,      /* no such key */
    PRV_REPLY_UNREADABLE,  /* the key holds another type */
    PRV_REPLY_CONFLICT,    /* change not made: the stored seq differs; pairs: the record as stored, maybe empty */
    PRV_REPLY_UNAVAILABLE  /* timeout, connection, breaker, LOADING, READONLY, NOAUTH, ... */
} prv_reply_status;

typedef struct prv_reply {
    prv_reply_status status;
    size_t n;              /* strings in pairs, even */
    const prv_str *pairs;  /* valid only during the call that delivers them */
    bool untracked;        /* of a Redis whose changes are not announced to us: good for once */
} prv_reply;

/* ------------------------------------------------------------------ one request (core/request) */

typedef enum prv_step {
    PRV_STEP_READY,      /* the state is resolved */
    PRV_STEP_NEED_STORE  /* carry out *op and feed the reply; meanwhile the state is the token's and cache's view */
} prv_step;

/* A request cookie where it stands: its name comes first (empty: no `=`). */
typedef struct prv_pair {
    const char *p;
    uint32_t n, name_n;
} prv_pair;

/*
 * State of one client request, kept by the binding for its whole life, redirects and subrequests included. The
 * binding zeroes it, fills the first part and calls prv_request_begin() once.
 */
typedef struct prv_request {
    /* filled by the binding */
    const prv_env *env;
    const prv_site *site;
    prv_zone *zone;           /* may be NULL: no cache, no limits */
    const prv_str *cookies;   /* values of all Cookie fields as the client sent them, in order */
    size_t n_cookies;
    bool comma_joined;        /* httpd on HTTP/1.1: `, name=` may be a separator (takes the lesser consent) */
    uint8_t signals;          /* PRV_SIGNAL_* */
    bool navigation;
    struct prv_tally *tally;  /* zeroed, for the whole client request; may be NULL: its edits and gates are not counted */

    /* resolved by prv_request_begin() and prv_request_feed() */
    prv_state state;          /* the merged view */
    prv_source source;
    bool degraded;            /* the store was needed and did not answer (row 3) */
    bool withheld;            /* the cookie's grants do not show: the record was changed, and not read since */
    bool pending;             /* between NEED_STORE and feed */

    /* private to the core */
    prv_state token;          /* what the cookie alone says */
    bool has_token;
    bool renew;               /* the cookie should be set anew (prv_request_renewal) */
    bool foreign_key;         /* the token was signed by a key that is no longer the first */
    uint8_t repair;           /* PRV_REPAIR_*: what prv_request_repair() will ask for */
    char key[128];            /* the record's key */
    uint8_t key_len;
    uint32_t record_seq;      /* of the record as read; 0: none */
    prv_age record_age;       /* the same */
    prv_str kept_granted;     /* names in the record that this policy lacks */
    prv_str kept_refused;
    char seen[40];            /* prv_record_seen() of the record, where a repair is due */
    bool has_seen;
    int64_t asked_ms;         /* when the operation under way was asked for */
    uint32_t waited_ms;       /* for those before it */

    /* accounts (subject.c) */
    bool known;               /* an account is known: `subject` */
    uint8_t subject[PRV_SUBJECT_LEN];
    bool split;               /* `state` is not only the browser's: that is `browser` */
    prv_state browser;
    struct prv_request *account; /* with a store: the account as a visitor of its own, who has no cookie */
    bool of_account;          /* this is such a one; then: */
    bool pointed;             /* a pointer to its record was read */
    bool wanted;              /* what was to be written of itself was handed out */
    bool want_age;            /* the application told its age */
    bool want_bind;           /* the pointer is to be written */
    bool gpc_seen;            /* GPC was on when a choice was made */
    uint8_t asking;           /* PRV_OP_SUBJECT or PRV_OP_READ under way */
    char record_id[PRV_ID_LEN];
    uint32_t stamp;           /* noted before the read was sent */
    uint8_t print[12];        /* fingerprint of the one cookie of ours; zeros: none, or several */
    const prv_str *paired;    /* `cookies` as its pairs were noted, all of them; NULL: they are too many, or not certain */
    prv_pair pairs[PRV_MAX_PAIRS];
    uint32_t n_pairs, own_pairs; /* own_pairs: a bit for each that is our cookie */
} prv_request;

/*
 * Finds our cookie, verifies at most PRV_MAX_COPIES copies, and merges them (FACTS 3). READY without a store, without a
 * token or with an id-less one; else NEED_STORE with *op filled (views live in *rq). No allocation.
 */
prv_step prv_request_begin(prv_request *rq, prv_op *op);

/* The reply to the op of begin. Merges record and token (INTERFACE 7), updates the cache. Always READY. */
void prv_request_feed(prv_request *rq, const prv_reply *reply);

/*
 * The account of a request whose browser is READY. `account`: what privacy_subject gives, read only after authentication
 * has succeeded; empty: there is none, and the session's counts, to which the application bound the cookie
 * (`Privacy-Subject`). With both, `account` wins. READY: rq->state is what is decided on. NEED_STORE: carry out *op and
 * feed the reply to prv_subject_feed(); at most two rounds. May be called again, with another account too.
 * With an account its record decides; of the browser only what lowers counts.
 */
prv_step prv_subject_begin(prv_request *rq, prv_str account, prv_op *op);
prv_step prv_subject_feed(prv_request *rq, const prv_reply *reply, prv_op *op);
/* Is an account known, or will prv_subject_begin() with nothing find one? */
bool prv_subject_known(const prv_request *rq);
/* Does this text show that the client itself says who it is: a header field, an argument or a cookie? For a warning. */
bool prv_subject_claimed(prv_str directive);

/* After READY: a write that is queued and never waited for (adoption of a token, a refusal Redis has not seen, a
 * missing TTL). true: *op is filled, its strings come from env.alloc. Call once per client request. */
bool prv_request_repair(prv_request *rq, prv_op *op);

/* ------------------------------------------------------------------ decision (core/request/decide.c) */

typedef enum prv_verdict { PRV_PASS, PRV_REFUSE, PRV_ASK } prv_verdict; /* ASK: age unknown */
typedef enum prv_gate { PRV_GATE_NONE, PRV_GATE_VENDOR, PRV_GATE_REQUIRE, PRV_GATE_AGE } prv_gate;
typedef enum prv_age_status { PRV_AGE_UNKNOWN, PRV_AGE_OK, PRV_AGE_UNDER } prv_age_status;

#define PRV_VARY_COOKIE 1u
#define PRV_VARY_GPC 2u
#define PRV_VARY_DNT 4u
#define PRV_VARY_ACCOUNT 8u /* Authorization: where privacy_subject is in force, by the binding */

typedef struct prv_decision {
    uint32_t allowed;
    uint32_t unanswered;             /* consent purposes without a choice in force: what may be asked */
    uint8_t row[PRV_MAX_PURPOSES];   /* row of INTERFACE 3 that applied, 1..15 */
    uint8_t jurisdiction;            /* index into the policy's jurisdictions */
    uint8_t age_min;                 /* threshold that age speaks of; 0: none */
    prv_age_status age;
    prv_region region;
    prv_verdict verdict;             /* of the rules' gates, in the order vendor, age, require */
    prv_gate gate;                   /* which gate did not pass */
    uint8_t gate_row;                /* require, vendor: the row that denied */
    uint8_t vary;                    /* PRV_VARY_*: inputs that mattered for the gates of these rules */
    bool gpc_shown;                  /* GPC is on and some purpose listens to it */
    uint32_t version;                /* of the choice: a grant from before a vendor's `since` is none for it */
} prv_decision;

/*
 * The decision table, INTERFACE 3, and the gates of `rules`. Pure: no allocation, no I/O, no clock. `degraded`:
 * the store is needed and unavailable. Rules with mode off or exempt always PASS; report mode decides as if on
 * (the binding does not enforce).
 */
void prv_decide(const prv_policy *policy, const prv_rules *rules, const prv_state *state, bool degraded,
                unsigned signals, prv_region region, int64_t now, prv_decision *out);

/* The reason word of a row: off basis unavailable anonymous restricted age refused gpc dnt manager granted
 * manager basis default none; "ok" for 0. Static. */
prv_str prv_row_reason(unsigned row);

/* Vendor of index `vendor`: its purpose is allowed (by a grant not older than the vendor's `since`), it is not off, and the
 * region is one of its regions. */
bool prv_vendor_allowed(const prv_policy *policy, const prv_decision *d, int vendor);

/* Vary bits when something depended on the purposes in `mask` (row-2 and off purposes add nothing). */
unsigned prv_vary(const prv_policy *policy, uint32_t mask);
/* What to put in, e.g. "Cookie, Sec-GPC"; static; empty for 0. */
prv_str prv_vary_value(unsigned bits);

/* ------------------------------------------------------------------ cookies, both directions */

/* Would editing change anything? No allocation; call before prv_edit_cookies(). With rules->vendor >= 0 only that
 * vendor's cookies are kept. */
bool prv_cookies_need_edit(const prv_request *rq, const prv_rules *rules, const prv_decision *d);
/*
 * The Cookie fields that may go upstream. out[i] corresponds to rq->cookies[i]; n == 0: remove the field. Unchanged
 * fields come back as the same view; changed ones are new memory. With comma_joined the result uses `; `.
 * *vary gets the bits that mattered. PRV_ERR_NOMEM: treat as all fields removed.
 */
prv_code prv_edit_cookies(const prv_request *rq, const prv_rules *rules, const prv_decision *d, prv_str *out,
                          unsigned *vary);

typedef enum prv_keep { PRV_KEEP, PRV_DROP } prv_keep;
/* One Set-Cookie field of an answer. Our own and deletions are kept; a field with a control byte is dropped.
 * *vary is OR-ed with what mattered. */
prv_keep prv_edit_set_cookie(const prv_request *rq, const prv_rules *rules, const prv_decision *d, prv_str value,
                             unsigned *vary);

/* ------------------------------------------------------------------ headers */

/* `Privacy-Consent` and `Privacy-Age` for upstream (INTERFACE 5). PRV_NONE when out of memory. */
prv_str prv_header_consent(const prv_request *rq, const prv_decision *d);
prv_str prv_header_age(const prv_request *rq, const prv_decision *d);
/* Is this a request field that clients must not send? (any `Privacy-` prefix, case-insensitive; also with `_` for
 * `-`, as CGI would fold it) */
bool prv_is_privacy_field(prv_str name);
/* Tk for an answer that is not a change: N, C, T or D with no quotes; empty: send none. */
prv_str prv_header_tk(const prv_request *rq, const prv_decision *d);
/* Link field value `<url>; rel="privacy-policy"`, made when the policy was compiled; empty: none. */
prv_str prv_header_link(const prv_policy *policy);

/* Our cookie's Set-Cookie value when this answer should renew it, or PRV_NONE. Only for requests that carried one;
 * and only for navigations. The binding marks the answer private. */
prv_str prv_request_renewal(prv_request *rq);
/*
 * Expiry of denied cookies on the first HTML navigation after an explicit refusal (INTERFACE 4): fills at most
 * PRV_EXPIRE_MAX Set-Cookie values (own renewed cookie with `swept` set included) and returns their number; 0: nothing
 * to do. host: the request's Host without port. The binding marks the answer private.
 */
size_t prv_request_sweep(prv_request *rq, const prv_decision *d, prv_str host, prv_str out[PRV_EXPIRE_MAX]);

/*
 * `Privacy-Subject-Age` from the application. Changes rq->state at once and the cache; *set_cookie: our cookie to set
 * (always); returns true when *op is to be queued (a visitor with an id and a store). A malformed value: no cookie,
 * false, one log line.
 */
bool prv_request_report_age(prv_request *rq, prv_str value, prv_str *set_cookie, prv_op *op);

/*
 * `Privacy-Subject: <account>` or `-` from the application, all fields of the answer. Values that differ, and what is no
 * name of at most PRV_SUBJECT_MAX bytes, are no account. Binds our cookie, used from the next request on; *set_cookie: our
 * cookie to set, PRV_NONE where nothing changes. Call behind prv_request_report_age(): its cookie has both.
 */
void prv_request_report_subject(prv_request *rq, const prv_str *values, size_t n, prv_str *set_cookie);

/* How a gate that did not pass is answered. Body is problem+json, or empty with a redirect or 204. */
typedef struct prv_gate_answer {
    int status;
    prv_str location; /* for 303: path with query */
    prv_str body;     /* application/problem+json; empty: none */
} prv_gate_answer;
/* uri: path and query the client asked for; referer: to tell a client that keeps no cookie (it gets the explanation
 * at the age page rather than the question again). */
void prv_gate_respond(const prv_request *rq, const prv_rules *rules, const prv_decision *d, prv_str uri,
                      prv_str referer, prv_gate_answer *out);

/* ------------------------------------------------------------------ counters */

/* What one client request adds to the counters of its zone, once, when it is logged. */
typedef struct prv_tally {
    prv_gate gate;        /* the first gate that closed */
    bool ask;             /* ... with a question */
    uint8_t row;
    uint32_t cookies;     /* removed from the request, by the last location that edited it */
    uint32_t set_cookies; /* removed from the answer: the binding counts each PRV_DROP that it carried out */
} prv_tally;

/*
 * Counts one client request: rules and decision of the location that answered. `set_cookies` are the answer's fields before
 * editing, for report mode, which removes none; may be none. Locations with privacy off and endpoints count nothing. A handful of
 * relaxed additions; nothing is allocated.
 */
void prv_tally_count(const prv_request *rq, const prv_rules *rules, const prv_decision *d, const prv_str *set_cookies, size_t n);

/* ------------------------------------------------------------------ variables */

typedef enum prv_var {
    PRV_VAR_PURPOSES,
    PRV_VAR_DENIED,
    PRV_VAR_REASON,
    PRV_VAR_VARIANT,
    PRV_VAR_ID,
    PRV_VAR_AGE,
    PRV_VAR_SIGNALS,
    PRV_VAR_REGION,
    PRV_VAR_STATE,
    PRV_VAR_REMOVED,
    PRV_VAR_UNKNOWN,
    PRV_VAR_ADDR,
    PRV_VAR_REQUEST_URI,
    PRV_VAR_ROWS, /* the row that applied to each purpose, policy order: what `privacyctl explain` shows */
    PRV_VAR_COUNT
} prv_var;

/* `purposes`, `denied`, ...: bindings prepend privacy_ or PRIVACY_ (upper-cased). */
extern const prv_str prv_var_names[PRV_VAR_COUNT];

typedef struct prv_var_input {
    const prv_request *rq;
    const prv_rules *rules;
    const prv_decision *d;
    prv_str addr;               /* client address as text */
    prv_str uri;                /* request target: path and query */
    const prv_str *set_cookies; /* Set-Cookie fields of the answer before editing, for removed and unknown; may be none */
    size_t n_set_cookies;
    const prv_str *scrub;       /* names of privacy_scrub_args */
    size_t n_scrub;
} prv_var_input;
/* The value, from env.alloc or static. Formatted on demand only. */
prv_str prv_variable(prv_var var, const prv_var_input *in);

/* ------------------------------------------------------------------ endpoints (core/rights) */

typedef struct prv_http {       /* the request at an endpoint */
    prv_str method;
    prv_str mount;              /* location prefix, e.g. /privacy/ */
    prv_str path;               /* whole path, decoded by the server */
    prv_str query;              /* without ?; may be empty */
    prv_str host;               /* Host field as sent, with port */
    bool tls;                   /* the client's scheme is https */
    prv_str origin;
    prv_str sec_fetch_site;
    prv_str content_type;
    prv_str accept;
    prv_str accept_language;
    prv_str addr;               /* client address as text */
    prv_region region;
    prv_str body;
    bool body_too_large;        /* more than PRV_BODY_MAX bytes arrived; body is empty */
} prv_http;

typedef struct prv_field {
    prv_str name;
    prv_str value;
} prv_field;

typedef struct prv_response {
    int status;
    size_t n_headers;                     /* Content-Type included, Content-Length not */
    prv_field headers[PRV_HEADERS_MAX];   /* Set-Cookie may stand several times */
    prv_str body;
} prv_response;

typedef struct prv_endpoint prv_endpoint;

/*
 * One call of INTERFACE 4. `rq` is READY. RESPOND: *response is complete. STORE: carry out *op, feed its reply, again
 * at most three times. The endpoint lives in env.alloc memory. NULL rq->site->keys: changes answer 503.
 */
typedef enum prv_ep_step { PRV_EP_RESPOND, PRV_EP_STORE } prv_ep_step;
prv_ep_step prv_endpoint_begin(prv_endpoint **ep, prv_request *rq, const prv_rules *rules, const prv_http *http,
                               prv_op *op, prv_response *response);
prv_ep_step prv_endpoint_feed(prv_endpoint *ep, const prv_reply *reply, prv_op *op, prv_response *response);

/*
 * What is to be written of an account's record without anybody having asked (GPC seen with it, an age that the
 * application told, a refusal that waited for the store, a renewed signature): queued, never waited for. Call until false, once the
 * account is READY and again after prv_request_report_age().
 */
bool prv_account_want(prv_request *rq, prv_op *op);

/* `/.well-known/gpc.json` and `/.well-known/dnt/`; 404 for anything else. */
void prv_well_known(prv_request *rq, const prv_rules *rules, const prv_http *http, prv_response *response);

/* `privacy_status`: what the zone counted, for one whole server process group. */
typedef struct prv_status {
    const prv_env *env;
    prv_zone *zone;               /* may be NULL */
    const prv_site *const *sites; /* those whose policies are named, each policy once */
    size_t n_sites;
    bool store;                   /* one is configured */
} prv_status;
/* Prometheus text (version 0.0.4), or JSON for who accepts application/json. Labels come from the configuration alone, so the
 * size of the body is bounded by it. */
void prv_status_respond(const prv_status *status, const prv_http *http, prv_response *response);

/* ------------------------------------------------------------------ the store client (core/redis) */

/* What a server's event loop gives. All calls, and all callbacks, happen on one thread. */
typedef struct prv_loop {
    void *ctx;
    /* Level-triggered. io_open registers nothing until io_want. NULL: failed. */
    void *(*io_open)(void *ctx, int fd, void (*ready)(void *arg, bool readable, bool writable), void *arg);
    void (*io_want)(void *io, bool read, bool write);
    void (*io_close)(void *io); /* does not close the fd; may be called inside ready() */
    void *(*timer_open)(void *ctx, void (*fire)(void *arg), void *arg);
    void (*timer_set)(void *timer, uint32_t ms); /* (re)arms, one shot; 0 fires on the next turn */
    void (*timer_clear)(void *timer);
    void (*timer_close)(void *timer); /* may be called inside fire() */
    int64_t (*now_ms)(void *ctx);     /* monotonic, the same clock in every process of the machine */
    void (*log)(void *ctx, prv_level level, prv_str line); /* never given a credential */
} prv_loop;

/* What the privacy_store directives say, as read; views live as long as the call. A path that is NULL or empty: none. */
typedef struct prv_store_settings {
    prv_str url;
    prv_str prefix;
    uint32_t timeout_ms;
    uint32_t wait; /* privacy_store_wait: so many replicas have a change before it counts as stored */
    const char *password_file;
    const char *tls_ca, *tls_cert, *tls_key; /* PEM */
} prv_store_settings;

typedef struct prv_store_conf prv_store_conf;
/*
 * `privacy_store` (INTERFACE 1): redis://[user@]host[:port][/db], rediss:// (TLS; hiredis >= 1.0), redis+unix:///path[?db=n],
 * redis+sentinel://[user@]host:port,host:port/master[/db], redis+cluster://[user@]host:port,host:port.
 * Names are resolved and files read here. `off` gives *out = NULL and PRV_OK.
 * The caller frees with prv_store_conf_free().
 */
prv_code prv_store_conf_parse(const prv_store_settings *settings, prv_store_conf **out, prv_error *err);
void prv_store_conf_free(prv_store_conf *conf);

typedef struct prv_store prv_store; /* one client: one loop, one process, one connection to each primary */
typedef struct prv_wait prv_wait;

prv_store *prv_store_open(const prv_store_conf *conf, const prv_loop *loop, prv_zone *zone);
/* Has this process take part in its zone's invalidation link: without it nothing in the cache is authoritative. False: no
 * memory or no zone; requests then read each time. */
bool prv_store_follow(prv_store *store);
/* Calls every outstanding `done` with UNAVAILABLE, then frees. */
void prv_store_close(prv_store *store);

typedef void (*prv_done)(void *arg, const prv_reply *reply);
/*
 * Sends op (copied) and calls done exactly once, at the latest after the configured timeout, never before this
 * returns and never after prv_wait_cancel(). Reads of one key share a flight. NULL: unavailable at once (breaker open,
 * no memory); done is not called.
 */
prv_wait *prv_store_submit(prv_store *store, const prv_op *op, prv_done done, void *arg);
/* The caller no longer cares. Not after done was called. */
void prv_wait_cancel(prv_wait *wait);
/* Sends op for nobody, retried with backoff for up to a minute while the store is unavailable; the queue is bounded,
 * the oldest is dropped with a log line. */
void prv_store_queue(prv_store *store, const prv_op *op);

/* Client address cut to /24 or /48; text in, text from env.alloc out; empty for what is no address. */
prv_str prv_addr_cut(const prv_env *env, prv_str addr);

/* Version of this software, e.g. 0.1.0. */
prv_str prv_version_string(void);

#endif
