/* Operations to RESP, and Redis' answers to what they mean. */
#include "client.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX (PRV_OP_ARGS_MAX + 4) /* EVALSHA sha 1 key args */

static void hex(const unsigned char *in, size_t n, char *out)
{
    static const char digits[16] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[in[i] >> 4];
        out[2 * i + 1] = digits[in[i] & 15];
    }
    out[2 * n] = '\0';
}

static void script_sha(const char *script, char out[41])
{
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    out[0] = '\0';
    if (EVP_Digest(script, strlen(script), md, &n, EVP_sha1(), NULL) == 1 && n == 20)
        hex(md, n, out);
}

void prv_scripts_init(prv_scripts *scripts)
{
    script_sha(prv_script_change, scripts->change);
    script_sha(prv_script_age, scripts->age);
}

prv_op *prv_op_copy(const prv_op *op)
{
    if (op->n_args > PRV_OP_ARGS_MAX)
        return NULL;
    size_t bytes = op->key.n;
    for (size_t i = 0; i < op->n_args; i++)
        bytes += op->args[i].n;
    prv_op *copy = malloc(sizeof *copy + bytes);
    if (copy == NULL)
        return NULL;
    char *p = (char *)(copy + 1);
    *copy = *op; /* its views follow */
    for (size_t i = 0; i <= op->n_args; i++) {
        const prv_str *from = i == 0 ? &op->key : &op->args[i - 1];
        prv_str *to = i == 0 ? &copy->key : &copy->args[i - 1];
        if (from->n > 0)
            memcpy(p, from->p, from->n);
        *to = (prv_str){p, from->n};
        p += from->n;
    }
    return copy;
}

bool prv_words_format(const prv_str *words, size_t n, char **out, size_t *len)
{
    const char *argv[WORDS_MAX];
    size_t argl[WORDS_MAX];
    if (n > WORDS_MAX)
        return false;
    for (size_t i = 0; i < n; i++) {
        argv[i] = words[i].p != NULL ? words[i].p : "";
        argl[i] = words[i].n;
    }
    long long made = redisFormatCommandArgv(out, (int)n, argv, argl);
    if (made <= 0)
        return false;
    *len = (size_t)made;
    return true;
}

static prv_str str_of(const char *s)
{
    return (prv_str){s, strlen(s)};
}

bool prv_op_format(const prv_op *op, const prv_scripts *scripts, bool eval, char **out, size_t *n)
{
    prv_str w[WORDS_MAX];
    size_t k = 0;
    if (op->n_args > PRV_OP_ARGS_MAX)
        return false;
    switch (op->kind) {
    case PRV_OP_READ:
        w[k++] = PRV_STR("HGETALL");
        w[k++] = op->key;
        return prv_words_format(w, k, out, n);
    case PRV_OP_EXPIRE:
        w[k++] = PRV_STR("EXPIRE");
        w[k++] = op->key;
        w[k++] = op->n_args > 0 ? op->args[0] : PRV_NONE;
        w[k++] = PRV_STR("NX");
        return prv_words_format(w, k, out, n);
    case PRV_OP_SUBJECT:
        w[k++] = PRV_STR("GET");
        w[k++] = op->key;
        return prv_words_format(w, k, out, n);
    case PRV_OP_BIND:
        w[k++] = PRV_STR("SET");
        w[k++] = op->key;
        w[k++] = op->n_args > 0 ? op->args[0] : PRV_NONE;
        w[k++] = PRV_STR("EXAT");
        w[k++] = op->n_args > 1 ? op->args[1] : PRV_NONE;
        return prv_words_format(w, k, out, n);
    case PRV_OP_CHANGE:
    case PRV_OP_AGE:
        break;
    }
    bool change = op->kind == PRV_OP_CHANGE;
    const char *sha = change ? scripts->change : scripts->age;
    bool text = eval || sha[0] == '\0';
    w[k++] = text ? PRV_STR("EVAL") : PRV_STR("EVALSHA");
    w[k++] = str_of(text ? change ? prv_script_change : prv_script_age : sha);
    w[k++] = PRV_STR("1");
    w[k++] = op->key;
    for (size_t i = 0; i < op->n_args; i++)
        w[k++] = op->args[i];
    return prv_words_format(w, k, out, n);
}

static bool text_of(const redisReply *r, prv_str *out)
{
    if (r == NULL || (r->type != REDIS_REPLY_STRING && r->type != REDIS_REPLY_STATUS))
        return false;
    *out = (prv_str){r->str, (size_t)r->len};
    return true;
}

static bool str_is(prv_str s, const char *word)
{
    return s.n == strlen(word) && memcmp(s.p, word, s.n) == 0;
}

bool prv_undo_format(const prv_op *op, const redisReply *before, char **out, size_t *n)
{
    const char *argv[5 + PRV_BOUND_ARRAY];
    size_t argl[5 + PRV_BOUND_ARRAY], k = 0;
    const prv_str words[] = {PRV_STR("EVAL"), str_of(prv_script_undo), PRV_STR("1"), op->key,
                             op->args[0]};
    for (; k < sizeof words / sizeof *words; k++) {
        argv[k] = words[k].p;
        argl[k] = words[k].n;
    }
    bool record = before != NULL && before->type == REDIS_REPLY_ARRAY;
    for (size_t i = 0; record && i < (size_t)before->elements && i < PRV_BOUND_ARRAY; i++) {
        prv_str text;
        if (!text_of(before->element[i], &text))
            return false;
        argv[k] = text.p;
        argl[k++] = text.n;
    }
    long long made = redisFormatCommandArgv(out, (int)k, argv, argl);
    if (made > 0)
        *n = (size_t)made;
    return made > 0;
}

