/* `privacy_store` and its password file. Messages never show the URL: it may hold what should not
 * be in it. */
#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FORMS                                                                                      \
    "redis://[user@]host[:port][/db], rediss:// (TLS) in the same form, "                          \
    "redis+unix:///path[?db=n], redis+sentinel://host:port,host:port/name or "                     \
    "redis+cluster://host:port,host:port"
#define DB_MAX 65535u /* Redis has 16 unless told otherwise */
#define HOST_MAX 255

__attribute__((format(printf, 3, 4))) static prv_code refuse(prv_error *err, prv_code code,
                                                             const char *form, ...)
{
    if (err != NULL) {
        va_list ap;
        va_start(ap, form);
        vsnprintf(err->text, sizeof err->text, form, ap);
        va_end(ap);
        err->code = code;
        err->line = err->column = 0;
    }
    return code;
}

static bool str_starts(prv_str s, const char *with, prv_str *rest)
{
    size_t n = strlen(with);
    if (s.n < n || memcmp(s.p, with, n) != 0)
        return false;
    *rest = (prv_str){s.p + n, s.n - n};
    return true;
}

/* Splits `s` at the first `c`: false, and all of it in *left, if there is none. */
static bool str_cut(prv_str s, char c, prv_str *left, prv_str *right)
{
    const char *at = s.n > 0 ? memchr(s.p, c, s.n) : NULL;
    *left = s;
    *right = PRV_NONE;
    if (at == NULL)
        return false;
    *left = (prv_str){s.p, (size_t)(at - s.p)};
    *right = (prv_str){at + 1, s.n - left->n - 1};
    return true;
}

static bool str_number(prv_str s, unsigned max, unsigned *out)
{
    unsigned n = 0;
    if (s.n == 0 || s.n > 5)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        n = n * 10 + (unsigned)(s.p[i] - '0');
    }
    *out = n;
    return n <= max;
}

static bool str_put(prv_str s, char *out, size_t cap)
{
    if (s.n >= cap || (s.n > 0 && memchr(s.p, '\0', s.n) != NULL))
        return false;
    if (s.n > 0)
        memcpy(out, s.p, s.n);
    out[s.n] = '\0';
    return true;
}

/* `user@` at the front of *rest. */
static prv_code parse_user(prv_str *rest, prv_store_conf *conf, prv_error *err)
{
    const char *at = rest->n > 0 ? memrchr(rest->p, '@', rest->n) : NULL;
    if (at == NULL)
        return PRV_OK;
    prv_str user = {rest->p, (size_t)(at - rest->p)};
    *rest = (prv_str){at + 1, rest->n - user.n - 1};
    if (user.n > 0 && memchr(user.p, ':', user.n) != NULL)
        return refuse(err, PRV_ERR_VALUE,
                      "a password does not belong into privacy_store; put it into a file that only "
                      "its owner may read and name that with privacy_store_password_file");
    for (size_t i = 0; i < user.n; i++) {
        if (user.p[i] <= ' ' || user.p[i] >= 127 || strchr("@/%?#", user.p[i]) != NULL)
            return refuse(err, PRV_ERR_SYNTAX,
                          "the user in privacy_store has a character that is not allowed there");
    }
    if (user.n == 0 || !str_put(user, conf->user, sizeof conf->user))
        return refuse(err, PRV_ERR_SYNTAX, "the user in privacy_store must have 1 to %d characters",
                      PRV_STORE_NAME_MAX);
    conf->auth = true;
    return PRV_OK;
}

static prv_code resolve(const char *host, prv_peer *peer, prv_error *err)
{
    struct addrinfo *list = NULL;
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    int rc = getaddrinfo(host, NULL, &hints, &list);
    if (rc != 0)
        return refuse(err, PRV_ERR_VALUE, "host `%s` of privacy_store cannot be resolved: %s", host,
                      gai_strerror(rc));
    for (struct addrinfo *a = list; a != NULL && peer->n_addrs < PRV_STORE_ADDRS; a = a->ai_next) {
        if (getnameinfo(a->ai_addr, a->ai_addrlen, peer->addrs[peer->n_addrs], PRV_STORE_ADDR_MAX,
                        NULL, 0, NI_NUMERICHOST) == 0)
            peer->n_addrs++;
    }
    freeaddrinfo(list);
    return peer->n_addrs > 0
               ? PRV_OK
               : refuse(err, PRV_ERR_VALUE, "host `%s` of privacy_store has no address", host);
}

