/*
 * What no vector of a policy shows: the place of every value, memory running out at each
 * allocation, the set of policies, the cookie index against a plain search, lists that are too
 * long.
 */
#include "policy_vectors.h"

#include <sys/stat.h>
#include <unistd.h>

/* ---- places */

static size_t places;

static void check_place(prv_str text, const prv_node *node)
{
    size_t at = prv_json_find(text, node, PRV_AT_VALUE);
    json_error_t e;
    assert_true(at < text.n);
    json_t *there =
        json_loadb(text.p + at, text.n - at, JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK, &e);
    assert_true(json_equal(there, node->value));
    json_decref(there);
    places++;
    if (node->key != NULL) {
        at = prv_json_find(text, node, PRV_AT_KEY);
        there = json_loadb(text.p + at, text.n - at, JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK, &e);
        assert_string_equal(json_string_value(there), node->key);
        json_decref(there);
    }
    const char *key;
    json_t *value;
    json_object_foreach(node->value, key, value)
    {
        prv_node member = prv_node_of(node, key, value);
        check_place(text, &member);
    }
    for (size_t i = 0; i < json_array_size(node->value); i++) {
        prv_node item = prv_node_item(node, i);
        check_place(text, &item);
    }
}

static void check_places(const char *stem)
{
    char path[600];
    size_t n;
    snprintf(path, sizeof path, "%s.json", stem);
    char *text = slurp(path, &n);
    json_t *root = json_loadb(text, n, 0, NULL);
    assert_non_null(root);
    prv_node node = {NULL, NULL, NULL, 0, root};
    check_place((prv_str){text, n}, &node);
    json_decref(root);
    free(text);
}

static void every_value_is_found_in_its_place(void **state)
{
    (void)state;
    walk(VECTORS "/good", check_places);
    assert_true(places > 200);
}

static void lines_and_columns_count_characters_from_one(void **state)
{
    unsigned line, column;
    const prv_str text = PRV_STR("a\u00e9b\n\U0001F600c");
    (void)state;
    prv_json_place(text, 0, &line, &column);
    assert_true(line == 1 && column == 1);
    prv_json_place(text, 3, &line, &column);
    assert_true(line == 1 && column == 3);
    prv_json_place(text, text.n - 1, &line, &column);
    assert_true(line == 2 && column == 2);
}

/* ---- memory running out */

typedef struct failing {
    long left;   /* allocations until one fails */
    bool always; /* and all after it */
    long live;
} failing;

static failing memory;

static bool fails(failing *f)
{
    return f->left-- == 0 || (f->always && f->left < 0);
}

static void *failing_get(void *ctx, size_t n)
{
    failing *f = ctx;
    if (fails(f)) {
        return NULL;
    }
    f->live++;
    return malloc(n);
}

static void failing_put(void *ctx, void *p)
{
    failing *f = ctx;
    f->live -= p != NULL;
    free(p);
}

static void *json_get(size_t n)
{
    return failing_get(&memory, n);
}

static void json_put(void *p)
{
    failing_put(&memory, p);
}

/* Fails allocation 0, 1, ... until a compilation succeeds; the number of failures. */
static long sweep(const char *stem, bool fail_arena, bool fail_json, prv_code expected)
{
    char path[600];
    size_t n;
    snprintf(path, sizeof path, "%s.json", stem);
    char *text = slurp(path, &n);
    prv_memory arena = {&memory, failing_get, failing_put, 0};
    if (!fail_arena) {
        arena = prv_memory_default;
    }
    long at = 0;
    for (prv_code code = PRV_ERR_NOMEM; code != expected; at++) {
        prv_policy *policy;
        prv_error err;
        memory = (failing){at, !fail_arena, 0};
        if (fail_json) {
            json_set_alloc_funcs(json_get, json_put);
        }
        code = prv_policy_compile_with((prv_str){text, n}, "f", &arena, &policy, &err);
        json_set_alloc_funcs(malloc, free);
        prv_policy_free(policy);
        assert_int_equal(memory.live, 0);
        /* jansson takes some of its own failures for a bad token */
        assert_true(code == PRV_ERR_NOMEM || code == expected ||
                    (fail_json && code == PRV_ERR_SYNTAX));
        assert_true(code == PRV_OK || (policy == NULL && err.text[0] != 0));
    }
    free(text);
    return at - 1;
}

