/* What Redis answers to an operator's questions: replies of each kind, INFO, versions. vectors/ask/info.txt: `text | name | value | number`,
 * vectors/ask/versions.txt: `version yes|no`. */
#include "redis/ask.h"
#include "redis/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static prv_str view(const char *text)
{
    return (prv_str){text, strlen(text)};
}

static void unescape(char *s)
{
    char *to = s;
    for (; *s != '\0'; s++) {
        if (s[0] == '\\' && (s[1] == 'r' || s[1] == 'n'))
            *to++ = *++s == 'r' ? '\r' : '\n';
        else
            *to++ = *s;
    }
    *to = '\0';
}

/* Up to the next ` | `, which goes. */
static char *cut(char **rest)
{
    char *piece = *rest, *end = strstr(piece, " | ");
    *rest = end != NULL ? end + 3 : piece + strlen(piece);
    if (end != NULL)
        *end = '\0';
    return piece;
}

static void each_line(const char *name, size_t least, void (*check)(char *line))
{
    char path[300], line[512];
    snprintf(path, sizeof path, "%s/vectors/ask/%s", PRV_TESTS, name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = 0;
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "# ", 2) == 0 && strstr(line, " | ") == NULL)
            continue;
        n++;
        check(line);
    }
    fclose(f);
    assert_true(n >= least);
}

static void check_info(char *line)
{
    char *rest = line, *text = cut(&rest), *name = cut(&rest), *value = cut(&rest);
    unescape(text);
    /* At the end of a page that may be read, so that a read beyond shows under a sanitizer. */
    const size_t n = strlen(text);
    char *exact = malloc(n > 0 ? n : 1);
    memcpy(exact, text, n);
    const prv_str found = prv_info_find((prv_str){exact, n}, name);
    if (strcmp(value, "-") == 0)
        assert_null(found.p);
    else if (found.n != strlen(value) || memcmp(found.p, value, found.n) != 0)
        fail_msg("%s: `%.*s`, not `%s`", name, (int)found.n, found.p, value);
    assert_int_equal(prv_info_number((prv_str){exact, n}, name), atoll(rest));
    free(exact);
}

static void check_version(char *line)
{
    char *blank = strchr(line, ' ');
    *blank = '\0';
    if (prv_version_reaches(view(line), 7, 0) != (strcmp(blank + 1, "yes") == 0))
        fail_msg("%s", line);
}

static void test_info(void **state)
{
    (void)state;
    each_line("info.txt", 15, check_info);
    assert_null(prv_info_find(PRV_NONE, "x").p);
}

static void test_versions(void **state)
{
    (void)state;
    each_line("versions.txt", 13, check_version);
    assert_false(prv_version_reaches(PRV_NONE, 7, 0));
    assert_true(prv_version_reaches(PRV_STR("7.0.1"), 7, 0));
    assert_false(prv_version_reaches(PRV_STR("7.0.1"), 7, 1));
}

static redisReply *parse(const char *raw)
{
    redisReader *reader = redisReaderCreate();
    void *reply = NULL;
    redisReaderFeed(reader, raw, strlen(raw));
    assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
    assert_non_null(reply);
    redisReaderFree(reader);
    return reply;
}

static void test_answers(void **state)
{
    (void)state;
    static const struct {
        const char *raw;
        prv_answer_kind kind;
        const char *text;
        int64_t number;
        size_t n;
    } table[] = {{"+OK\r\n", PRV_ANSWER_TEXT, "OK", -1, 0},
                 {"$3\r\n123\r\n", PRV_ANSWER_TEXT, "123", 123, 0},
                 {"$0\r\n\r\n", PRV_ANSWER_TEXT, "", -1, 0},
                 {":42\r\n", PRV_ANSWER_NUMBER, "", 42, 0},
                 {":-42\r\n", PRV_ANSWER_NUMBER, "", -42, 0},
                 {"$-1\r\n", PRV_ANSWER_NIL, "", -1, 0},
                 {"*-1\r\n", PRV_ANSWER_NIL, "", -1, 0},
                 {"*0\r\n", PRV_ANSWER_LIST, "", -1, 0},
                 {"*2\r\n:1\r\n*1\r\n+x\r\n", PRV_ANSWER_LIST, "", -1, 2},
                 {"-NOPERM this user said `secret`\r\n", PRV_ANSWER_ERROR, "NOPERM", -1, 0},
                 {"-ERR\r\n", PRV_ANSWER_ERROR, "ERR", -1, 0}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        redisReply *reply = parse(table[i].raw);
        const prv_answer *a = (const prv_answer *)(const void *)reply;
        const prv_str text = prv_answer_text(a);
        assert_int_equal(prv_answer_is(a), table[i].kind);
        assert_int_equal(text.n, strlen(table[i].text));
        assert_int_equal(text.n > 0 ? memcmp(text.p, table[i].text, text.n) : 0, 0);
        assert_int_equal(prv_answer_number(a), table[i].number);
        assert_int_equal(prv_answer_count(a), table[i].n);
        assert_int_equal(prv_answer_is_word(a, "OK"), i == 0);
        if (table[i].n == 2) {
            assert_int_equal(prv_answer_number(prv_answer_at(a, 0)), 1);
            assert_int_equal(prv_answer_count(prv_answer_at(a, 1)), 1);
        }
        freeReplyObject(reply);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_info), cmocka_unit_test(test_versions),
                                       cmocka_unit_test(test_answers)};
    return cmocka_run_group_tests_name("ask", tests, NULL, NULL);
}
