#include "tls.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct prv_tls {
    SSL_CTX *ctx;
    bool ca_file;
    bool certificate; /* we have one */
    bool literal;     /* host is an IP address */
    char host[256];
};

struct prv_tls_conn {
    const prv_tls *tls;
    SSL *ssl;
    BIO *in, *out; /* owned by ssl */
    char why[400]; /* empty: TLS is not to blame */
};

/* ---- the files */

__attribute__((format(printf, 3, 4))) static prv_code refuse(prv_error *err, prv_code code,
                                                             const char *form, ...)
{
    va_list ap;
    va_start(ap, form);
    vsnprintf(err->text, sizeof err->text, form, ap);
    va_end(ap);
    err->code = code;
    err->line = err->column = 0;
    ERR_clear_error();
    return code;
}

static bool is_set(const char *path)
{
    return path != NULL && path[0] != '\0';
}

/* Can it be read at all, and may a key be read by everybody? */
static prv_code check_file(const char *path, bool key, prv_error *err)
{
    struct stat st;
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return refuse(err, PRV_ERR_IO, "%s: %s", path, strerror(errno));
    int rc = fstat(fileno(f), &st);
    fclose(f);
    if (rc != 0 || !S_ISREG(st.st_mode))
        return refuse(err, PRV_ERR_VALUE, "%s: not a regular file", path);
    if (key && (st.st_mode & 07) != 0)
        return refuse(err, PRV_ERR_VALUE,
                      "%s: the key may be read or written by everybody; run chmod 600 on it", path);
    return PRV_OK;
}

/* Nobody is there to type a pass phrase when a server starts. */
static int no_pass_phrase(char *buf, int size, int writing, void *arg)
{
    (void)buf, (void)size, (void)writing;
    *(bool *)arg = true;
    return -1;
}

static prv_code load_authorities(prv_tls *tls, const char *path, prv_error *err)
{
    if (!is_set(path))
        return SSL_CTX_set_default_verify_paths(tls->ctx) == 1
                   ? PRV_OK
                   : refuse(err, PRV_ERR_IO,
                            "the system's certificate store cannot be used; name the authority's "
                            "file with privacy_store_tls_ca");
    prv_code rc = check_file(path, false, err);
    if (rc != PRV_OK)
        return rc;
    if (SSL_CTX_load_verify_locations(tls->ctx, path, NULL) != 1)
        return refuse(err, PRV_ERR_VALUE,
                      "%s: no certificate of an authority (PEM) can be read from it", path);
    tls->ca_file = true;
    return PRV_OK;
}

static prv_code load_certificate(prv_tls *tls, const char *cert, const char *key, prv_error *err)
{
    bool asked = false;
    if (!is_set(cert) && !is_set(key))
        return PRV_OK;
    if (!is_set(cert) || !is_set(key))
        return refuse(err, PRV_ERR_VALUE,
                      "privacy_store_tls_cert and privacy_store_tls_key need each other");
    prv_code rc = check_file(cert, false, err);
    if (rc == PRV_OK)
        rc = check_file(key, true, err);
    if (rc != PRV_OK)
        return rc;
    if (SSL_CTX_use_certificate_chain_file(tls->ctx, cert) != 1)
        return refuse(err, PRV_ERR_VALUE, "%s: no certificate (PEM) can be read from it", cert);
    SSL_CTX_set_default_passwd_cb(tls->ctx, no_pass_phrase);
    SSL_CTX_set_default_passwd_cb_userdata(tls->ctx, &asked);
    int good = SSL_CTX_use_PrivateKey_file(tls->ctx, key, SSL_FILETYPE_PEM);
    bool other = good == 1 ? SSL_CTX_check_private_key(tls->ctx) != 1
                           : ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH;
    SSL_CTX_set_default_passwd_cb_userdata(tls->ctx, NULL);
    SSL_CTX_set_default_passwd_cb(tls->ctx, NULL);
    if (asked)
        return refuse(err, PRV_ERR_VALUE,
                      "%s: the key has a pass phrase, which nobody can type when a server starts",
                      key);
    if (other)
        return refuse(err, PRV_ERR_VALUE, "%s: the key does not belong to the certificate of %s",
                      key, cert);
    if (good != 1)
        return refuse(err, PRV_ERR_VALUE, "%s: no private key (PEM) can be read from it", key);
    tls->certificate = true;
    return PRV_OK;
}