/* `host`, `host:port` or `[v6]:port` */
static bool split_host(prv_str authority, prv_str *host, prv_str *port, bool *has_port)
{
    if (authority.n > 0 && authority.p[0] == '[') {
        prv_str rest;
        if (!str_cut(authority, ']', host, &rest) || (rest.n > 0 && rest.p[0] != ':'))
            return false;
        *host = (prv_str){host->p + 1, host->n - 1};
        *has_port = rest.n > 0;
        *port = rest.n > 0 ? (prv_str){rest.p + 1, rest.n - 1} : PRV_NONE;
        return true;
    }
    *has_port = str_cut(authority, ':', host, port);
    return *has_port == false || memchr(port->p, ':', port->n) == NULL;
}

/* One `host[:port]` as the next seed; `name` gets the host. */
static prv_code parse_seed(prv_str authority, unsigned number, prv_store_conf *conf,
                           char name[HOST_MAX + 1], prv_error *err)
{
    prv_str host, port;
    bool has_port = false;
    if (!split_host(authority, &host, &port, &has_port) || host.n == 0 ||
        !str_put(host, name, HOST_MAX + 1) || strpbrk(name, "?#%@ ,/") != NULL)
        return refuse(err, PRV_ERR_SYNTAX, "privacy_store must have the form " FORMS);
    if (has_port && (!str_number(port, 65535, &number) || number == 0))
        return refuse(err, PRV_ERR_SYNTAX,
                      "the port in privacy_store must be a number from 1 to 65535");
    if (conf->n_seeds == PRV_SEEDS_MAX)
        return refuse(err, PRV_ERR_VALUE, "privacy_store names more than %d hosts", PRV_SEEDS_MAX);
    prv_peer *peer = &conf->seeds[conf->n_seeds++];
    peer->port = (int)number;
    bool v6 = strchr(name, ':') != NULL;
    snprintf(peer->label, sizeof peer->label, v6 ? "[%s]:%u" : "%s:%u", name, number);
    return resolve(name, peer, err);
}

static prv_code parse_db(prv_str db, prv_store_conf *conf, prv_error *err)
{
    if (db.n == 0 || str_number(db, DB_MAX, &conf->db))
        return PRV_OK;
    return refuse(err, PRV_ERR_SYNTAX,
                  "the database in privacy_store must be a number from 0 to %u", DB_MAX);
}

static prv_code parse_tcp(prv_str rest, const prv_store_settings *tls, prv_store_conf *conf,
                          prv_error *err)
{
    char name[HOST_MAX + 1];
    prv_str authority = PRV_NONE, db;
    prv_code rc = parse_user(&rest, conf, err);
    if (rc == PRV_OK) {
        str_cut(rest, '/', &authority, &db);
        rc = parse_db(db, conf, err);
    }
    if (rc == PRV_OK)
        rc = parse_seed(authority, 6379, conf, name, err);
    if (rc == PRV_OK && tls != NULL)
        rc = prv_tls_open(tls, name, &conf->tls, err);
    conf->seeds[0].tls = conf->tls;
    if (rc == PRV_OK)
        snprintf(conf->label, sizeof conf->label, "%.*s", (int)sizeof conf->label - 1,
                 conf->seeds[0].label);
    return rc;
}

static prv_code parse_seeds(prv_str list, unsigned port, prv_store_conf *conf, prv_error *err)
{
    char name[HOST_MAX + 1];
    prv_code rc = PRV_OK;
    prv_str one;
    for (bool more = true; more && rc == PRV_OK;) {
        more = str_cut(list, ',', &one, &list);
        rc = parse_seed(one, port, conf, name, err);
    }
    return rc;
}

/* What Sentinel accepts for a name. */
static bool is_master_name(const char *name)
{
    for (; *name != '\0'; name++) {
        if (strchr("._-", *name) == NULL && !(*name >= '0' && *name <= '9') &&
            !(*name >= 'A' && *name <= 'Z') && !(*name >= 'a' && *name <= 'z'))
            return false;
    }
    return true;
}

