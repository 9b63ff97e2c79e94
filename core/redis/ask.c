/* Answers of Redis without hiredis, and INFO read. All of it is untrusted: lengths come from the bounded reply. */
#include "ask.h"
#include "client.h"

#include <string.h>

static const redisReply *reply_of(const prv_answer *answer)
{
    return (const redisReply *)(const void *)answer;
}

prv_answer_kind prv_answer_is(const prv_answer *answer)
{
    switch (reply_of(answer)->type) {
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
        return PRV_ANSWER_TEXT;
    case REDIS_REPLY_INTEGER:
        return PRV_ANSWER_NUMBER;
    case REDIS_REPLY_ARRAY:
        return PRV_ANSWER_LIST;
    case REDIS_REPLY_NIL:
        return PRV_ANSWER_NIL;
    default:
        return PRV_ANSWER_ERROR;
    }
}

prv_str prv_answer_text(const prv_answer *answer)
{
    const redisReply *r = reply_of(answer);
    prv_str text = {r->str, (size_t)r->len};
    switch (prv_answer_is(answer)) {
    case PRV_ANSWER_TEXT:
        return text;
    case PRV_ANSWER_ERROR: {
        const char *blank = r->str != NULL ? memchr(text.p, ' ', text.n) : NULL;
        return r->str == NULL ? PRV_NONE : (prv_str){text.p, blank ? (size_t)(blank - text.p) : text.n};
    }
    default:
        return PRV_NONE;
    }
}

/* At most 18 digits: always fits. */
static int64_t digits_read(prv_str text)
{
    int64_t n = 0;
    if (text.n == 0 || text.n > 18)
        return -1;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return -1;
        n = n * 10 + (text.p[i] - '0');
    }
    return n;
}

int64_t prv_answer_number(const prv_answer *answer)
{
    return prv_answer_is(answer) == PRV_ANSWER_NUMBER ? reply_of(answer)->integer
           : prv_answer_is(answer) == PRV_ANSWER_TEXT ? digits_read(prv_answer_text(answer))
                                                      : -1;
}

size_t prv_answer_count(const prv_answer *answer)
{
    return prv_answer_is(answer) == PRV_ANSWER_LIST ? (size_t)reply_of(answer)->elements : 0;
}

const prv_answer *prv_answer_at(const prv_answer *answer, size_t i)
{
    return (const prv_answer *)(const void *)reply_of(answer)->element[i];
}

bool prv_answer_is_word(const prv_answer *answer, const char *word)
{
    const prv_str text = prv_answer_text(answer);
    return prv_answer_is(answer) == PRV_ANSWER_TEXT && text.n == strlen(word) &&
           memcmp(text.p, word, text.n) == 0;
}

/* ---- INFO: lines `name:value` that end in CR LF, and `# Section` */

prv_str prv_info_find(prv_str info, const char *name)
{
    const size_t n = strlen(name);
    while (info.n > 0) {
        const char *end = memchr(info.p, '\n', info.n);
        const size_t line = end != NULL ? (size_t)(end - info.p) : info.n;
        if (line > n && memcmp(info.p, name, n) == 0 && info.p[n] == ':') {
            prv_str value = {info.p + n + 1, line - n - 1};
            while (value.n > 0 && (value.p[value.n - 1] == '\r' || value.p[value.n - 1] == ' '))
                value.n--;
            return value;
        }
        info.p += line + (end != NULL);
        info.n -= line + (end != NULL);
    }
    return PRV_NONE;
}

int64_t prv_info_number(prv_str info, const char *name)
{
    return digits_read(prv_info_find(info, name));
}

bool prv_version_reaches(prv_str text, unsigned major, unsigned minor)
{
    const char *dot = text.n > 0 ? memchr(text.p, '.', text.n) : NULL;
    if (dot == NULL)
        return false;
    const size_t first = (size_t)(dot - text.p);
    prv_str rest = {dot + 1, text.n - first - 1};
    const char *second = rest.n > 0 ? memchr(rest.p, '.', rest.n) : NULL;
    rest.n = second != NULL ? (size_t)(second - rest.p) : rest.n;
    const int64_t a = digits_read((prv_str){text.p, first}), b = digits_read(rest);
    return a >= 0 && b >= 0 && (a > (int64_t)major || (a == (int64_t)major && b >= (int64_t)minor));
}
