/* privacy_store and its password file: tests/vectors/store_conf/urls.txt, and files of all kinds.
 */
#include "redis/client.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <netdb.h>

static prv_code parse(const char *url, const char *file, prv_store_conf **conf, prv_error *err)
{
    memset(err, 0, sizeof *err);
    const prv_store_settings settings = {.url = {url, strlen(url)},
                                         .prefix = PRV_STR("privacy:"),
                                         .timeout_ms = 50,
                                         .password_file = file};
    return prv_store_conf_parse(&settings, conf, err);
}

/* host:port/db user, or path?db user, as the vectors write it. */
static void describe(const prv_store_conf *conf, char *out, size_t cap)
{
    if (conf == NULL) {
        snprintf(out, cap, "off");
    } else if (conf->topology != PRV_STANDALONE) {
        int at =
            snprintf(out, cap, "%s%s%s", conf->topology == PRV_SENTINEL ? "sentinel" : "cluster",
                     conf->master[0] != '\0' ? " " : "", conf->master);
        for (size_t i = 0; i < conf->n_seeds; i++)
            at += snprintf(out + at, cap - (size_t)at, " %s:%d", conf->seeds[i].addrs[0],
                           conf->seeds[i].port);
        snprintf(out + at, cap - (size_t)at, " db=%u user=%s", conf->db, conf->user);
    } else if (conf->seeds[0].path[0] != '\0')
        snprintf(out, cap, "%s db=%u user=%s", conf->seeds[0].path, conf->db, conf->user);
    else
        snprintf(out, cap, "%s port=%d db=%u user=%s%s", conf->seeds[0].addrs[0],
                 conf->seeds[0].port, conf->db, conf->user, conf->tls != NULL ? " tls" : "");
}

static const char *code_name(prv_code code)
{
    static const char *const names[] = {"ok", "nomem", "io", "syntax", "value", "unsupported"};
    return names[code];
}

/* Lines: URL | code | description, or words that the message must hold. */
static void test_urls(void **state)
{
    (void)state;
    char line[600];
    unsigned n = 0;
    FILE *f = fopen(PRV_TESTS "/vectors/store_conf/urls.txt", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        if (line[0] == '#' || line[0] == '\n')
            continue;
        char *url = strtok(line, "|");
        char *code = strtok(NULL, "|");
        char *text = strtok(NULL, "\n");
        assert_non_null(text);
        prv_store_conf *conf = NULL;
        prv_error err;
        prv_code rc = parse(url, "", &conf, &err);
        if (strncmp(code, "tls ", 4) == 0) {
            code += 4;
            if (HIREDIS_MAJOR < 1) {
                code = "unsupported";
                text = "TLS needs hiredis 1.0 or later, and this is built with 0.";
            }
        }
        if (strcmp(code_name(rc), code) != 0)
            fail_msg("%s: %s instead of %s: %s", url, code_name(rc), code, err.text);
        if (rc == PRV_OK) {
            char is[300];
            describe(conf, is, sizeof is);
            if (strcmp(is, text) != 0)
                fail_msg("%s: `%s` instead of `%s`", url, is, text);
        } else {
            assert_null(conf);
            if (strstr(err.text, text) == NULL || strchr(err.text, '\n') != NULL)
                fail_msg("%s: `%s` does not say `%s`", url, err.text, text);
            assert_null(strstr(err.text, "SECRET"));
        }
        prv_store_conf_free(conf);
        n++;
    }
    fclose(f);
    assert_true(n > 30);
}

