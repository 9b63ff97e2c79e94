/*
 * The compiled policy (INTERFACE 2): immutable, one allocation arena, shared by pointer. Only core folders
 * include this; bindings see the opaque prv_policy of privacy.h.
 */
#ifndef PRV_POLICY_H
#define PRV_POLICY_H

#include "../privacy.h"

#define PRV_ROWS 16 /* rows 1..15 of the decision table (INTERFACE 3); 0 unused */
typedef enum prv_row {
    PRV_ROW_OFF = 1,
    PRV_ROW_BASIS_FIRM = 2,
    PRV_ROW_UNAVAILABLE = 3,
    PRV_ROW_ANONYMOUS = 4,
    PRV_ROW_RESTRICTED = 5,
    PRV_ROW_AGE = 6,
    PRV_ROW_REFUSED = 7,
    PRV_ROW_GPC = 8,
    PRV_ROW_DNT = 9,
    PRV_ROW_MANAGER_DENIES = 10, /* this and the next are other consent managers', which this version does not read */
    PRV_ROW_GRANTED = 11,
    PRV_ROW_MANAGER_ALLOWS = 12,
    PRV_ROW_BASIS = 13,
    PRV_ROW_DEFAULT = 14,
    PRV_ROW_NONE = 15
} prv_row;

static inline bool prv_row_allows(unsigned row)
{
    return (1u << row & (1u << PRV_ROW_BASIS_FIRM | 1u << PRV_ROW_GRANTED | 1u << PRV_ROW_MANAGER_ALLOWS |
                         1u << PRV_ROW_BASIS | 1u << PRV_ROW_DEFAULT)) != 0;
}

typedef enum prv_basis {
    PRV_BASIS_CONTRACT,
    PRV_BASIS_LEGAL_OBLIGATION,
    PRV_BASIS_VITAL_INTERESTS,
    PRV_BASIS_PUBLIC_TASK,
    PRV_BASIS_LEGITIMATE_INTERESTS,
    PRV_BASIS_CONSENT
} prv_basis;

typedef enum prv_listen { PRV_LISTEN_IGNORE, PRV_LISTEN_DENY, PRV_LISTEN_YIELD } prv_listen;

/* Text by language: parallel arrays, BCP 47 tags in lower case. */
typedef struct prv_texts {
    size_t n;
    const prv_str *lang;
    const prv_str *text;
} prv_texts;

typedef struct prv_purpose {
    prv_str name;
    uint16_t hash;         /* prv_purpose_hash(name); unique within a policy */
    prv_basis basis;
    bool objection;        /* default true; meaningful for legitimate interests and public task */
    bool off;
    bool subject_required;
    bool sale;
    prv_listen gpc;
    prv_listen dnt;
    uint32_t since;        /* prv_version; default: the policy's own since, else its version */
    prv_str exempt;
    prv_texts title;
    prv_texts description;
    prv_str member[PRV_ROWS]; /* of Privacy-Consent, by row: `, name` or `, name=?0;r=reason`; empty where it says nothing */
} prv_purpose;

typedef struct prv_vendor {
    prv_str name;
    uint8_t purpose;
    bool off;
    uint32_t since;
    prv_str title, location, safeguard;
    size_t n_regions;      /* 0: every region, the unknown one included */
    const prv_region *regions;
    size_t n_hosts;
    const prv_str *hosts;
} prv_vendor;

typedef struct prv_cookie_rule {
    prv_str name;          /* without the trailing `*` */
    bool prefix;
    uint8_t purpose;
    int vendor;            /* index or -1 */
    prv_str life;          /* as written; empty */
    prv_texts about;
} prv_cookie_rule;

typedef enum prv_unknown { PRV_UNKNOWN_REPORT, PRV_UNKNOWN_ALLOW, PRV_UNKNOWN_DENY } prv_unknown;

typedef struct prv_jurisdiction {
    prv_str name;
    bool allow;            /* default: "allow" */
    bool opt_in;           /* notice; missing: opt-in if default is deny */
    size_t n_regions;
    const prv_region *regions;
} prv_jurisdiction;

typedef struct prv_age_region {
    prv_region region;
    uint8_t age;
} prv_age_region;

typedef struct prv_lifetimes { /* seconds */
    int64_t choice, refusal, maximum, history, age, requests;
} prv_lifetimes;