static prv_code parse_sentinel(prv_str rest, prv_store_conf *conf, prv_error *err)
{
    prv_str hosts, master, db;
    prv_code rc = parse_user(&rest, conf, err);
    if (rc != PRV_OK)
        return rc;
    conf->topology = PRV_SENTINEL;
    str_cut(rest, '/', &hosts, &master);
    str_cut(master, '/', &master, &db);
    if (master.n == 0 || !str_put(master, conf->master, sizeof conf->master) ||
        !is_master_name(conf->master))
        return refuse(err, PRV_ERR_SYNTAX,
                      "privacy_store must name the primary as the sentinels know it: "
                      "redis+sentinel://host:port,host:port/name, at most %d letters, digits, "
                      "dots, dashes and underscores",
                      PRV_STORE_NAME_MAX);
    rc = parse_db(db, conf, err);
    if (rc == PRV_OK)
        rc = parse_seeds(hosts, 26379, conf, err);
    if (rc == PRV_OK)
        snprintf(conf->label, sizeof conf->label, "`%s` (as sentinels know it)", conf->master);
    return rc;
}

static prv_code parse_cluster(prv_str rest, prv_store_conf *conf, prv_error *err)
{
    prv_str hosts, db;
    prv_code rc = parse_user(&rest, conf, err);
    if (rc != PRV_OK)
        return rc;
    conf->topology = PRV_CLUSTER;
    if (str_cut(rest, '/', &hosts, &db) && db.n > 0)
        return refuse(err, PRV_ERR_SYNTAX,
                      "a cluster has one database: nothing may stand behind the hosts in "
                      "redis+cluster://");
    rc = parse_seeds(hosts, 6379, conf, err);
    if (rc == PRV_OK)
        snprintf(conf->label, sizeof conf->label, "the cluster of %.*s",
                 (int)sizeof conf->label - 32, conf->seeds[0].label);
    return rc;
}

static prv_code parse_unix(prv_str rest, prv_store_conf *conf, prv_error *err)
{
    prv_str path, query, db;
    bool has_query = str_cut(rest, '?', &path, &query);
    prv_str after = path;
    if (path.n > 0 && path.p[0] != '/') {
        prv_code rc = parse_user(&after, conf, err);
        if (rc != PRV_OK)
            return rc;
    }
    if (has_query && (!str_starts(query, "db=", &db) || !str_number(db, DB_MAX, &conf->db)))
        return refuse(err, PRV_ERR_SYNTAX,
                      "behind `?` in privacy_store only db=n with n from 0 to %u is known", DB_MAX);
    if (after.n < 2 || after.p[0] != '/')
        return refuse(err, PRV_ERR_SYNTAX,
                      "the socket in privacy_store must be an absolute path: redis+unix:///path");
    prv_peer *peer = &conf->seeds[conf->n_seeds++];
    if (!str_put(after, peer->path, sizeof peer->path))
        return refuse(err, PRV_ERR_VALUE,
                      "the path of the socket in privacy_store is longer than %d bytes",
                      PRV_STORE_PATH_MAX - 1);
    memcpy(peer->label, peer->path, sizeof peer->path);
    memcpy(conf->label, peer->path, sizeof peer->path);
    return PRV_OK;
}

/* TLS is for hiredis 1.0 and later; what is older is refused in words. */
static prv_code check_tls(const prv_store_settings *settings, prv_error *err)
{
    const struct {
        const char *directive;
        const char *value;
    } files[] = {
        {"privacy_store_tls_ca", settings->tls_ca},
        {"privacy_store_tls_cert", settings->tls_cert},
        {"privacy_store_tls_key", settings->tls_key},
    };
    prv_str rest;
    bool wanted = str_starts(settings->url, "rediss", &rest);
    const char *what = wanted ? "privacy_store with rediss://" : NULL;
    for (size_t i = 0; i < sizeof files / sizeof *files && what == NULL; i++) {
        if (files[i].value != NULL && files[i].value[0] != '\0')
            what = files[i].directive;
    }
    if (what == NULL)
        return PRV_OK;
#if HIREDIS_MAJOR < 1
    return refuse(err, PRV_ERR_UNSUPPORTED,
                  "%s: TLS needs hiredis 1.0 or later, and this is built with %d.%d.%d; use a Unix "
                  "socket (redis+unix://) or a tunnel that ends on this machine",
                  what, HIREDIS_MAJOR, HIREDIS_MINOR, HIREDIS_PATCH);
#else
    if (!wanted)
        return refuse(err, PRV_ERR_VALUE,
                      "%s is for a privacy_store that begins with rediss://; this one would not "
                      "be encrypted",
                      what);
    return PRV_OK;
#endif
}

