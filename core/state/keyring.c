/*
 * The key file (INTERFACE 1, privacy_key_file) and HMAC-SHA-256 (RFC 2104, FIPS 198-1).
 *
 * A MAC is made for nearly every request, and EVP_MAC allocates a context each time and looks its
 * algorithm up. The low-level SHA256_* calls work on plain structures: the states after the inner
 * and the outer pad are computed once when the key is loaded and copied to the stack for each MAC.
 * OpenSSL 3 marks those calls deprecated, hence the two definitions; they are still part of its
 * stable interface.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#define OPENSSL_API_COMPAT 0x10100000L

#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/sha.h>

#define KEY_FILE_MAX 65536 /* 64 lines of the longest form are far below */
#define KEYS_PER_USE 16    /* one signs, the others are being rolled out or retired */
#define KEY_USES 4
#define KID_MAX 16
#define SECRET_MIN 32 /* as long as the hash: RFC 2104 section 3 discourages less */
#define SECRET_MAX 512
#define SHA256_BLOCK 64

struct prv_key {
    SHA256_CTX inner;
    SHA256_CTX outer;
    prv_key_use use;
    uint8_t kid_len;
    char kid[KID_MAX];
};

struct prv_keyring {
    uint32_t generation;
    size_t n;
    prv_key keys[KEY_USES * KEYS_PER_USE];
};

static const prv_str use_names[KEY_USES] = {
    [PRV_KEY_TOKEN] = {"token", 5},
    [PRV_KEY_SUBJECT] = {"subject", 7},
    [PRV_KEY_LINK] = {"link", 4},
    [PRV_KEY_HISTORY] = {"history", 7},
};
/* `subject` never rotates: the hash of an account is a Redis key, and another secret would lose
 * every record. */
static const uint8_t use_max[KEY_USES] = {
    [PRV_KEY_TOKEN] = KEYS_PER_USE,
    [PRV_KEY_SUBJECT] = 1,
    [PRV_KEY_LINK] = KEYS_PER_USE,
    [PRV_KEY_HISTORY] = KEYS_PER_USE,
};

/* ------------------------------------------------------------------ MAC */

static void key_init(prv_key *key, const uint8_t *secret, size_t n)
{
    uint8_t block[SHA256_BLOCK] = {0};
    if (n > sizeof block)
        SHA256(secret, n, block);
    else
        memcpy(block, secret, n);

    for (size_t i = 0; i < sizeof block; i++)
        block[i] ^= 0x36;
    SHA256_Init(&key->inner);
    SHA256_Update(&key->inner, block, sizeof block);

    for (size_t i = 0; i < sizeof block; i++)
        block[i] ^= 0x36 ^ 0x5c;
    SHA256_Init(&key->outer);
    SHA256_Update(&key->outer, block, sizeof block);

    OPENSSL_cleanse(block, sizeof block);
}

void prv_key_mac(const prv_key *key, const prv_str *parts, size_t n, uint8_t out[PRV_MAC_LEN])
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256_CTX ctx = key->inner;
    for (size_t i = 0; i < n; i++) {
        if (parts[i].n > 0)
            SHA256_Update(&ctx, parts[i].p, parts[i].n);
    }
    SHA256_Final(digest, &ctx);

    ctx = key->outer;
    SHA256_Update(&ctx, digest, sizeof digest);
    SHA256_Final(digest, &ctx);
    memcpy(out, digest, PRV_MAC_LEN);
    OPENSSL_cleanse(&ctx, sizeof ctx);
}

bool prv_mac_equal(const uint8_t a[PRV_MAC_LEN], const uint8_t b[PRV_MAC_LEN])
{
    return CRYPTO_memcmp(a, b, PRV_MAC_LEN) == 0;
}

/* ------------------------------------------------------------------ look-up */

const prv_key *prv_keyring_signer(const prv_keyring *keys, prv_key_use use)
{
    for (size_t i = 0; keys && i < keys->n; i++) {
        if (keys->keys[i].use == use)
            return &keys->keys[i];
    }
    return NULL;
}

