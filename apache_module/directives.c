/*
 * The directives. Each checks where it stands and what it says; what needs the whole configuration
 * is noted as a prv_use and judged in check.c. None is allowed in .htaccess, AllowOverrideList
 * included: a site user must not switch a legal control off.
 */
#include "mod_privacy.h"

#include "apr_lib.h"
#include "http_core.h"

#define IN_LOCATION (NOT_IN_LIMIT | NOT_IN_HTACCESS)
#define IN_SERVER (NOT_IN_DIR_LOC_FILE | NOT_IN_LIMIT | NOT_IN_HTACCESS)
#define IN_MAIN (GLOBAL_ONLY | NOT_IN_HTACCESS)

#define PLACE(cmd, where)                                                                          \
    do {                                                                                           \
        const char *misplaced_ = ap_check_cmd_context((cmd), (where));                             \
        if (misplaced_) {                                                                          \
            return misplaced_;                                                                     \
        }                                                                                          \
    } while (0)

/* `privacy_key_file` for PrivacyKeyFile: the length of the core's word for a directive at `text`,
 * or 0. */
static size_t core_word(const char *text, const char *name)
{
    const char *at = text;
    for (const char *c = name; *c; c++) {
        if (c != name && apr_isupper(*c) && *at++ != '_') {
            return 0;
        }
        if (*at++ != (*c | 0x20)) {
            return 0;
        }
    }
    return apr_isalnum(*at) || *at == '_' ? 0 : (size_t)(at - text);
}

const char *prv_httpd_words(apr_pool_t *p, const char *text)
{
    struct iovec piece[3];
    for (const char *at = text; (at = strstr(at, "privacy_")) != NULL; at++) {
        if (at != text && (apr_isalnum(at[-1]) || strchr("/-_.", at[-1]))) {
            continue; /* a file's name */
        }
        for (const command_rec *cmd = prv_commands; cmd->name; cmd++) {
            const size_t n = core_word(at, cmd->name);
            if (n > 0) {
                const size_t before = (size_t)(at - text);
                piece[0] = (struct iovec){(void *)(uintptr_t)text, before};
                piece[1] = (struct iovec){(void *)(uintptr_t)cmd->name, strlen(cmd->name)};
                piece[2] = (struct iovec){(void *)(uintptr_t)(at + n), strlen(at + n)};
                text = apr_pstrcatv(p, piece, 3, NULL);
                at = text + before;
                break;
            }
        }
    }
    return text;
}

static const char *said(cmd_parms *cmd, const prv_error *err)
{
    return apr_pstrcat(cmd->pool, cmd->cmd->name, ": ", prv_httpd_words(cmd->pool, err->text),
                       NULL);
}

/* The arguments as views that live as long as the configuration. */
static prv_str *views(cmd_parms *cmd, int argc, char *const argv[])
{
    prv_str *args = apr_pcalloc(cmd->pool, sizeof(*args) * ((size_t)argc + 1));
    for (int i = 0; i < argc; i++) {
        args[i] = prv_str_of(apr_pstrdup(cmd->pool, argv[i]));
    }
    return args;
}

static prv_use *note_use(cmd_parms *cmd, prv_use_kind kind)
{
    prv_use *use = apr_array_push(prv_uses_of(cmd->pool));
    memset(use, 0, sizeof(*use));
    use->kind = kind;
    use->server = cmd->server;
    use->at = cmd->directive;
    return use;
}

/* ------------------------------------------------------------------ everywhere but .htaccess */

static const char *set_mode(cmd_parms *cmd, void *dir, const char *arg)
{
    static const struct {
        const char *word;
        prv_mode mode;
    } modes[] = {{"off", PRV_MODE_OFF}, {"on", PRV_MODE_ON}, {"report", PRV_MODE_REPORT}};
    PLACE(cmd, IN_LOCATION);
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (ap_cstr_casecmp(arg, modes[i].word) == 0) {
            prv_server_conf *server = prv_server_of(cmd->server);
            prv_mode mode = modes[i].mode;
            ((prv_dir_conf *)dir)->mode = (int)mode;
            if (mode == PRV_MODE_ON ? server->strongest != PRV_MODE_ON
                                    : mode != PRV_MODE_OFF && server->strongest == PRV_MODE_OFF) {
                server->strongest = mode;
                server->strongest_at = cmd->directive;
            }
            return NULL;
        }
    }
    return apr_psprintf(cmd->pool, "Privacy must be off, on or report, not '%s'.", arg);
}

