/* What the configuration as written tells: a cache in front of the gate, and who reads our
 * variables. */
#include "mod_privacy.h"

/* ------------------------------------------------------------------ mod_cache's quick handler */

typedef struct quick_scope {
    const ap_directive_t *cache; /* the first CacheEnable */
    const ap_directive_t *quick; /* the last CacheQuickHandler */
} quick_scope;

/* Everything below `node` and its successors, virtual hosts aside. */
static void scan_quick(const ap_directive_t *node, quick_scope *scope)
{
    for (; node; node = node->next) {
        if (ap_cstr_casecmp(node->directive, "CacheEnable") == 0) {
            scope->cache = scope->cache ? scope->cache : node;
        } else if (ap_cstr_casecmp(node->directive, "CacheQuickHandler") == 0) {
            scope->quick = node;
        } else if (ap_cstr_casecmp(node->directive, "<VirtualHost") != 0) {
            scan_quick(node->first_child, scope);
        }
    }
}

static bool quick_conflict(const prv_server_conf *conf, const quick_scope *scope)
{
    if (conf->strongest != PRV_MODE_ON || !scope->cache ||
        (scope->quick && ap_cstr_casecmp(scope->quick->args, "off") == 0)) {
        return false;
    }
    ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_ERR, 0, NULL,
                 "%s:%d: CacheEnable where Privacy is on needs 'CacheQuickHandler off': else what "
                 "is cached is served before the gate can look.",
                 scope->cache->filename, scope->cache->line_num);
    return true;
}

static server_rec *host_of(const ap_directive_t *node, server_rec *main_server)
{
    for (server_rec *s = main_server->next; s; s = s->next) {
        if (s->defn_name && s->defn_line_number == (unsigned)node->line_num &&
            strcmp(s->defn_name, node->filename) == 0) {
            return s;
        }
    }
    return NULL;
}

bool prv_check_quick_cache(server_rec *main_server)
{
    quick_scope outer = {NULL, NULL};
    scan_quick(ap_conftree, &outer);
    if (quick_conflict(prv_server_of(main_server), &outer)) {
        return false;
    }
    for (const ap_directive_t *node = ap_conftree; node; node = node->next) {
        if (ap_cstr_casecmp(node->directive, "<VirtualHost") == 0) {
            quick_scope scope = outer;
            const server_rec *s = host_of(node, main_server);
            scan_quick(node->first_child, &scope);
            if (quick_conflict(prv_server_of(s ? s : main_server), &scope)) {
                return false;
            }
        }
    }
    return true;
}

/* ------------------------------------------------------------------ variables */

static bool mentions(const char *text, const char *name)
{
    size_t n = strlen(name);
    for (; *text; text++) {
        if (ap_cstr_casecmpn(text, name, n) == 0) {
            return true;
        }
    }
    return false;
}

static uint32_t variables_in(const char *args, const prv_shared *shared)
{
    uint32_t bits = 0;
    if (!mentions(args, "PRIVACY_")) {
        return 0;
    }
    for (unsigned i = 0; i < PRV_VAR_COUNT; i++) {
        bits |= mentions(args, shared->env_names[i]) ? UINT32_C(1) << i : 0;
    }
    return bits ? bits : PRV_VARS_ALL; /* a pattern of names */
}

static void scan_variables(const ap_directive_t *node, prv_shared *shared)
{
    for (; node; node = node->next) {
        const char *args = node->args ? node->args : "";
        shared->env_wanted |= variables_in(args, shared);
        if (mentions(args, "Privacy-Consent") || mentions(args, "Privacy-Age")) {
            shared->consent_wanted = true;
        }
        scan_variables(node->first_child, shared);
    }
}

void prv_scan_variables(prv_shared *shared)
{
    scan_variables(ap_conftree, shared);
}
