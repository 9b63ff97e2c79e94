/*
 * TLS towards a real Redis, with the certificates of tests/pki.sh: what is verified, what is said
 * when it fails, and a handshake in small pieces. Here the context is put beside a plain URL, so
 * that this runs with each hiredis; that rediss:// leads here is tried by the servers' tests.
 */
#include "store_fixture.h"
#include "trickle.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "redis/sync.h"

#define KEY "privacy:consent:{a}"

static char pki[64];
static int tls_port;

static const char *pem(const char *name)
{
    static char paths[8][128]; /* as many as one test holds at once */
    static unsigned n;
    char *path = paths[n++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", pki, name);
    return path;
}

/* The server shows NAME.pem from now on; `auth`: does it want a certificate of ours? */
static void show(const char *name, const char *auth)
{
    char line[400];
    snprintf(line, sizeof line,
             "CONFIG SET tls-cert-file %s/%s.pem tls-key-file %s/%s.key tls-auth-clients %s", pki,
             name, pki, name, auth);
    store_say(line);
    store_say("CLIENT KILL TYPE normal SKIPME yes");
}

static prv_store_settings settings(const char *ca, const char *own)
{
    prv_store_settings s = {.tls_ca = ca != NULL ? pem(ca) : NULL};
    char name[40];
    if (own != NULL) {
        snprintf(name, sizeof name, "%s.pem", own);
        s.tls_cert = pem(name);
        snprintf(name, sizeof name, "%s.key", own);
        s.tls_key = pem(name);
    }
    return s;
}

static prv_tls *context(const char *host, const char *ca, const char *own)
{
    const prv_store_settings s = settings(ca, own);
    prv_tls *tls = NULL;
    prv_error err;
    if (prv_tls_open(&s, host, &tls, &err) != PRV_OK)
        fail_msg("%s", err.text);
    return tls;
}

/* As rediss:// makes it. */
static prv_store_conf *configuration(const char *host, int port, const char *ca, const char *own)
{
    char url[64];
    prv_store_conf *conf = NULL;
    prv_error err;
    snprintf(url, sizeof url, "redis://%s:%d", host, port);
    const prv_store_settings s = {
        .url = store_str(url), .prefix = PRV_STR("privacy:"), .timeout_ms = TIMEOUT};
    if (prv_store_conf_parse(&s, &conf, &err) != PRV_OK)
        fail_msg("%s: %s", url, err.text);
    conf->tls = context(host, ca, own);
    conf->seeds[0].tls = conf->tls;
    return conf;
}

static void open_tls(store_fixture *f, const char *host, int port, const char *ca, const char *own)
{
    f->conf = configuration(host, port, ca, own);
    store_open_conf(f);
}

static void works(store_fixture *f)
{
    const prv_op read = store_op_read(KEY);
    assert_int_equal(store_ask(f, &read).status, PRV_REPLY_ABSENT);
    assert_int_equal(test_loop_logged(f->loop, "\n"), 0);
}

/* The connection is refused with these words, once, and again each time that it is tried. */
static void refused(const char *host, int port, const char *ca, const char *own, const char *words)
{
    store_fixture f;
    const prv_op read = store_op_read(KEY);
    open_tls(&f, host, port, ca, own);
    assert_int_equal(store_ask(&f, &read).status, PRV_REPLY_UNAVAILABLE);
    if (test_loop_logged(f.loop, words) != 1)
        fail_msg("no log line says `%s`", words);
    test_loop_run(f.loop, 500); /* probes */
    assert_int_equal(test_loop_logged(f.loop, "answers again"), 0);
    assert_int_equal(test_loop_logged(f.loop, "\n"), 1);
    store_shut(&f);
}

/* ---- what works */

static void test_reads_and_writes(void **state)
{
    (void)state;
    store_fixture f;
    store_answer a[200] = {0};
    show("server", "no");
    open_tls(&f, "127.0.0.1", tls_port, "ca.pem", NULL);
    works(&f);
    prv_op change = store_op_change("c1", "0"), read = store_op_read(KEY);
    assert_int_equal(store_ask(&f, &change).status, PRV_REPLY_RECORD);
    assert_non_null(strstr(store_ask(&f, &read).text, "granted=statistics"));
    for (int i = 0; i < 200; i++) {
        char key[48];
        snprintf(key, sizeof key, "privacy:consent:{%d}", i);
        read = store_op_read(key);
        assert_non_null(prv_store_submit(f.store, &read, store_on_done, &a[i]));
    }
    assert_true(test_loop_until(f.loop, &a[199].done, 2000));
    for (int i = 0; i < 200; i++)
        assert_int_equal(a[i].status, PRV_REPLY_ABSENT);
    store_shut(&f);
}

/* Larger than a TLS record and than one read, in both directions. */
static void test_large(void **state)
{
    (void)state;
    store_fixture f;
    char *value = malloc(60001);
    assert_non_null(value);
    memset(value, 'v', 60000);
    value[60000] = '\0';
    show("server", "no");
    open_tls(&f, "127.0.0.1", tls_port, "ca.pem", NULL);
    prv_op change = store_op_change("c1", "0"), read = store_op_read(KEY);
    change.args[7] = store_str(value);
    assert_int_equal(store_ask(&f, &change).status, PRV_REPLY_RECORD);
    change = store_op_change("c2", "8");
    change.args[3] = PRV_STR("3");
    change.n_args = 11;
    change.args[8] = PRV_STR("refused");
    change.args[9] = store_str(value);
    change.args[10] = PRV_STR("nothing");
    assert_int_equal(store_ask(&f, &change).status, PRV_REPLY_RECORD);
    store_answer a = store_ask(&f, &read);
    assert_int_equal(a.status, PRV_REPLY_RECORD);
    assert_int_equal(a.n, 8);
    free(value);
    store_shut(&f);
}

static void test_names(void **state)
{
    (void)state;
    store_fixture f;
    show("server", "no");
    open_tls(&f, "localhost", tls_port, "ca.pem", NULL);
    works(&f);
    store_shut(&f);
    show("named", "no");
    open_tls(&f, "localhost", tls_port, "ca.pem", NULL);
    works(&f);
    store_shut(&f);
}

static void test_client_certificate(void **state)
{
    (void)state;
    store_fixture f;
    show("server", "yes");
    open_tls(&f, "127.0.0.1", tls_port, "ca.pem", "client");
    works(&f);
    store_shut(&f);
}

static void test_tls_1_2(void **state)
{
    (void)state;
    store_fixture f;
    store_say("CONFIG SET tls-protocols TLSv1.2");
    show("server", "yes");
    open_tls(&f, "127.0.0.1", tls_port, "ca.pem", "client");
    works(&f);
    store_shut(&f);
    refused("127.0.0.1", tls_port, "ca.pem", NULL, "asks for a client certificate");
    store_say("CONFIG SET tls-protocols 'TLSv1.2 TLSv1.3'");
}

/* A renewed certificate of the same authority needs nobody here. */
static void test_renewed(void **state)
{
    (void)state;
    store_fixture f;
    show("server", "no");
    open_tls(&f, "127.0.0.1", tls_port, "ca.pem", NULL);
    works(&f);
    show("renewed", "no"); /* ends the connection */
    works(&f);
    show("wrong", "no");
    const prv_op read = store_op_read(KEY);
    assert_int_equal(store_ask(&f, &read).status, PRV_REPLY_UNAVAILABLE);
    assert_int_equal(test_loop_logged(f.loop, "that is not for 127.0.0.1"), 1);
    show("server", "no");
    assert_in_range(store_until_back(&f, KEY, 5000), 0, 4000);
    assert_int_equal(test_loop_logged(f.loop, "answers again"), 1);
    store_shut(&f);
}

static void test_in_small_pieces(void **state)
{
    (void)state;
    for (unsigned step = 1; step < 30; step += 7) {
        store_fixture f;
        show("server", "yes");
        test_trickle *trickle = test_trickle_start(tls_port, step);
        open_tls(&f, "127.0.0.1", test_trickle_port(trickle), "ca.pem", "client");
        prv_op change = store_op_change("c1", "0"), read = store_op_read(KEY);
        store_ask(&f, &change);
        store_ask(&f, &read); /* the first may be late on a busy machine */
        assert_in_range(store_until_back(&f, KEY, 5000), 0, 5000);
        store_shut(&f);
        test_trickle_stop(trickle);
        store_say("FLUSHALL");
    }
}

/* ---- what does not */

static void test_certificates_refused(void **state)
{
    (void)state;
    static const struct {
        const char *shown, *host, *ca, *words;
    } rows[] = {
        {"wrong", "127.0.0.1", "ca.pem", "shows a certificate that is not for 127.0.0.1"},
        {"wrong", "localhost", "ca.pem", "shows a certificate that is not for localhost"},
        {"named", "127.0.0.1", "ca.pem", "shows a certificate that is not for 127.0.0.1"},
        {"common", "127.0.0.1", "ca.pem", "shows a certificate that is not for 127.0.0.1"},
        {"expired", "127.0.0.1", "ca.pem", "shows a certificate that has expired"},
        {"early", "127.0.0.1", "ca.pem", "is not valid yet"},
        {"stranger", "127.0.0.1", "ca.pem",
         "authority that is not in the file of privacy_store_tls_ca"},
        {"selfmade", "127.0.0.1", "ca.pem",
         "authority that is not in the file of privacy_store_tls_ca"},
        {"server", "127.0.0.1", "other-ca.pem",
         "authority that is not in the file of privacy_store_tls_ca"},
        {"server", "127.0.0.1", NULL, "authority that is not in the system's store"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        show(rows[i].shown, "no");
        refused(rows[i].host, tls_port, rows[i].ca, NULL, rows[i].words);
    }
}

static void test_client_refused(void **state)
{
    (void)state;
    show("server", "yes");
    refused("127.0.0.1", tls_port, "ca.pem", NULL, "asks for a client certificate");
    refused("127.0.0.1", tls_port, "ca.pem", "foreign",
            "refuses the certificate of privacy_store_tls_cert");
}

static void test_no_tls_there(void **state)
{
    (void)state;
    test_fake *fake = test_fake_start(NULL, NULL, 0); /* never finds a command: says nothing */
    refused("127.0.0.1", test_fake_port(fake), "ca.pem", NULL, "does not answer within 200 ms");
    test_fake_stop(fake);
}

/* A connection that Redis has taken: with maxclients 1 it takes no other. */
static int only_client(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    char out[16] = "";
    snprintf(a.sun_path, sizeof a.sun_path, "%s", store_redis.socket);
    for (int i = 0; i < 500; i++) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0 &&
            send(fd, "PING\r\n", 6, MSG_NOSIGNAL) == 6 && recv(fd, out, 5, MSG_WAITALL) == 5 &&
            memcmp(out, "+PONG", 5) == 0)
            return fd;
        close(fd);
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    }
    fail_msg("Redis takes no connection");
    return -1;
}