static const char *set_failure(cmd_parms *cmd, void *dir, const char *arg)
{
    PLACE(cmd, IN_LOCATION);
    prv_dir_conf *conf = dir;
    if (ap_cstr_casecmp(arg, "token") == 0) {
        conf->failure_deny = PRV_NO;
    } else if (ap_cstr_casecmp(arg, "deny") == 0) {
        conf->failure_deny = PRV_YES;
    } else {
        return apr_psprintf(cmd->pool, "PrivacyOnStoreFailure must be token or deny, not '%s'.",
                            arg);
    }
    return NULL;
}

/* `%{HTTP:X-Region}`, `%{req:X-Region}`, req('X-Region'), http('X-Region'): the field's name, or
 * NULL. `at` is where the function's name may begin; *next is where to look on. */
static const char *field_read(apr_pool_t *p, const char *text, const char *at, const char **next)
{
    const bool inside = at != text && (apr_isalnum(at[-1]) || at[-1] == '_');
    const size_t n = ap_cstr_casecmpn(at, "http", 4) == 0  ? 4
                     : ap_cstr_casecmpn(at, "req", 3) == 0 ? 3
                                                           : 0;
    *next = at + 1;
    if (n == 0 || inside) {
        return NULL;
    }
    const char *from = at + n;
    if (*from == ':') {
        if (at - text < 2 || at[-1] != '{' || at[-2] != '%') {
            return NULL;
        }
        from++;
    } else {
        from += strspn(from, " \t");
        if (*from++ != '(') {
            return NULL;
        }
        from += strspn(from, " \t");
        if (*from != '\'' && *from != '"') {
            return NULL;
        }
        from++;
    }
    const char *end = from;
    while (apr_isalnum(*end) || *end == '-' || *end == '_' || *end == '.') {
        end++;
    }
    *next = end;
    return end > from ? apr_pstrmemdup(p, from, (size_t)(end - from)) : NULL;
}

static const apr_array_header_t *fields_read(apr_pool_t *p, const char *text)
{
    apr_array_header_t *fields = NULL;
    for (const char *at = text; *at;) {
        const char *name = field_read(p, text, at, &at);
        if (name) {
            fields = fields ? fields : apr_array_make(p, 1, sizeof(name));
            APR_ARRAY_PUSH(fields, const char *) = name;
        }
    }
    return fields;
}

/* NULL, or what is wrong. */
static const char *parse_expression(cmd_parms *cmd, const char *arg, const ap_expr_info_t **expr)
{
    const char *err = NULL;
    *expr = ap_expr_parse_cmd(cmd, arg, AP_EXPR_FLAG_STRING_RESULT | AP_EXPR_FLAG_DONT_VARY, &err,
                              NULL);
    return err ? apr_pstrcat(cmd->pool, cmd->cmd->name, ": the expression cannot be parsed: ", err,
                             NULL)
               : NULL;
}

static const char *set_region(cmd_parms *cmd, void *dir, const char *arg)
{
    PLACE(cmd, IN_LOCATION);
    const char *wrong = parse_expression(cmd, arg, &((prv_dir_conf *)dir)->region);
    if (wrong) {
        return wrong;
    }
    ((prv_dir_conf *)dir)->region_fields = fields_read(cmd->pool, arg);
    return NULL;
}

static const char *set_subject(cmd_parms *cmd, void *dir, const char *arg)
{
    PLACE(cmd, IN_LOCATION);
    const char *wrong = parse_expression(cmd, arg, &((prv_dir_conf *)dir)->subject);
    if (wrong) {
        return wrong;
    }
    if (prv_subject_claimed(prv_str_of(arg)) && ap_state_query(AP_SQ_RUN_MODE) != AP_SQ_RM_NORMAL) {
        ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_WARNING, 0, NULL,
                     "%s:%d: PrivacySubject \"%s\" is what the client itself says: anybody can be "
                     "any account there, unless a proxy in front sets it.",
                     cmd->directive->filename, cmd->directive->line_num, arg);
    }
    prv_server_of(cmd->server)->site.subject = true;
    return NULL;
}

static const char *set_forward(cmd_parms *cmd, void *dir, int on)
{
    PLACE(cmd, IN_LOCATION);
    ((prv_dir_conf *)dir)->forward = on ? PRV_YES : PRV_NO;
    return NULL;
}

static const char *set_scrub(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    PLACE(cmd, IN_LOCATION);
    if (argc == 0) {
        return "PrivacyScrubArgs needs the name of at least one query parameter.";
    }
    apr_array_header_t *names = apr_array_make(cmd->pool, argc, sizeof(prv_str));
    for (int i = 0; i < argc; i++) {
        APR_ARRAY_PUSH(names, prv_str) = prv_str_of(apr_pstrdup(cmd->pool, argv[i]));
    }
    ((prv_dir_conf *)dir)->scrub = names;
    return NULL;
}