static void no_memory_is_an_error_and_no_leak(void **state)
{
    (void)state;
    assert_true(sweep(VECTORS "/good/full", true, false, PRV_OK) > 100);
    assert_true(sweep(VECTORS "/good/full", false, true, PRV_OK) > 100);
    assert_true(sweep(VECTORS "/good/warnings", true, false, PRV_OK) > 50);
    assert_true(sweep(PRV_TESTS "/../config/policy.self-managed", true, false, PRV_OK) > 100);
    assert_true(sweep(VECTORS "/bad/cookie-two-lists", true, false, PRV_ERR_VALUE) > 10);
}

static void no_memory_to_show_a_policy(void **state)
{
    (void)state;
    prv_policy *policy = compile_file(VECTORS "/good/full");
    char *text = NULL;
    long at = 0;
    for (; text == NULL; at++) {
        memory = (failing){at, true, 0};
        json_set_alloc_funcs(json_get, json_put);
        text = prv_policy_json(policy);
        json_set_alloc_funcs(malloc, free);
        assert_int_equal(memory.live, text != NULL);
    }
    assert_true(at > 100);
    free(text);
    prv_policy_free(policy);
}

/* ---- the set */

static char folder[] = "/tmp/prv-policy-XXXXXX";

static const char *write_file(const char *name, const char *text, size_t n)
{
    static char paths[4][300];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    fclose(f);
    return path;
}

static const char *policy_text(const char *id)
{
    static char text[200];
    snprintf(text, sizeof text,
             "{\"schema\":1,\"policy\":{\"id\":\"%s\",\"version\":\"2024-03-15\"},\"purposes\":{}}",
             id);
    return text;
}

static const char *write_policy(const char *name, const char *id)
{
    return write_file(name, policy_text(id), strlen(policy_text(id)));
}

static void a_set_compiles_each_file_once(void **state)
{
    prv_policies *set = prv_policies_new();
    const prv_policy *a, *again, *b;
    prv_error err;
    char link_path[300];
    (void)state;
    const char *path_a = write_policy("a.json", "one"), *path_b = write_policy("b.json", "two");
    assert_int_equal(prv_policies_load(set, path_a, &a, &err), PRV_OK);
    assert_int_equal(prv_policies_load(set, path_b, &b, &err), PRV_OK);
    assert_int_equal(prv_policies_load(set, path_a, &again, &err), PRV_OK);
    assert_true(a == again && a != b);
    assert_string_equal(prv_policy_id(b).p, "two");
    assert_int_equal(a->source_text.n, strlen(policy_text("one")));
    assert_memory_equal(a->source_text.p, policy_text("one"), a->source_text.n);
    snprintf(link_path, sizeof link_path, "%s/link.json", folder);
    assert_int_equal(symlink(path_a, link_path), 0);
    assert_int_equal(prv_policies_load(set, link_path, &again, &err), PRV_OK);
    assert_true(a == again);
    unlink(link_path);
    prv_policies_free(set);
    prv_policies_free(NULL);
}

static void two_files_with_one_id_are_an_error(void **state)
{
    prv_policies *set = prv_policies_new();
    const prv_policy *a, *b;
    prv_error err;
    (void)state;
    assert_int_equal(prv_policies_load(set, write_policy("a.json", "same"), &a, &err), PRV_OK);
    assert_int_equal(prv_policies_load(set, write_policy("b.json", "same"), &b, &err),
                     PRV_ERR_VALUE);
    assert_null(b);
    assert_non_null(strstr(err.text, "/b.json: policy.id \"same\" is also that of /tmp/"));
    assert_non_null(strstr(err.text, "/a.json"));
    prv_policies_free(set);
}

