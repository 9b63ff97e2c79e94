/* Key files (tests/vectors/keyring) and HMAC-SHA-256 (RFC 4231). */
#include "state_fixture.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const use_words[] = {"token", "subject", "link", "history"};

/* ------------------------------------------------------------------ vectors */

static void expect_keys(const vec_case *c, const prv_keyring *keys)
{
    prv_str rest = vec_get(c, "keys", 0);
    bool seen[4] = {false};
    while (rest.n > 0) {
        const char *space = memchr(rest.p, ' ', rest.n);
        const size_t n = space ? (size_t)(space - rest.p) : rest.n;
        const char *slash = memchr(rest.p, '/', n);
        unsigned use = 0;
        assert_non_null(slash);
        const size_t word = (size_t)(slash - rest.p);
        while (use < 4 &&
               (strlen(use_words[use]) != word || memcmp(use_words[use], rest.p, word) != 0))
            use++;
        assert_true(use < 4);
        const prv_str kid = {slash + 1, n - word - 1};
        const prv_key *key = prv_keyring_find(keys, (prv_key_use)use, kid);
        assert_non_null(key);
        assert_int_equal(prv_key_id(key).n, kid.n);
        if (!seen[use])
            assert_ptr_equal(prv_keyring_signer(keys, (prv_key_use)use), key);
        seen[use] = true;
        rest = (prv_str){rest.p + n + (space != NULL), rest.n - n - (space != NULL)};
    }
    for (unsigned use = 0; use < 4; use++) {
        if (!seen[use])
            assert_null(prv_keyring_signer(keys, (prv_key_use)use));
    }
}

static void keyring_case(const vec_case *c, void *arg)
{
    static const char *const names[] = {"case", "line", "keys", "error"};
    char text[4096];
    size_t n = 0;
    prv_keyring *keys = NULL;
    prv_error err = {0};
    (void)arg;
    vec_only(c, names, 4);
    for (size_t i = 0; vec_get(c, "line", i).p; i++) {
        const prv_str line = vec_get(c, "line", i);
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%.*s", i ? "\n" : "", (int)line.n,
                              line.p);
    }
    const prv_code code = prv_keyring_parse((prv_str){text, n}, "keys", &keys, &err);
    if (vec_get(c, "error", 0).p) {
        assert_int_not_equal(code, PRV_OK);
        assert_int_equal(err.code, code);
        assert_null(keys);
        sf_same(c, "error", fix_str(err.text));
        return;
    }
    if (code != PRV_OK)
        fail_msg("%s:%u: %s", c->file, c->line, err.text);
    expect_keys(c, keys);
    prv_keyring_free(keys);
}

static void test_vectors(void **state)
{
    (void)state;
    vec_each("keyring", keyring_case, NULL);
}

/* ------------------------------------------------------------------ limits */

static void test_sixteen_keys(void **state)
{
    char text[4096];
    size_t n = 0;
    prv_keyring *keys = NULL;
    prv_error err = {0};
    (void)state;
    for (unsigned i = 0; i < 16; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "token k%u " SF_KEY_A "\n", i);
    assert_int_equal(prv_keyring_parse((prv_str){text, n}, "keys", &keys, &err), PRV_OK);
    prv_keyring_free(keys);
    n += (size_t)snprintf(text + n, sizeof text - n, "token k16 " SF_KEY_A "\n");
    assert_int_equal(prv_keyring_parse((prv_str){text, n}, "keys", &keys, &err), PRV_ERR_VALUE);
    assert_string_equal(err.text,
                        "keys:17:1: more than 16 keys of use `token`; remove the oldest.");
}

static void test_no_secret_in_messages(void **state)
{
    prv_keyring *keys = NULL;
    prv_error err = {0};
    (void)state;
    prv_keyring_parse(PRV_STR("token a " SF_KEY_A " " SF_KEY_B), "keys", &keys, &err);
    assert_null(strstr(err.text, "AAEC"));
    assert_null(strstr(err.text, "ZGVm"));
}

/* The first bytes of a secret that stands where the use or kid belongs are cut short of giving it
 * away. */