static prv_code parse_url(const prv_store_settings *settings, prv_store_conf *conf, prv_error *err)
{
    static const struct {
        const char *scheme;
        const char *what;
    } later[] = {
        {"rediss+sentinel://", "TLS with Sentinel (rediss+sentinel://)"},
        {"rediss+cluster://", "TLS with Cluster (rediss+cluster://)"},
    };
    prv_str rest, url = settings->url;
    for (size_t i = 0; i < sizeof later / sizeof *later; i++) {
        if (str_starts(url, later[i].scheme, &rest))
            return refuse(err, PRV_ERR_UNSUPPORTED,
                          "privacy_store: %s is not supported in this version", later[i].what);
    }
    if (str_starts(url, "redis://", &rest))
        return parse_tcp(rest, NULL, conf, err);
    if (str_starts(url, "rediss://", &rest))
        return parse_tcp(rest, settings, conf, err);
    if (str_starts(url, "redis+unix://", &rest))
        return parse_unix(rest, conf, err);
    if (str_starts(url, "redis+sentinel://", &rest))
        return parse_sentinel(rest, conf, err);
    if (str_starts(url, "redis+cluster://", &rest))
        return parse_cluster(rest, conf, err);
    return refuse(err, PRV_ERR_SYNTAX, "privacy_store must be off, " FORMS);
}

static prv_code read_first_line(int fd, const char *path, prv_store_conf *conf, prv_error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return refuse(err, PRV_ERR_IO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return refuse(err, PRV_ERR_VALUE, "%s: the password file is not a regular file", path);
    if ((st.st_mode & 077) != 0)
        return refuse(err, PRV_ERR_VALUE,
                      "%s: the password file may be read or written by others than its owner; run "
                      "chmod 600 on it",
                      path);
    if (st.st_size > PRV_STORE_PASSWORD_MAX)
        return refuse(err, PRV_ERR_VALUE, "%s: the password file is longer than %d bytes", path,
                      PRV_STORE_PASSWORD_MAX);
    ssize_t n = read(fd, conf->password, PRV_STORE_PASSWORD_MAX);
    if (n < 0)
        return refuse(err, PRV_ERR_IO, "%s: %s", path, strerror(errno));
    conf->password[n] = '\0';
    if (strlen(conf->password) != (size_t)n)
        return refuse(err, PRV_ERR_SYNTAX, "%s: the password file holds a NUL byte", path);
    conf->password[strcspn(conf->password, "\r\n")] = '\0';
    if (conf->password[0] == '\0')
        return refuse(err, PRV_ERR_VALUE, "%s: the first line of the password file is empty", path);
    conf->auth = true;
    return PRV_OK;
}

static prv_code read_password(const char *path, prv_store_conf *conf, prv_error *err)
{
    if (path == NULL || path[0] == '\0')
        return PRV_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return refuse(err, PRV_ERR_IO, "%s: %s", path, strerror(errno));
    prv_code rc = read_first_line(fd, path, conf, err);
    close(fd);
    return rc;
}

prv_code prv_store_conf_parse(const prv_store_settings *settings, prv_store_conf **out,
                              prv_error *err)
{
    *out = NULL;
    prv_code rc = check_tls(settings, err);
    if (rc != PRV_OK)
        return rc;
    if (settings->url.n == 3 && memcmp(settings->url.p, "off", 3) == 0)
        return PRV_OK;
    if (settings->timeout_ms < 1 || settings->timeout_ms > 60000)
        return refuse(err, PRV_ERR_VALUE, "privacy_store_timeout must be 1ms to 60s");
    prv_store_conf *conf = calloc(1, sizeof *conf);
    if (conf == NULL)
        return refuse(err, PRV_ERR_NOMEM, "no memory for privacy_store");
    conf->timeout_ms = settings->timeout_ms;
    conf->wait = settings->wait;
    rc = str_put(settings->prefix, conf->prefix, sizeof conf->prefix)
             ? parse_url(settings, conf, err)
             : refuse(err, PRV_ERR_VALUE, "privacy_store_prefix must have at most %d characters",
                      PRV_STORE_NAME_MAX);
    if (rc == PRV_OK)
        rc = read_password(settings->password_file, conf, err);
    if (rc != PRV_OK) {
        prv_store_conf_free(conf);
        return rc;
    }
    *out = conf;
    return PRV_OK;
}

void prv_store_conf_free(prv_store_conf *conf)
{
    if (conf == NULL)
        return;
    prv_tls_free(conf->tls);
    explicit_bzero(conf, sizeof *conf);
    free(conf);
}