/* ------------------------------------------------------------------ locations */

/* The last of two would silently open what the first closes. */
static const char *twice(const cmd_parms *cmd)
{
    return apr_pstrcat(cmd->pool, cmd->cmd->name,
                       " stands twice in this section: a section has one, in one line.", NULL);
}

static const char *set_require(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    PLACE(cmd, IN_LOCATION);
    if (((const prv_dir_conf *)dir)->require) {
        return twice(cmd);
    }
    prv_error err = {0};
    prv_named *named = apr_pcalloc(cmd->pool, sizeof(*named));
    if (prv_require_parse(views(cmd, argc, argv), (size_t)argc, &named->require, &err) != PRV_OK) {
        return said(cmd, &err);
    }
    named->bound = apr_array_make(cmd->pool, 1, sizeof(prv_bound));
    note_use(cmd, PRV_USE_NAMES)->named = named;
    ((prv_dir_conf *)dir)->require = named;
    return NULL;
}

static const char *set_min_age(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    PLACE(cmd, IN_LOCATION);
    prv_error err = {0};
    prv_dir_conf *conf = dir;
    if (conf->min_age) {
        return twice(cmd);
    }
    if (prv_min_age_parse(views(cmd, argc, argv), (size_t)argc, &conf->min_age, &conf->age_answer,
                          &err) != PRV_OK) {
        return said(cmd, &err);
    }
    prv_site_age(&prv_server_of(cmd->server)->site, conf->min_age);
    return NULL;
}

static const char *set_vendor(cmd_parms *cmd, void *dir, const char *arg)
{
    PLACE(cmd, IN_LOCATION);
    if (((const prv_dir_conf *)dir)->vendor) {
        return twice(cmd);
    }
    prv_named *named = apr_pcalloc(cmd->pool, sizeof(*named));
    named->vendor = apr_pstrdup(cmd->pool, arg);
    named->bound = apr_array_make(cmd->pool, 1, sizeof(prv_bound));
    note_use(cmd, PRV_USE_VENDOR)->named = named;
    ((prv_dir_conf *)dir)->vendor = named;
    return NULL;
}

/* The path of the <Location> around the directive with a final slash; NULL when there is none. */
static const char *location_path(cmd_parms *cmd)
{
    const ap_directive_t *section = cmd->directive ? cmd->directive->parent : NULL;
    if (!section || ap_cstr_casecmp(section->directive, "<Location") != 0 ||
        section->args[0] == '~' || !cmd->path || cmd->path[0] != '/') {
        return NULL;
    }
    size_t n = strlen(cmd->path);
    return cmd->path[n - 1] == '/' ? apr_pstrdup(cmd->pool, cmd->path)
                                   : apr_pstrcat(cmd->pool, cmd->path, "/", NULL);
}

static const char *set_endpoint(cmd_parms *cmd, void *dir, int on)
{
    PLACE(cmd, IN_LOCATION);
    prv_dir_conf *conf = dir;
    conf->endpoint = on ? PRV_YES : PRV_NO;
    conf->mount = location_path(cmd);
    if (on) {
        note_use(cmd, PRV_USE_ENDPOINT)->mount = conf->mount;
    }
    return NULL;
}

static const char *set_well_known(cmd_parms *cmd, void *dir, int on)
{
    PLACE(cmd, IN_LOCATION);
    ((prv_dir_conf *)dir)->well_known = on ? PRV_YES : PRV_NO;
    return NULL;
}

static const char *set_status(cmd_parms *cmd, void *dir, int on)
{
    PLACE(cmd, IN_LOCATION);
    ((prv_dir_conf *)dir)->status = on ? PRV_YES : PRV_NO;
    return NULL;
}

/* ------------------------------------------------------------------ servers */

static const char *set_policy(cmd_parms *cmd, void *dir, const char *arg)
{
    (void)dir;
    PLACE(cmd, IN_SERVER);
    prv_error err = {0};
    const char *path = ap_server_root_relative(cmd->pool, arg);
    prv_policies *set = prv_policies_of(cmd->pool);
    if (!path || !set) {
        return apr_psprintf(cmd->pool, "PrivacyPolicy: '%s' is no usable path.", arg);
    }
    if (prv_policies_load(set, path, &prv_server_of(cmd->server)->policy, &err) != PRV_OK) {
        return said(cmd, &err);
    }
    return NULL;
}

static apr_status_t keys_cleanup(void *keys)
{
    prv_keyring_free(keys);
    return APR_SUCCESS;
}