const prv_key *prv_keyring_find(const prv_keyring *keys, prv_key_use use, prv_str kid)
{
    if (kid.n == 0 || kid.n > KID_MAX)
        return NULL;
    for (size_t i = 0; keys && i < keys->n; i++) {
        const prv_key *key = &keys->keys[i];
        if (key->use == use && key->kid_len == kid.n && memcmp(key->kid, kid.p, kid.n) == 0)
            return key;
    }
    return NULL;
}

prv_str prv_key_id(const prv_key *key)
{
    return (prv_str){key->kid, key->kid_len};
}

uint32_t prv_keyring_generation(const prv_keyring *keys)
{
    return keys ? keys->generation : 0;
}

/* Two contents that differ in any secret differ here, and the number tells nothing about the
 * secrets. */
static uint32_t generation_of(const prv_keyring *keys)
{
    uint64_t h = PRV_FNV64_SEED;
    for (size_t i = 0; i < keys->n; i++) {
        const prv_key *key = &keys->keys[i];
        uint8_t mac[PRV_MAC_LEN];
        prv_str label = PRV_STR("generation\n");
        prv_key_mac(key, &label, 1, mac);
        h = prv_fnv64(h, use_names[key->use]);
        h = prv_fnv64(h, PRV_STR(" "));
        h = prv_fnv64(h, prv_key_id(key));
        h = prv_fnv64(h, PRV_STR(" "));
        h = prv_fnv64(h, (prv_str){(const char *)mac, sizeof mac});
    }
    return (uint32_t)(h ^ (h >> 32));
}

/* ------------------------------------------------------------------ parsing */

typedef struct parser {
    const char *name;
    unsigned line;
    prv_keyring *keys;
    prv_error *err;
} parser;

__attribute__((format(printf, 5, 6))) static prv_code
fail(prv_error *err, const char *name, unsigned line, unsigned column, const char *format, ...)
{
    if (!err)
        return PRV_ERR_VALUE;
    err->code = PRV_ERR_VALUE;
    err->line = line;
    err->column = column;
    int n = line ? snprintf(err->text, sizeof err->text, "%s:%u:%u: ", name, line, column)
                 : snprintf(err->text, sizeof err->text, "%s: ", name);
    if (n < 0 || (size_t)n >= sizeof err->text)
        return err->code;
    va_list args;
    va_start(args, format);
    vsnprintf(err->text + n, sizeof err->text - (size_t)n, format, args);
    va_end(args);
    return err->code;
}

static prv_code coded(prv_error *err, prv_code code)
{
    if (err)
        err->code = code;
    return code;
}

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

/* The next word of a line from *at on; empty at the end or before a comment. */
static prv_str word(prv_str line, size_t *at)
{
    while (*at < line.n && blank(line.p[*at]))
        ++*at;
    size_t start = *at;
    if (start < line.n && line.p[start] == '#')
        return (prv_str){line.p + start, 0};
    while (*at < line.n && !blank(line.p[*at]))
        ++*at;
    return (prv_str){line.p + start, *at - start};
}

static bool kid_valid(prv_str kid)
{
    if (kid.n == 0 || kid.n > KID_MAX)
        return false;
    for (size_t i = 0; i < kid.n; i++) {
        char c = kid.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '_' || c == '-'))
            return false;
    }
    return true;
}

static int use_of(prv_str name)
{
    for (int i = 0; i < KEY_USES; i++) {
        if (use_names[i].n == name.n && memcmp(use_names[i].p, name.p, name.n) == 0)
            return i;
    }
    return -1;
}

/* What a message may quote, in printable characters: a longer word may be a secret out of its
 * place. */