static void test_answers_in_plain(void **state)
{
    (void)state;
    store_say("CONFIG SET maxclients 1");
    int only = only_client();
    refused("127.0.0.1", store_redis.port, "ca.pem", NULL,
            "does not speak TLS on this port; is it the tls-port?");
    assert_int_equal(send(only, "CONFIG SET maxclients 1000\r\n", 28, MSG_NOSIGNAL), 28);
    close(only);
}

/* A byte changed on the way is no reply, and no crash; the next connection works. */
static void test_spoilt(void **state)
{
    (void)state;
    store_fixture f;
    show("server", "no");
    test_trickle *trickle = test_trickle_start(tls_port, 4096);
    open_tls(&f, "127.0.0.1", test_trickle_port(trickle), "ca.pem", NULL);
    works(&f);
    test_trickle_spoil(trickle);
    const prv_op read = store_op_read(KEY);
    assert_int_equal(store_ask(&f, &read).status, PRV_REPLY_UNAVAILABLE);
    assert_int_equal(test_loop_logged(f.loop, "breaks TLS: "), 1);
    assert_in_range(store_until_back(&f, KEY, 5000), 0, 4000);
    test_trickle_spoil(trickle); /* within a handshake */
    store_say("CLIENT KILL TYPE normal SKIPME yes");
    assert_int_equal(store_ask(&f, &read).status, PRV_REPLY_UNAVAILABLE);
    assert_in_range(store_until_back(&f, KEY, 5000), 0, 4000);
    store_shut(&f);
    test_trickle_stop(trickle);
}