static const char *set_key_file(cmd_parms *cmd, void *dir, const char *arg)
{
    (void)dir;
    PLACE(cmd, IN_SERVER);
    prv_error err = {0};
    prv_keyring *keys = NULL;
    const char *path = ap_server_root_relative(cmd->pool, arg);
    if (!path) {
        return apr_psprintf(cmd->pool, "PrivacyKeyFile: '%s' is no usable path.", arg);
    }
    if (prv_keyring_load(path, &keys, &err) != PRV_OK) {
        return said(cmd, &err);
    }
    apr_pool_cleanup_register(cmd->pool, keys, keys_cleanup, apr_pool_cleanup_null);
    prv_server_of(cmd->server)->keys = keys;
    return NULL;
}

static const char *set_cookie(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    (void)dir;
    PLACE(cmd, IN_SERVER);
    prv_error err = {0};
    prv_cookie_conf *cookie = apr_pcalloc(cmd->pool, sizeof(*cookie));
    prv_cookie_conf_init(cookie);
    if (prv_cookie_conf_parse(views(cmd, argc, argv), (size_t)argc, cookie, &err) != PRV_OK) {
        return said(cmd, &err);
    }
    prv_server_of(cmd->server)->cookie = cookie;
    return NULL;
}

static const char *set_home(cmd_parms *cmd, void *dir, const char *arg)
{
    (void)dir;
    PLACE(cmd, IN_SERVER);
    prv_error err = {0};
    prv_str home = PRV_NONE;
    if (prv_home_parse(prv_str_of(apr_pstrdup(cmd->pool, arg)), &home, &err) != PRV_OK) {
        return said(cmd, &err);
    }
    prv_server_of(cmd->server)->home = apr_pstrmemdup(cmd->pool, home.p, home.n);
    return NULL;
}

static const char *set_limit(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    (void)dir;
    PLACE(cmd, IN_SERVER);
    prv_error err = {0};
    prv_limit_conf *limit = apr_pcalloc(cmd->pool, sizeof(*limit));
    prv_limit_conf_init(limit);
    if (prv_limit_parse(views(cmd, argc, argv), (size_t)argc, limit, &err) != PRV_OK) {
        return said(cmd, &err);
    }
    prv_server_of(cmd->server)->limit = limit;
    return NULL;
}

/* ------------------------------------------------------------------ the main server */

static const char *set_zone(cmd_parms *cmd, void *dir, const char *arg)
{
    (void)dir;
    PLACE(cmd, IN_MAIN);
    prv_error err = {0};
    prv_str name = PRV_NONE;
    if (prv_zone_parse(prv_str_of(arg), &name, &prv_server_of(cmd->server)->zone_bytes, &err) !=
        PRV_OK) {
        return said(cmd, &err);
    }
    return NULL;
}

static const char *set_store(cmd_parms *cmd, void *dir, const char *arg)
{
    (void)dir;
    PLACE(cmd, IN_MAIN);
    prv_server_conf *server = prv_server_of(cmd->server);
    server->store_url = apr_pstrdup(cmd->pool, arg);
    server->store_at = cmd->directive;
    return NULL;
}

/* A file of the store; cmd->info is the place of its name in prv_server_conf. */
static const char *set_store_file(cmd_parms *cmd, void *dir, const char *arg)
{
    (void)dir;
    PLACE(cmd, IN_MAIN);
    prv_server_conf *server = prv_server_of(cmd->server);
    const char *path = ap_server_root_relative(cmd->pool, arg);
    if (!path) {
        return apr_psprintf(cmd->pool, "%s: '%s' is no usable path.", cmd->cmd->name, arg);
    }
    *(const char **)(void *)((char *)server + (apr_uintptr_t)cmd->info) = path;
    if (!server->store_at) {
        server->store_at = cmd->directive; /* where a mistake is, unless PrivacyStore follows */
    }
    return NULL;
}

static const char *set_timeout(cmd_parms *cmd, void *dir, const char *arg)
{
    (void)dir;
    PLACE(cmd, IN_MAIN);
    prv_error err = {0};
    if (prv_timeout_parse(prv_str_of(arg), &prv_server_of(cmd->server)->timeout_ms, &err) !=
        PRV_OK) {
        return said(cmd, &err);
    }
    return NULL;
}

static const char *set_store_wait(cmd_parms *cmd, void *dir, const char *arg)
{
    (void)dir;
    PLACE(cmd, IN_MAIN);
    prv_error err = {0};
    if (prv_store_wait_parse(prv_str_of(arg), &prv_server_of(cmd->server)->store_wait, &err) !=
        PRV_OK) {
        return said(cmd, &err);
    }
    return NULL;
}