static const char *quoted(prv_str text, char out[24])
{
    const bool whole = text.n <= KID_MAX + 1;
    const size_t n = whole ? text.n : 4;
    for (size_t i = 0; i < n; i++)
        out[i] = text.p[i] > ' ' && text.p[i] < 0x7f ? text.p[i] : '?';
    memcpy(out + n, whole ? "" : "...", whole ? 1 : 4);
    return out;
}

static prv_code line_secret(parser *ps, prv_key *key, prv_str secret, unsigned column)
{
    uint8_t bytes[SECRET_MAX];
    size_t n = 0;
    prv_code code = PRV_OK;
    if (secret.n == 0)
        code = fail(ps->err, ps->name, ps->line, column,
                    "the secret is missing: a line is `use kid base64url-secret`.");
    else if (!prv_base64url_decode(secret, bytes, sizeof bytes, &n))
        code = fail(ps->err, ps->name, ps->line, column,
                    "the secret is not base64url without padding, or longer than %d bytes.",
                    SECRET_MAX);
    else if (n < SECRET_MIN)
        code = fail(ps->err, ps->name, ps->line, column,
                    "the secret has %zu bytes; at least %d are needed.", n, SECRET_MIN);
    else
        key_init(key, bytes, n);
    OPENSSL_cleanse(bytes, sizeof bytes);
    return code;
}

static prv_code line_place(parser *ps, int use, prv_str kid, unsigned use_column,
                           unsigned kid_column)
{
    char shown[24];
    size_t same = 0;
    for (size_t i = 0; i < ps->keys->n; i++)
        same += ps->keys->keys[i].use == (prv_key_use)use;
    if (same >= use_max[use])
        return fail(ps->err, ps->name, ps->line, use_column,
                    use_max[use] == 1 ? "`%s` has one line and never rotates."
                                      : "more than 16 keys of use `%s`; remove the oldest.",
                    use_names[use].p);
    if (kid.n == 0)
        return fail(ps->err, ps->name, ps->line, kid_column,
                    "the key id is missing: a line is `use kid base64url-secret`.");
    if (!kid_valid(kid))
        return fail(ps->err, ps->name, ps->line, kid_column,
                    "the key id `%s` is not 1 to 16 of A-Z a-z 0-9 _ -.", quoted(kid, shown));
    if (prv_keyring_find(ps->keys, (prv_key_use)use, kid))
        return fail(ps->err, ps->name, ps->line, kid_column,
                    "the key id `%s` stands twice for use `%s`.", quoted(kid, shown),
                    use_names[use].p);
    return PRV_OK;
}

static prv_code parse_line(parser *ps, prv_str line)
{
    char shown[24];
    size_t at = 0;
    prv_str use_word = word(line, &at);
    unsigned use_column = (unsigned)(use_word.p - line.p) + 1;
    if (use_word.n == 0)
        return PRV_OK;
    int use = use_of(use_word);
    if (use < 0)
        return fail(ps->err, ps->name, ps->line, use_column,
                    "unknown use `%s`; a line begins with token, subject, link or history.",
                    quoted(use_word, shown));

    prv_str kid = word(line, &at);
    prv_code code = line_place(ps, use, kid, use_column, (unsigned)(kid.p - line.p) + 1);
    if (code != PRV_OK)
        return code;

    prv_key *key = &ps->keys->keys[ps->keys->n];
    prv_str secret = word(line, &at);
    code = line_secret(ps, key, secret, (unsigned)(secret.p - line.p) + 1);
    if (code != PRV_OK)
        return code;
    prv_str rest = word(line, &at);
    if (rest.n > 0)
        return fail(ps->err, ps->name, ps->line, (unsigned)(rest.p - line.p) + 1,
                    "something follows the secret; only a comment may.");

    key->use = (prv_key_use)use;
    key->kid_len = (uint8_t)kid.n;
    memcpy(key->kid, kid.p, kid.n);
    ps->keys->n++;
    return PRV_OK;
}