/* ---- the blocking client */

static void test_blocking(void **state)
{
    (void)state;
    prv_sync *sync = NULL;
    prv_error err;
    prv_reply reply;
    prv_store_conf *conf = configuration("127.0.0.1", tls_port, "ca.pem", "client");
    show("server", "yes");
    assert_int_equal(prv_sync_open(conf, &sync, &err), PRV_OK);
    const prv_op read = store_op_read(KEY);
    prv_sync_op(sync, &read, &reply);
    assert_int_equal(reply.status, PRV_REPLY_ABSENT);
    store_say("CLIENT KILL TYPE normal SKIPME yes");
    prv_sync_op(sync, &read, &reply);
    assert_int_equal(reply.status, PRV_REPLY_ABSENT);
    prv_sync_close(sync);
    show("wrong", "yes");
    assert_int_equal(prv_sync_open(conf, &sync, &err), PRV_ERR_IO);
    assert_non_null(strstr(err.text, "shows a certificate that is not for 127.0.0.1"));
    prv_store_conf_free(conf);
    conf = configuration("127.0.0.1", tls_port, "ca.pem", NULL);
    show("server", "yes");
    assert_int_equal(prv_sync_open(conf, &sync, &err), PRV_ERR_IO);
    assert_non_null(strstr(err.text, "asks for a client certificate"));
    prv_store_conf_free(conf);
}