static const char *set_prefix(cmd_parms *cmd, void *dir, const char *arg)
{
    (void)dir;
    PLACE(cmd, IN_MAIN);
    prv_error err = {0};
    prv_str prefix = PRV_NONE;
    if (prv_prefix_parse(prv_str_of(apr_pstrdup(cmd->pool, arg)), &prefix, &err) != PRV_OK) {
        return said(cmd, &err);
    }
    prv_server_of(cmd->server)->prefix = apr_pstrmemdup(cmd->pool, prefix.p, prefix.n);
    return NULL;
}

/* ------------------------------------------------------------------ the table */

#define ANY (RSRC_CONF | ACCESS_CONF)
#define LOCATION ACCESS_CONF
#define SERVER RSRC_CONF
#define ONE(name, fn, where, help) AP_INIT_TAKE1(name, fn, NULL, where, help)
#define LIST(name, fn, where, help) AP_INIT_TAKE_ARGV(name, fn, NULL, where, help)
#define STORE_FILE(field) (void *)APR_OFFSETOF(prv_server_conf, field)
#define SWITCH(name, fn, where, help) AP_INIT_FLAG(name, fn, NULL, where, help)

const command_rec prv_commands[] = {
    ONE("Privacy", set_mode, ANY, "off, on or report"),
    ONE("PrivacyPolicy", set_policy, SERVER, "the policy file (JSON)"),
    ONE("PrivacyKeyFile", set_key_file, SERVER, "the key file, readable by its owner only"),
    LIST("PrivacyCookie", set_cookie, SERVER,
         "name [domain=D] [path=/] [samesite=Lax] [secure=on|off]"),
    ONE("PrivacyZone", set_zone, SERVER, "name:size of the shared memory, e.g. privacy:16m"),
    ONE("PrivacyStore", set_store, SERVER, "off, or the URL of the Redis server"),
    AP_INIT_TAKE1("PrivacyStorePasswordFile", set_store_file, STORE_FILE(password_file), SERVER,
                  "file with the password of the store"),
    AP_INIT_TAKE1("PrivacyStoreTlsCa", set_store_file, STORE_FILE(tls_ca), SERVER,
                  "file with the authorities (PEM) that vouch for the store"),
    AP_INIT_TAKE1("PrivacyStoreTlsCert", set_store_file, STORE_FILE(tls_cert), SERVER,
                  "file with the certificate (PEM) that the store is shown"),
    AP_INIT_TAKE1("PrivacyStoreTlsKey", set_store_file, STORE_FILE(tls_key), SERVER,
                  "file with the key (PEM) of that certificate"),
    ONE("PrivacyStoreWait", set_store_wait, SERVER,
        "replicas that must have a grant before it is acknowledged"),
    ONE("PrivacyStoreTimeout", set_timeout, SERVER, "how long one request may wait, e.g. 50ms"),
    ONE("PrivacyStorePrefix", set_prefix, SERVER, "what each key begins with, e.g. privacy:"),
    ONE("PrivacyOnStoreFailure", set_failure, ANY, "token or deny"),
    ONE("PrivacyRegion", set_region, ANY, "expression that gives the ISO 3166 region"),
    ONE("PrivacySubject", set_subject, ANY, "expression that gives the logged-in account"),
    LIST("PrivacyRequire", set_require, LOCATION, "purpose... [status=N|redirect=/path]"),
    LIST("PrivacyMinAge", set_min_age, LOCATION, "years or policy [status=N|redirect=/path]"),
    ONE("PrivacyVendor", set_vendor, LOCATION, "the vendor that this location forwards to"),
    ONE("PrivacyHome", set_home, SERVER, "where the endpoints are mounted, e.g. /privacy/"),
    SWITCH("PrivacyEndpoint", set_endpoint, LOCATION, "On: the visitor's endpoints are here"),
    SWITCH("PrivacyWellKnown", set_well_known, LOCATION,
           "On: serve /.well-known/gpc.json and /.well-known/dnt/"),
    SWITCH("PrivacyStatus", set_status, LOCATION, "On: show what was counted, for Prometheus"),
    LIST("PrivacyLimit", set_limit, SERVER, "off, or a rate such as 30r/m burst=30"),
    SWITCH("PrivacyForward", set_forward, ANY, "On: send Privacy-Consent and Privacy-Age upstream"),
    LIST("PrivacyScrubArgs", set_scrub, ANY, "query parameters replaced in PRIVACY_REQUEST_URI"),
    {NULL, {NULL}, NULL, 0, RAW_ARGS, NULL}};