static prv_code parse_lines(parser *ps, prv_str text)
{
    size_t at = 0;
    while (at < text.n) {
        const char *start = text.p + at;
        const char *end = memchr(start, '\n', text.n - at);
        size_t n = end ? (size_t)(end - start) : text.n - at;
        at += n + 1;
        if (n > 0 && start[n - 1] == '\r')
            n--;
        ps->line++;
        prv_code code = parse_line(ps, (prv_str){start, n});
        if (code != PRV_OK)
            return code;
    }
    if (!prv_keyring_signer(ps->keys, PRV_KEY_TOKEN))
        return fail(ps->err, ps->name, 0, 0,
                    "there is no line with use `token`; `privacyctl keys new` makes one.");
    return PRV_OK;
}

prv_code prv_keyring_parse(prv_str text, const char *name, prv_keyring **out, prv_error *err)
{
    *out = NULL;
    if (text.n > KEY_FILE_MAX)
        return fail(err, name, 0, 0, "a key file has at most %d bytes.", KEY_FILE_MAX);
    prv_keyring *keys = calloc(1, sizeof *keys);
    if (!keys) {
        fail(err, name, 0, 0, "no memory for the keys.");
        return coded(err, PRV_ERR_NOMEM);
    }
    parser ps = {.name = name, .keys = keys, .err = err};
    prv_code code = parse_lines(&ps, text);
    if (code != PRV_OK) {
        prv_keyring_free(keys);
        return code;
    }
    keys->generation = generation_of(keys);
    *out = keys;
    return PRV_OK;
}

void prv_keyring_free(prv_keyring *keys)
{
    if (!keys)
        return;
    OPENSSL_cleanse(keys, sizeof *keys);
    free(keys);
}

/* ------------------------------------------------------------------ the file */

static prv_code read_all(int fd, const char *path, char *buf, size_t cap, size_t *n, prv_error *err)
{
    *n = 0;
    while (*n < cap) {
        ssize_t got = read(fd, buf + *n, cap - *n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            fail(err, path, 0, 0, "cannot be read: %s.", strerror(errno));
            return coded(err, PRV_ERR_IO);
        }
        if (got == 0)
            break;
        *n += (size_t)got;
    }
    return PRV_OK;
}

/* Of the open file, so that nothing can be swapped between the look and the reading. */
static prv_code check_file(int fd, const char *path, prv_error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0) {
        fail(err, path, 0, 0, "cannot be examined: %s.", strerror(errno));
        return coded(err, PRV_ERR_IO);
    }
    if (!S_ISREG(st.st_mode))
        return fail(err, path, 0, 0, "is not a regular file.");
    if (st.st_mode & (S_IRGRP | S_IWGRP | S_IROTH | S_IWOTH))
        return fail(err, path, 0, 0,
                    "is open to its group or to others (mode %04o); make it 0600 or 0400.",
                    (unsigned)(st.st_mode & 07777));
    if (st.st_size > KEY_FILE_MAX)
        return fail(err, path, 0, 0, "a key file has at most %d bytes.", KEY_FILE_MAX);
    return PRV_OK;
}

prv_code prv_keyring_load(const char *path, prv_keyring **out, prv_error *err)
{
    *out = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hang start-up */
    if (fd < 0) {
        fail(err, path, 0, 0, "cannot be opened: %s.", strerror(errno));
        return coded(err, PRV_ERR_IO);
    }
    size_t n = 0;
    const size_t cap = KEY_FILE_MAX + 1;
    char *buf = NULL;
    prv_code code = check_file(fd, path, err);
    if (code == PRV_OK && !(buf = malloc(cap))) {
        fail(err, path, 0, 0, "no memory for the keys.");
        code = coded(err, PRV_ERR_NOMEM);
    }
    if (code == PRV_OK)
        code = read_all(fd, path, buf, cap, &n, err);
    if (code == PRV_OK)
        code = prv_keyring_parse((prv_str){buf, n}, path, out, err);
    if (buf) {
        OPENSSL_cleanse(buf, cap);
        free(buf);
    }
    close(fd);
    return code;
}