/* ---- files */

static void file_refused(prv_store_settings s, prv_code code, const char *words)
{
    prv_tls *tls = NULL;
    prv_error err = {0};
    assert_int_equal(prv_tls_open(&s, "127.0.0.1", &tls, &err), code);
    assert_null(tls);
    if (strstr(err.text, words) == NULL)
        fail_msg("`%s` does not say `%s`", err.text, words);
}

static void test_files(void **state)
{
    (void)state;
    prv_store_settings s = settings("ca.pem", "client");
    s.tls_ca = pem("none.pem");
    file_refused(s, PRV_ERR_IO, "none.pem: No such file");
    s.tls_ca = pki;
    file_refused(s, PRV_ERR_VALUE, "not a regular file");
    s.tls_ca = pem("ca.key");
    file_refused(s, PRV_ERR_VALUE, "no certificate of an authority");
    s = settings("ca.pem", "client");
    s.tls_key = NULL;
    file_refused(s, PRV_ERR_VALUE, "need each other");
    s = settings("ca.pem", "client");
    s.tls_cert = "";
    file_refused(s, PRV_ERR_VALUE, "need each other");
    s = settings("ca.pem", "client");
    s.tls_cert = pem("client.key");
    file_refused(s, PRV_ERR_VALUE, "no certificate (PEM)");
    s = settings("ca.pem", "client");
    s.tls_key = pem("client.pem");
    chmod(s.tls_key, 0600);
    file_refused(s, PRV_ERR_VALUE, "no private key (PEM)");
    s.tls_key = pem("server.key");
    file_refused(s, PRV_ERR_VALUE, "does not belong to the certificate");
    s.tls_key = pem("locked.key");
    file_refused(s, PRV_ERR_VALUE, "has a pass phrase");
    s = settings("ca.pem", "client");
    chmod(s.tls_key, 0644);
    file_refused(s, PRV_ERR_VALUE, "may be read or written by everybody");
    chmod(s.tls_key, 0600);
    s.tls_key = pem("none.key");
    file_refused(s, PRV_ERR_IO, "none.key: No such file");
}

/* ---- */

static void command(const char *form)
{
    char line[256];
    snprintf(line, sizeof line, form, pki);
    if (system(line) != 0)
        fail_msg("%s", line);
}

static int setup(void **state)
{
    (void)state;
    char port[8];
    snprintf(pki, sizeof pki, "/tmp/prv-pki-XXXXXX");
    if (mkdtemp(pki) == NULL)
        return -1;
    command("bash " PRV_TESTS "/pki.sh %s");
    tls_port = test_free_port();
    snprintf(port, sizeof port, "%d", tls_port);
    const char *const extra[] = {"--tls-port",
                                 port,
                                 "--tls-cert-file",
                                 pem("server.pem"),
                                 "--tls-key-file",
                                 pem("server.key"),
                                 "--tls-ca-cert-file",
                                 pem("ca.pem"),
                                 "--tls-auth-clients",
                                 "no",
                                 NULL};
    test_redis_init(&store_redis);
    test_redis_start(&store_redis, extra);
    return 0;
}

static int teardown(void **state)
{
    command("rm -rf %s");
    return store_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_reads_and_writes, store_flush),
        cmocka_unit_test_setup(test_large, store_flush),
        cmocka_unit_test_setup(test_names, store_flush),
        cmocka_unit_test_setup(test_client_certificate, store_flush),
        cmocka_unit_test_setup(test_tls_1_2, store_flush),
        cmocka_unit_test_setup(test_renewed, store_flush),
        cmocka_unit_test_setup(test_in_small_pieces, store_flush),
        cmocka_unit_test_setup(test_certificates_refused, store_flush),
        cmocka_unit_test_setup(test_client_refused, store_flush),
        cmocka_unit_test_setup(test_no_tls_there, store_flush),
        cmocka_unit_test_setup(test_answers_in_plain, store_flush),
        cmocka_unit_test_setup(test_spoilt, store_flush),
        cmocka_unit_test_setup(test_blocking, store_flush),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