/* ---- answers */

static const struct trouble {
    const char *word;
    const char *means;
} troubles[] = {
    {"LOADING", "is loading its data"},
    {"READONLY", "is a replica and takes no writes"},
    {"MASTERDOWN", "is a replica that lost its master"},
    {"NOAUTH", "asks for a password; see privacy_store_password_file"},
    {"WRONGPASS", "does not accept the user or the password"},
    {"NOPERM", "does not permit this user what config/redis.acl lists"},
    {"CLUSTERDOWN", "belongs to a cluster that is down"},
    {"MOVED", "belongs to a cluster; privacy_store names one as redis+cluster://"},
    {"ASK", "belongs to a cluster; privacy_store names one as redis+cluster://"},
    {"MISCONF", "takes no writes because it cannot save to disk"},
    {"NOREPLICAS", "takes no writes because it has too few replicas"},
    {"OOM", "takes no writes because its memory is full"},
    {"BUSY", "is busy with a script"},
};

static bool reply_word(const redisReply *r, const char *word)
{
    size_t n = strlen(word);
    return r != NULL && r->type == REDIS_REPLY_ERROR && (size_t)r->len >= n &&
           memcmp(r->str, word, n) == 0 && ((size_t)r->len == n || r->str[n] == ' ');
}

const char *prv_answer_trouble(const redisReply *r)
{
    for (size_t i = 0; i < sizeof troubles / sizeof *troubles; i++) {
        if (reply_word(r, troubles[i].word))
            return troubles[i].means;
    }
    return r != NULL && r->type == REDIS_REPLY_ERROR ? "answers with an error"
                                                     : "answers out of step";
}

bool prv_answer_done(const redisReply *r)
{
    prv_str word;
    return r != NULL && r->type == REDIS_REPLY_ARRAY && r->elements > 0 &&
           text_of(r->element[0], &word) && str_is(word, "done");
}

bool prv_answer_noscript(const redisReply *r)
{
    return reply_word(r, "NOSCRIPT");
}

/* Elements from `first` on as field, value, ... */
static bool read_pairs(const redisReply *r, size_t first, prv_reply *out, prv_str *pairs)
{
    size_t n = (size_t)r->elements - first;
    if (n % 2 != 0 || n > PRV_PAIRS_MAX)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!text_of(r->element[first + i], &pairs[i]))
            return false;
    }
    out->n = n;
    out->pairs = pairs;
    return true;
}

static void read_array(const prv_op *op, const redisReply *r, prv_reply *out, prv_str *pairs)
{
    if (op->kind == PRV_OP_EXPIRE || op->kind == PRV_OP_SUBJECT || op->kind == PRV_OP_BIND)
        return;
    if (r->elements == 0) {
        if (op->kind != PRV_OP_CHANGE)
            out->status = PRV_REPLY_ABSENT;
        return;
    }
    if (op->kind == PRV_OP_READ) {
        if (read_pairs(r, 0, out, pairs))
            out->status = PRV_REPLY_RECORD;
        return;
    }
    prv_str word;
    if (!text_of(r->element[0], &word) || !read_pairs(r, 1, out, pairs))
        return;
    if (str_is(word, "done"))
        out->status = PRV_REPLY_RECORD;
    else if (op->kind == PRV_OP_CHANGE && str_is(word, "conflict"))
        out->status = PRV_REPLY_CONFLICT;
}

static void read_subject(const redisReply *r, prv_reply *out, prv_str *pairs)
{
    if (r->type == REDIS_REPLY_NIL) {
        out->status = PRV_REPLY_ABSENT;
    } else if (r->type == REDIS_REPLY_STRING) {
        pairs[0] = PRV_STR("id");
        pairs[1] = (prv_str){r->str, (size_t)r->len};
        out->n = 2;
        out->pairs = pairs;
        out->status = PRV_REPLY_RECORD;
    } else if (reply_word(r, "WRONGTYPE")) {
        out->status = PRV_REPLY_UNREADABLE;
    }
}

void prv_answer_read(const prv_op *op, const redisReply *r, prv_reply *out,
                     prv_str pairs[PRV_PAIRS_MAX])
{
    *out = (prv_reply){.status = PRV_REPLY_UNAVAILABLE};
    if (r == NULL)
        return;
    if (r->type == REDIS_REPLY_ARRAY)
        read_array(op, r, out, pairs);
    else if (r->type == REDIS_REPLY_INTEGER && op->kind == PRV_OP_EXPIRE)
        out->status = PRV_REPLY_RECORD;
    else if (op->kind == PRV_OP_SUBJECT)
        read_subject(r, out, pairs);
    else if (r->type == REDIS_REPLY_STATUS && op->kind == PRV_OP_BIND)
        out->status = PRV_REPLY_RECORD;
    else if (reply_word(r, "WRONGTYPE") && op->kind != PRV_OP_CHANGE)
        out->status = PRV_REPLY_UNREADABLE;
    if (out->status == PRV_REPLY_UNAVAILABLE) {
        out->n = 0;
        out->pairs = NULL;
    }
}

/* ---- nonces */

bool prv_nonce_make(char out[PRV_NONCE_LEN + 1])
{
    unsigned char bytes[PRV_NONCE_LEN / 2];
    if (RAND_bytes(bytes, (int)sizeof bytes) != 1)
        return false;
    hex(bytes, sizeof bytes, out);
    return true;
}

bool prv_nonce_matches(const char *nonce, const redisReply *r)
{
    return r->type == REDIS_REPLY_STRING && (size_t)r->len == PRV_NONCE_LEN &&
           memcmp(r->str, nonce, PRV_NONCE_LEN) == 0;
}