static void write_file(const char *path, const void *bytes, size_t n, mode_t mode)
{
    unlink(path);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, n), (ssize_t)n);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void test_password_file(void **state)
{
    (void)state;
    char path[] = "/tmp/prv-password-XXXXXX";
    int fd = mkstemp(path);
    prv_store_conf *conf = NULL;
    prv_error err;
    close(fd);
    static const struct {
        const char *bytes;
        const char *password; /* NULL: refused, `says` in the message */
        const char *says;
        mode_t mode;
    } rows[] = {
        {"SECRET", "SECRET", "", 0600},
        {"SECRET\n", "SECRET", "", 0400},
        {"SECRET\r\nsecond line\n", "SECRET", "", 0600},
        {" with spaces \n", " with spaces ", "", 0600},
        {"SECRET\n", NULL, "others than its owner", 0640},
        {"SECRET\n", NULL, "others than its owner", 0604},
        {"SECRET\n", NULL, "others than its owner", 0620},
        {"", NULL, "is empty", 0600},
        {"\nSECRET", NULL, "is empty", 0600},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        write_file(path, rows[i].bytes, strlen(rows[i].bytes), rows[i].mode);
        prv_code rc = parse("redis://user@127.0.0.1", path, &conf, &err);
        if (rows[i].password != NULL) {
            assert_int_equal(rc, PRV_OK);
            assert_string_equal(conf->password, rows[i].password);
            assert_true(conf->auth);
            assert_null(strstr(conf->label, "SECRET"));
        } else {
            assert_int_equal(rc, PRV_ERR_VALUE);
            assert_non_null(strstr(err.text, rows[i].says));
            assert_non_null(strstr(err.text, path));
            assert_null(strstr(err.text, "SECRET"));
        }
        prv_store_conf_free(conf);
    }

    char big[1026];
    memset(big, 'x', sizeof big);
    write_file(path, big, 1024, 0600);
    assert_int_equal(parse("redis://127.0.0.1", path, &conf, &err), PRV_OK);
    assert_int_equal(strlen(conf->password), 1024);
    prv_store_conf_free(conf);
    write_file(path, big, 1025, 0600);
    assert_int_equal(parse("redis://127.0.0.1", path, &conf, &err), PRV_ERR_VALUE);
    write_file(path, "a\0b", 3, 0600);
    assert_int_equal(parse("redis://127.0.0.1", path, &conf, &err), PRV_ERR_SYNTAX);
    unlink(path);
    assert_int_equal(parse("redis://127.0.0.1", path, &conf, &err), PRV_ERR_IO);
    assert_non_null(strstr(err.text, "No such file"));
    assert_int_equal(parse("redis://127.0.0.1", "/tmp", &conf, &err), PRV_ERR_VALUE);
}

/* Against what this machine says of its own name: a bare one may know nothing of it. */
static void test_localhost_keeps_every_address(void **state)
{
    (void)state;
    prv_store_conf *conf = NULL;
    prv_error err;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *known = NULL;
    if (getaddrinfo("localhost", "7000", &hints, &known) != 0) {
        assert_int_not_equal(parse("redis://localhost:7000", "", &conf, &err), PRV_OK);
        assert_non_null(strstr(err.text, "localhost"));
        return;
    }
    assert_int_equal(parse("redis://localhost:7000", "", &conf, &err), PRV_OK);
    assert_in_range(conf->seeds[0].n_addrs, 1, PRV_STORE_ADDRS);
    for (const struct addrinfo *one = known; one != NULL; one = one->ai_next) {
        char text[NI_MAXHOST];
        bool kept = false;
        assert_int_equal(
            getnameinfo(one->ai_addr, one->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST),
            0);
        for (size_t i = 0; i < conf->seeds[0].n_addrs; i++)
            kept = kept || strcmp(conf->seeds[0].addrs[i], text) == 0;
        assert_true(kept || conf->seeds[0].n_addrs == PRV_STORE_ADDRS);
    }
    assert_string_equal(conf->label, "localhost:7000");
    freeaddrinfo(known);
    prv_store_conf_free(conf);
}

static void test_timeout_and_prefix(void **state)
{
    (void)state;
    prv_store_conf *conf = NULL;
    prv_error err;
    prv_store_settings settings = {
        .url = PRV_STR("redis://127.0.0.1"), .prefix = PRV_STR("p:"), .password_file = ""};
    assert_int_equal(prv_store_conf_parse(&settings, &conf, &err), PRV_ERR_VALUE);
    settings.timeout_ms = 60001;
    assert_int_equal(prv_store_conf_parse(&settings, &conf, &err), PRV_ERR_VALUE);
    settings.timeout_ms = 60000;
    settings.password_file = NULL;
    assert_int_equal(prv_store_conf_parse(&settings, &conf, &err), PRV_OK);
    assert_int_equal(conf->timeout_ms, 60000);
    prv_store_conf_free(conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_password_file),
        cmocka_unit_test(test_localhost_keeps_every_address),
        cmocka_unit_test(test_timeout_and_prefix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