/* The name may stand in the subject alternative names only, and `r*.example` is no wildcard. */
static bool name_the_peer(prv_tls *tls, const char *host)
{
    X509_VERIFY_PARAM *param = SSL_CTX_get0_param(tls->ctx);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT |
                                               X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    ASN1_OCTET_STRING *ip = a2i_IPADDRESS(host);
    tls->literal = ip != NULL;
    ASN1_OCTET_STRING_free(ip);
    ERR_clear_error(); /* a name is no address */
    return tls->literal ? X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1
                        : X509_VERIFY_PARAM_set1_host(param, host, 0) == 1;
}

prv_code prv_tls_open(const prv_store_settings *settings, const char *host, prv_tls **out,
                      prv_error *err)
{
    *out = NULL;
    prv_tls *tls = calloc(1, sizeof *tls);
    if (tls != NULL)
        tls->ctx = SSL_CTX_new(TLS_client_method());
    if (tls == NULL || tls->ctx == NULL || strlen(host) >= sizeof tls->host ||
        SSL_CTX_set_min_proto_version(tls->ctx, TLS1_2_VERSION) != 1 || !name_the_peer(tls, host)) {
        prv_tls_free(tls);
        return refuse(err, PRV_ERR_NOMEM, "TLS to %s cannot be set up: no memory", host);
    }
    snprintf(tls->host, sizeof tls->host, "%s", host);
    SSL_CTX_set_verify(tls->ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_options(tls->ctx, SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_session_cache_mode(tls->ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(tls->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                   SSL_MODE_RELEASE_BUFFERS);
    prv_code rc = load_authorities(tls, settings->tls_ca, err);
    if (rc == PRV_OK)
        rc = load_certificate(tls, settings->tls_cert, settings->tls_key, err);
    if (rc != PRV_OK) {
        prv_tls_free(tls);
        return rc;
    }
    *out = tls;
    return PRV_OK;
}

void prv_tls_free(prv_tls *tls)
{
    if (tls == NULL)
        return;
    SSL_CTX_free(tls->ctx);
    free(tls);
}

/* ---- one connection */

prv_tls_conn *prv_tls_begin(const prv_tls *tls)
{
    prv_tls_conn *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    t->tls = tls;
    t->ssl = SSL_new(tls->ctx);
    t->in = BIO_new(BIO_s_mem());
    t->out = BIO_new(BIO_s_mem());
    if (t->ssl == NULL || t->in == NULL || t->out == NULL ||
        (!tls->literal && SSL_set_tlsext_host_name(t->ssl, tls->host) != 1)) {
        BIO_free(t->in);
        BIO_free(t->out);
        SSL_free(t->ssl);
        free(t);
        ERR_clear_error();
        return NULL;
    }
    BIO_set_mem_eof_return(t->in, -1); /* empty: more may come */
    SSL_set_bio(t->ssl, t->in, t->out);
    SSL_set_connect_state(t->ssl);
    return t;
}

void prv_tls_end(prv_tls_conn *t)
{
    if (t == NULL)
        return;
    SSL_free(t->ssl);
    free(t);
}

/* Our own verification failed. */
static void explain_certificate(prv_tls_conn *t, long result)
{
    const prv_tls *tls = t->tls;
    const char *ca = tls->ca_file ? "the file of privacy_store_tls_ca"
                                  : "the system's store (see privacy_store_tls_ca)";
    switch (result) {
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        snprintf(t->why, sizeof t->why,
                 "shows a certificate that is not for %s: its subject alternative names must have "
                 "what privacy_store names",
                 tls->host);
        return;
    case X509_V_ERR_CERT_HAS_EXPIRED:
        snprintf(t->why, sizeof t->why, "shows a certificate that has expired");
        return;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        snprintf(t->why, sizeof t->why,
                 "shows a certificate that is not valid yet; is this machine's clock right?");
        return;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
        snprintf(t->why, sizeof t->why, "shows a certificate of an authority that is not in %s",
                 ca);
        return;
    default:
        snprintf(t->why, sizeof t->why, "shows a certificate that cannot be accepted: %s",
                 X509_verify_cert_error_string(result));
    }
}

/* What the peer said about us, or how it does not speak TLS. OpenSSL's own words hold nothing of
 * the traffic. */
static void explain_reason(prv_tls_conn *t, unsigned long error)
{
    int reason = ERR_GET_LIB(error) == ERR_LIB_SSL ? ERR_GET_REASON(error) : 0;
    const char *words = ERR_reason_error_string(error);
    switch (reason) {
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
    case SSL_R_SSLV3_ALERT_NO_CERTIFICATE:
        snprintf(t->why, sizeof t->why, "%s",
                 t->tls->certificate
                     ? "refuses the TLS handshake with the certificate of privacy_store_tls_cert"
                     : "refuses the TLS handshake: it asks for a client certificate; see "
                       "privacy_store_tls_cert");
        return;
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
    case SSL_R_TLSV1_ALERT_DECRYPT_ERROR:
        snprintf(t->why, sizeof t->why, "refuses the certificate of privacy_store_tls_cert (%s)",
                 words != NULL ? words : "no reason given");
        return;
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_RECORD_TOO_SMALL:
    case SSL_R_HTTP_REQUEST:
        snprintf(t->why, sizeof t->why, "does not speak TLS on this port; is it the tls-port?");
        return;
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
    case SSL_R_UNSUPPORTED_PROTOCOL:
        snprintf(t->why, sizeof t->why, "offers no TLS 1.2 or later");
        return;
    default:
        snprintf(t->why, sizeof t->why, "breaks TLS: %s",
                 words != NULL ? words : "no reason given");
    }
}

/* The end of an operation that returned n <= 0: 0 or -1 for our caller. */
static ssize_t outcome(prv_tls_conn *t, int n)
{
    int what = SSL_get_error(t->ssl, n);
    unsigned long error = ERR_peek_error();
    if (what == SSL_ERROR_WANT_READ || what == SSL_ERROR_WANT_WRITE) {
        ERR_clear_error();
        return 0;
    }
    if (what == SSL_ERROR_SSL && t->why[0] == '\0') {
        long result = SSL_get_verify_result(t->ssl);
        if (result != X509_V_OK && ERR_GET_REASON(error) == SSL_R_CERTIFICATE_VERIFY_FAILED)
            explain_certificate(t, result);
        else
            explain_reason(t, error);
    }
    ERR_clear_error(); /* nginx and httpd share the queue */
    return -1;
}

static int at_most(size_t n)
{
    return n < 16384 ? (int)n : 16384;
}

ssize_t prv_tls_put(prv_tls_conn *t, const char *p, size_t n)
{
    ERR_clear_error();
    int put = SSL_write(t->ssl, p, at_most(n));
    return put > 0 ? put : outcome(t, put);
}

ssize_t prv_tls_get(prv_tls_conn *t, char *p, size_t n)
{
    ERR_clear_error();
    int got = SSL_read(t->ssl, p, at_most(n));
    return got > 0 ? got : outcome(t, got);
}

bool prv_tls_came(prv_tls_conn *t, const char *p, size_t n)
{
    while (n > 0) {
        int put = BIO_write(t->in, p, at_most(n));
        if (put <= 0)
            return false;
        p += put;
        n -= (size_t)put;
    }
    return true;
}

size_t prv_tls_leaving(const prv_tls_conn *t, const char **p)
{
    char *data = NULL;
    long n = BIO_get_mem_data(t->out, &data);
    *p = data;
    return n > 0 ? (size_t)n : 0;
}

void prv_tls_left(prv_tls_conn *t, size_t n)
{
    char gone[4096]; /* a BIO gives by copying */
    while (n > 0) {
        int got = BIO_read(t->out, gone, n < sizeof gone ? (int)n : (int)sizeof gone);
        if (got <= 0)
            return;
        n -= (size_t)got;
    }
}

const char *prv_tls_why(const prv_tls_conn *t)
{
    return t->why[0] != '\0' ? t->why : NULL;
}