struct prv_policy {
    void *arena;           /* everything below points into it */
    uint64_t digest;       /* of the file's bytes, FNV-1a 64; never 0 but for the empty policy */
    prv_str id, version_text, since_text, effective, url, controller, contact, storage_region, link;
    uint32_t version;      /* prv_version */
    uint32_t since;
    size_t n_authority;
    const prv_field *authority; /* region or "*" -> URL */
    size_t n_purposes;
    const prv_purpose *purposes;
    uint32_t row2;         /* purposes that row 2 allows */
    uint32_t off;
    uint32_t consent;      /* basis consent */
    uint32_t objectable;   /* legitimate interests or public task with objection */
    uint32_t listens_gpc, listens_dnt; /* deny or yield */
    uint32_t obeys_gpc, obeys_dnt; /* deny */
    uint32_t sale;
    uint32_t subject_required;
    uint32_t interest;     /* legitimate interests or public task */
    uint32_t since_latest; /* of the purposes: a choice of this version or later counts for all of them */
    size_t members_max;    /* bytes of all purposes' longest members */
    size_t n_vendors;
    const prv_vendor *vendors;
    size_t n_cookies;
    const prv_cookie_rule *cookies;
    const void *cookie_index; /* private to cookies.c: one lookup per name */
    prv_unknown unknown_cookies;
    size_t n_jurisdictions;
    const prv_jurisdiction *jurisdictions; /* the last one is `*` */
    bool has_age;
    uint8_t age_minimum, age_unknown, age_sale; /* 0: not given */
    size_t n_age_regions;
    const prv_age_region *age_regions;
    prv_lifetimes lifetimes;
    size_t n_strings;      /* per language overrides: strings.LANG.KEY */
    const struct prv_string {
        prv_str lang, key, text;
    } *strings;
    size_t n_warnings;
    const prv_str *warnings;
    prv_str source_text;   /* the file as read, for `privacy:policy:{SHA256}` later and `policy show` */
};

/* Enters a purpose, whose place is `bit`, in the masks and since_latest, which prv_decide() goes by. */
void prv_policy_mark(prv_policy *policy, const prv_purpose *p, uint32_t bit);
/* FNV-1a 32 folded to 16 bits by xor of its halves. */
uint16_t prv_purpose_hash(prv_str name);
/* YYYY-MM-DD[.n] (n 1..255) to an ordered number: ((y*16+m)*32+d)*256+n; 0: malformed. */
uint32_t prv_version_parse(prv_str text);
/* The reverse; writes at most 15 bytes, returns the length; 0 for version 0. */
size_t prv_version_format(uint32_t version, char out[16]);
/* "182d", "5y", "12h", "30m", "10s" (y = 365 d) to seconds; -1: malformed. */
int64_t prv_duration_parse(prv_str text);
/* The rule for a cookie name: exact before prefix, the longest prefix; NULL: in no list. One lookup, no allocation. */
const prv_cookie_rule *prv_policy_cookie(const prv_policy *policy, prv_str name);
/* Index of the jurisdiction; longest match wins; unknown region and no match: `*`. */
size_t prv_policy_jurisdiction(const prv_policy *policy, prv_region region);
/* Effective minimum age: max(minimum, entry); known region without entry: minimum, in opt-in jurisdictions
 * unknown_region; unknown region: unknown_region. 0: the policy has no ages. */
unsigned prv_policy_age_min(const prv_policy *policy, prv_region region);
/* US covers US-CA. */
bool prv_region_covers(prv_region outer, prv_region inner);
/* Best text for an Accept-Language (or a plain tag) with fallback en, then the first; empty: none. */
prv_str prv_texts_pick(const prv_texts *texts, prv_str accept_language);
/* The policy, purposes, vendors and cookies in force as JSON (GET policy, `privacyctl policy show`); malloc'ed by
 * jansson, NUL-terminated, freed with free(); NULL: no memory. */
char *prv_policy_json(const prv_policy *policy);

/* FNV-1a 64, in steps: begin with PRV_FNV64_SEED. */
uint64_t prv_fnv64(uint64_t seed, prv_str bytes);
#define PRV_FNV64_SEED 14695981039346656037ull

#endif