static void test_misplaced_secret_is_cut(void **state)
{
    prv_keyring *keys = NULL;
    prv_error err = {0};
    (void)state;
    prv_keyring_parse(PRV_STR(SF_KEY_A), "keys", &keys, &err);
    assert_null(strstr(err.text, "AAECA"));
    assert_non_null(strstr(err.text, "`AAEC...`"));
    prv_keyring_parse(PRV_STR("token " SF_KEY_A), "keys", &keys, &err);
    assert_null(strstr(err.text, "AAECA"));
}

static void test_generation(void **state)
{
    static const char *const texts[] = {
        "token a " SF_KEY_A "\n",
        "token a " SF_KEY_B "\n",
        "token b " SF_KEY_A "\n",
        "token a " SF_KEY_A "\ntoken b " SF_KEY_B "\n",
        "token b " SF_KEY_B "\ntoken a " SF_KEY_A "\n",
        "token a " SF_KEY_A "\nlink b " SF_KEY_B "\n",
    };
    uint32_t seen[6];
    (void)state;
    for (size_t i = 0; i < 6; i++) {
        prv_keyring *keys = sf_keys(texts[i]);
        seen[i] = prv_keyring_generation(keys);
        prv_keyring_free(keys);
        for (size_t k = 0; k < i; k++)
            assert_int_not_equal(seen[i], seen[k]);
    }
    prv_keyring *again = sf_keys("# the same keys\n\ntoken  a  " SF_KEY_A);
    assert_int_equal(prv_keyring_generation(again), seen[0]);
    prv_keyring_free(again);
    assert_int_equal(prv_keyring_generation(NULL), 0);
}

/* ------------------------------------------------------------------ the file */

static void write_file(const char *path, const char *text, mode_t mode)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(path, mode), 0);
}

static void test_file(void **state)
{
    char path[] = "/tmp/prv-keys-XXXXXX", want[256];
    prv_keyring *keys = NULL;
    prv_error err = {0};
    static char big[70000];
    (void)state;
    close(mkstemp(path));

    write_file(path, "token a " SF_KEY_A "\n", 0600);
    assert_int_equal(prv_keyring_load(path, &keys, &err), PRV_OK);
    prv_keyring_free(keys);
    write_file(path, "token a " SF_KEY_A "\n", 0400);
    assert_int_equal(prv_keyring_load(path, &keys, &err), PRV_OK);
    prv_keyring_free(keys);

    const mode_t open_modes[] = {0640, 0604, 0620, 0602, 0644};
    for (size_t i = 0; i < 5; i++) {
        write_file(path, "token a " SF_KEY_A "\n", open_modes[i]);
        assert_int_equal(prv_keyring_load(path, &keys, &err), PRV_ERR_VALUE);
        snprintf(want, sizeof want,
                 "%s: is open to its group or to others (mode %04o); make it 0600 or 0400.", path,
                 (unsigned)open_modes[i]);
        assert_string_equal(err.text, want);
        assert_null(keys);
    }

    memset(big, '#', sizeof big - 1);
    write_file(path, big, 0600);
    assert_int_equal(prv_keyring_load(path, &keys, &err), PRV_ERR_VALUE);
    assert_non_null(strstr(err.text, "at most 65536 bytes"));

    write_file(path, "token a\n", 0600);
    assert_int_equal(prv_keyring_load(path, &keys, &err), PRV_ERR_VALUE);
    assert_int_equal(err.line, 1);
    assert_int_equal(err.column, 8);
    unlink(path);

    assert_int_equal(prv_keyring_load(path, &keys, &err), PRV_ERR_IO);
    assert_non_null(strstr(err.text, "No such file"));
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(prv_keyring_load(path, &keys, &err), PRV_ERR_VALUE);
    assert_non_null(strstr(err.text, "not a regular file"));
    unlink(path);
}

/* ------------------------------------------------------------------ RFC 4231 */

static size_t unhex(const char *hex, uint8_t *out)
{
    size_t n = 0;
    for (; hex[0] && hex[1]; hex += 2) {
        unsigned byte;
        assert_int_equal(sscanf(hex, "%2x", &byte), 1);
        out[n++] = (uint8_t)byte;
    }
    return n;
}

static size_t repeat(uint8_t *out, uint8_t byte, size_t n)
{
    memset(out, byte, n);
    return n;
}

/* Keys under 32 bytes are refused from files, so cases 1, 2, 3, 4 and 5 run with the key
 * zero-padded to 32 bytes: HMAC pads shorter keys with zeros itself. */