static void files_that_cannot_be_read_say_so(void **state)
{
    prv_policies *set = prv_policies_new();
    const prv_policy *p;
    prv_error err;
    char path[300];
    (void)state;
    snprintf(path, sizeof path, "%s/none.json", folder);
    assert_int_equal(prv_policies_load(set, path, &p, &err), PRV_ERR_IO);
    assert_non_null(strstr(err.text, "/none.json: No such file or directory"));
    assert_int_equal(prv_policies_load(set, folder, &p, &err), PRV_ERR_IO);
    assert_non_null(strstr(err.text, "is not a regular file"));
    snprintf(path, sizeof path, "%s/fifo", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(prv_policies_load(set, path, &p, &err), PRV_ERR_IO);
    unlink(path);
    prv_policies_free(set);
}

static void a_policy_of_more_than_a_mebibyte_is_refused(void **state)
{
    prv_policies *set = prv_policies_new();
    const prv_policy *p;
    prv_error err;
    char *text = malloc(PRV_POLICY_FILE_MAX + 1);
    size_t n = strlen(policy_text("big"));
    (void)state;
    assert_non_null(text);
    memset(text, ' ', PRV_POLICY_FILE_MAX + 1);
    memcpy(text, policy_text("big"), n);
    assert_int_equal(
        prv_policies_load(set, write_file("fits", text, PRV_POLICY_FILE_MAX), &p, &err), PRV_OK);
    assert_int_equal(
        prv_policies_load(set, write_file("big", text, PRV_POLICY_FILE_MAX + 1), &p, &err),
        PRV_ERR_VALUE);
    assert_non_null(
        strstr(err.text, ":1:1: the policy has 1048577 bytes; expected at most 1048576"));
    free(text);
    prv_policies_free(set);
}

static int folder_make(void **state)
{
    (void)state;
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int folder_remove(void **state)
{
    static const char *const names[] = {"a.json", "b.json", "fits", "big"};
    char path[300];
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    return rmdir(folder);
}

/* ---- the cookie index */

static const prv_cookie_rule *plain_search(const prv_policy *p, prv_str name)
{
    const prv_cookie_rule *best = NULL;
    for (size_t i = 0; i < p->n_cookies; i++) {
        const prv_cookie_rule *r = &p->cookies[i];
        if (!r->prefix && prv_str_same(r->name, name)) {
            return r;
        }
        if (r->prefix && name.n >= r->name.n && memcmp(r->name.p, name.p, r->name.n) == 0 &&
            (best == NULL || r->name.n > best->name.n)) {
            best = r;
        }
    }
    return best;
}

static unsigned next_random(void)
{
    static uint32_t x = 2463534242u;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return x;
}

/* Names over a small alphabet, up to the longest that a rule may have and beyond. */
static size_t random_name(char out[160])
{
    unsigned kind = next_random() % 16;
    size_t n = kind == 0 ? 120 + next_random() % 20 : 3 + next_random() % 5;
    for (size_t i = 0; i < n; i++) {
        out[i] = kind == 0 ? 'a' : "ab_"[next_random() % 3];
    }
    out[n] = 0;
    return n;
}

static void the_index_finds_what_a_search_finds(void **state)
{
    char name[160], *text = malloc(200000);
    prv_policy *policy;
    prv_error err;
    unsigned hits = 0;
    (void)state;
    assert_non_null(text);
    size_t n = (size_t)sprintf(
        text, "{\"schema\":1,\"policy\":{\"id\":\"r\",\"version\":\"2024-03-15\"},"
              "\"purposes\":{\"a\":{\"basis\":\"consent\"}},\"cookies\":{\"a\":[\"a\"");
    json_t *seen = json_object();
    json_object_set_new(seen, "a", json_true());
    for (int i = 0; i < 600; i++) {
        size_t len = random_name(name);
        if (len <= PRV_COOKIE_NAME_MAX && next_random() % 3 == 0) {
            strcpy(name + len, "*");
        }
        if (len <= PRV_COOKIE_NAME_MAX && json_object_get(seen, name) == NULL) {
            json_object_set_new(seen, name, json_true());
            n += (size_t)sprintf(text + n, ",\"%s\"", name);
        }
    }
    n += (size_t)sprintf(text + n, "]}}");
    json_decref(seen);
    if (prv_policy_compile((prv_str){text, n}, "random", &policy, &err) != PRV_OK) {
        fail_msg("%s", err.text);
    }
    for (int i = 0; i < 20000; i++) {
        prv_str wanted = {name, random_name(name)};
        const prv_cookie_rule *found = prv_policy_cookie(policy, wanted);
        assert_ptr_equal(found, plain_search(policy, wanted));
        hits += found != NULL;
    }
    assert_true(hits > 1000 && hits < 20000);
    assert_null(prv_policy_cookie(policy, PRV_NONE));
    prv_policy_free(policy);
    free(text);
}

/* ---- limits that bound the work */

static void lists_are_bounded(void **state)
{
    prv_policy *policy;
    prv_error err;
    char *text = malloc(400000);
    (void)state;
    assert_non_null(text);
    size_t n =
        (size_t)sprintf(text, "{\"schema\":1,\"policy\":{\"id\":\"r\",\"version\":\"2024-03-15\"},"
                              "\"purposes\":{\"a\":{\"basis\":\"consent\"}},\"vendors\":{");
    for (int i = 0; i <= PRV_VENDORS_MAX; i++) {
        n += (size_t)sprintf(text + n, "%s\"v%d\":{\"purpose\":\"a\"}", i > 0 ? "," : "", i);
    }
    n += (size_t)sprintf(text + n, "}}");
    assert_int_equal(prv_policy_compile((prv_str){text, n}, "v", &policy, &err), PRV_ERR_VALUE);
    assert_non_null(strstr(err.text, "1025 vendors; expected at most 1024"));
    n = (size_t)sprintf(text, "{\"schema\":1,\"policy\":{\"id\":\"r\",\"version\":\"2024-03-15\"},"
                              "\"purposes\":{},\"jurisdictions\":{");
    for (int i = 0; i < PRV_JURISDICTIONS_MAX; i++) {
        n += (size_t)sprintf(text + n, "%s\"j%d\":{\"default\":\"deny\",\"regions\":[\"%c%c\"]}",
                             i > 0 ? "," : "", i, 'A' + i / 26, 'A' + i % 26);
    }
    n += (size_t)sprintf(text + n, "}}");
    assert_int_equal(prv_policy_compile((prv_str){text, n}, "j", &policy, &err), PRV_ERR_VALUE);
    assert_non_null(strstr(err.text, "255 jurisdictions; expected at most 254"));
    free(text);
}

static void a_long_file_name_leaves_room_for_the_message(void **state)
{
    prv_policy *policy;
    prv_error err;
    char name[3000];
    (void)state;
    memset(name, 'd', sizeof name);
    memcpy(name + sizeof name - 13, "/policy.json", 13);
    assert_int_equal(prv_policy_compile(PRV_STR("{\"schema\": 2}"), name, &policy, &err),
                     PRV_ERR_VALUE);
    assert_non_null(strstr(err.text, "/policy.json:1:12: schema is 2; expected 1"));
    assert_int_equal(prv_policy_compile(PRV_STR("{"), name, &policy, &err), PRV_ERR_SYNTAX);
    assert_non_null(strstr(err.text, "/policy.json:1:1: string or '}' expected"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_value_is_found_in_its_place),
        cmocka_unit_test(lines_and_columns_count_characters_from_one),
        cmocka_unit_test(no_memory_is_an_error_and_no_leak),
        cmocka_unit_test(no_memory_to_show_a_policy),
        cmocka_unit_test(a_set_compiles_each_file_once),
        cmocka_unit_test(two_files_with_one_id_are_an_error),
        cmocka_unit_test(files_that_cannot_be_read_say_so),
        cmocka_unit_test(a_policy_of_more_than_a_mebibyte_is_refused),
        cmocka_unit_test(the_index_finds_what_a_search_finds),
        cmocka_unit_test(lists_are_bounded),
        cmocka_unit_test(a_long_file_name_leaves_room_for_the_message),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