static prv_keyring *key_of(uint8_t *bytes, size_t n)
{
    char text[1024] = "token k ";
    while (n < 32)
        bytes[n++] = 0;
    const size_t head = strlen(text);
    text[head + prv_base64url_encode(bytes, n, text + head)] = '\0';
    return sf_keys(text);
}

static void expect_mac(uint8_t *key, size_t key_n, const char *data, size_t n, const char *hex)
{
    uint8_t want[PRV_MAC_LEN], got[PRV_MAC_LEN];
    prv_keyring *keys = key_of(key, key_n);
    const prv_key *k = prv_keyring_signer(keys, PRV_KEY_TOKEN);
    assert_int_equal(unhex(hex, want), PRV_MAC_LEN);
    for (size_t cut = 0; cut <= n; cut++) {
        const prv_str parts[] = {{data, cut}, {NULL, 0}, {data + cut, n - cut}};
        prv_key_mac(k, parts, 3, got);
        assert_memory_equal(got, want, PRV_MAC_LEN);
        assert_true(prv_mac_equal(got, want));
        got[cut % PRV_MAC_LEN] ^= 1;
        assert_false(prv_mac_equal(got, want));
    }
    prv_keyring_free(keys);
}

static void test_rfc4231(void **state)
{
    uint8_t key[160];
    char data[64];
    (void)state;
    expect_mac(key, repeat(key, 0x0b, 20), "Hi There", 8, "b0344c61d8db38535ca8afceaf0bf12b");
    memcpy(key, "Jefe", 4);
    expect_mac(key, 4, "what do ya want for nothing?", 28, "5bdcc146bf60754e6a042426089575c7");
    memset(data, (char)0xdd, 50);
    expect_mac(key, repeat(key, 0xaa, 20), data, 50, "773ea91e36800e46854db8ebd09181a7");
    memset(data, (char)0xcd, 50);
    for (uint8_t i = 0; i < 25; i++)
        key[i] = (uint8_t)(i + 1);
    expect_mac(key, 25, data, 50, "82558a389a443c0ea4cc819899f2083a");
    expect_mac(key, repeat(key, 0x0c, 20), "Test With Truncation", 20,
               "a3b6167473100ee06e0c796c2955552b");
    expect_mac(key, repeat(key, 0xaa, 131),
               "Test Using Larger Than Block-Size Key - Hash Key First", 54,
               "60e431591ee0b67f0d8a26aacbf5b77f");
    const char *longer =
        "This is a test using a larger than block-size key and a larger than "
        "block-size data. The key needs to be hashed before being used by the HMAC "
        "algorithm.";
    expect_mac(key, repeat(key, 0xaa, 131), longer, strlen(longer),
               "9b09ffa71b942fcb27635fbcd5b0e944");
}

static void test_find(void **state)
{
    prv_keyring *keys = sf_keys("token a " SF_KEY_A "\ntoken b " SF_KEY_B "\n");
    (void)state;
    assert_non_null(prv_keyring_find(keys, PRV_KEY_TOKEN, PRV_STR("b")));
    assert_null(prv_keyring_find(keys, PRV_KEY_TOKEN, PRV_STR("c")));
    assert_null(prv_keyring_find(keys, PRV_KEY_LINK, PRV_STR("a")));
    assert_null(prv_keyring_find(keys, PRV_KEY_TOKEN, PRV_STR("")));
    assert_null(prv_keyring_find(keys, PRV_KEY_TOKEN, PRV_STR("aaaaaaaaaaaaaaaaaaaaaaaa")));
    assert_null(prv_keyring_find(NULL, PRV_KEY_TOKEN, PRV_STR("a")));
    prv_keyring_free(keys);
    prv_keyring_free(NULL);
}

static void test_random(void **state)
{
    uint8_t a[32] = {0}, b[32] = {0};
    (void)state;
    assert_true(prv_random(NULL, a, sizeof a));
    assert_true(prv_random(NULL, b, sizeof b));
    assert_memory_not_equal(a, b, sizeof a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_sixteen_keys),
        cmocka_unit_test(test_no_secret_in_messages),
        cmocka_unit_test(test_misplaced_secret_is_cut),
        cmocka_unit_test(test_generation),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_rfc4231),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
