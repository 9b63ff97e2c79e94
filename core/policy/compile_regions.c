/* The sections `jurisdictions`, `age`, `lifetimes` and `strings`. */
#include "compile.h"

#include <string.h>

/* ---- jurisdictions */

static bool check_region_once(const prv_node *node, const prv_jurisdiction *list, size_t n)
{
    const prv_jurisdiction *j = &list[n];
    for (size_t i = 0; i < n; i++) {
        for (size_t a = 0; a < list[i].n_regions; a++) {
            for (size_t b = 0; b < j->n_regions; b++) {
                if (memcmp(&list[i].regions[a], &j->regions[b], sizeof j->regions[b]) == 0) {
                    prv_node item = prv_node_item(node, b);
                    return prv_node_fail(
                        &item, PRV_AT_VALUE, PRV_ERR_VALUE,
                        "the region %s stands already in jurisdictions.%s; expected each in "
                        "one",
                        j->regions[b].c, list[i].name.p);
                }
            }
        }
    }
    return true;
}

static bool read_jurisdiction(const prv_node *node, prv_jurisdiction *list, size_t n)
{
    static const char *const known[] = {"regions", "default", "notice", NULL};
    static const char *const known_rest[] = {"default", "notice", NULL};
    static const prv_word defaults[] = {{"deny", 0}, {"allow", 1}, {NULL, 0}};
    static const prv_word notices[] = {{"opt-out", 0}, {"opt-in", 1}, {NULL, 0}};
    bool rest = strcmp(node->key, "*") == 0;
    prv_jurisdiction *j = &list[n];
    prv_node member;
    int allow, opt_in;
    if (!prv_node_members(node, rest ? known_rest : known) ||
        !prv_node_need(node, "default", &member) || !prv_read_word(&member, defaults, &allow)) {
        return false;
    }
    opt_in = !allow;
    if (prv_node_get(node, "notice", &member) && !prv_read_word(&member, notices, &opt_in)) {
        return false;
    }
    j->allow = allow != 0;
    j->opt_in = opt_in != 0;
    if (rest) {
        return prv_compile_copy(node->c, "*", &j->name);
    }
    return prv_read_name(node, "jurisdiction", "-", &j->name) &&
           prv_node_need(node, "regions", &member) &&
           prv_read_regions(&member, &j->regions, &j->n_regions) &&
           check_region_once(&member, list, n);
}

/* `*` is last, and denies where nothing says otherwise. */
static bool add_rest(prv_compiler *c, prv_jurisdiction *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (prv_str_is(list[i].name, "*")) {
            prv_jurisdiction rest = list[i];
            memmove(&list[i], &list[i + 1], (n - i - 1) * sizeof *list);
            list[n - 1] = rest;
            c->policy->n_jurisdictions = n;
            return true;
        }
    }
    list[n] = (prv_jurisdiction){.opt_in = true};
    c->policy->n_jurisdictions = n + 1;
    return prv_compile_copy(c, "*", &list[n].name);
}

bool prv_compile_jurisdictions(const prv_node *root)
{
    prv_policy *policy = root->c->policy;
    prv_node at;
    const char *key;
    json_t *value;
    bool given = prv_node_get(root, "jurisdictions", &at);
    if (given && !prv_node_is_object(&at)) {
        return false;
    }
    size_t count = given ? prv_node_count(&at) : 0, n = 0, regions = 0;
    if (count >= PRV_JURISDICTIONS_MAX) {
        return prv_node_fail(&at, PRV_AT_VALUE, PRV_ERR_VALUE,
                             "%zu jurisdictions; expected at most %d", count,
                             PRV_JURISDICTIONS_MAX - 1);
    }
    prv_jurisdiction *list = prv_compile_alloc(root->c, count + 1, sizeof *list);
    if (list == NULL) {
        return false;
    }
    policy->jurisdictions = list;
    json_object_foreach(given ? at.value : NULL, key, value)
    {
        prv_node node = prv_node_of(&at, key, value);
        if (prv_node_ignored(key)) {
            continue;
        }
        if (!read_jurisdiction(&node, list, n)) {
            return false;
        }
        regions += list[n++].n_regions;
        if (regions > 4 * PRV_REGIONS_MAX) {
            return prv_node_fail(&node, PRV_AT_KEY, PRV_ERR_VALUE,
                                 "the jurisdictions name more than %d regions",
                                 4 * PRV_REGIONS_MAX);
        }
    }
    return add_rest(root->c, list, n);
}

/* ---- age */

static bool read_age(const prv_node *object, const char *key, uint8_t *out)
{
    prv_node node;
    int age;
    if (!prv_node_get(object, key, &node)) {
        return true;
    }
    if (!prv_read_int(&node, 1, 120, &age)) {
        return false;
    }
    *out = (uint8_t)age;
    return true;
}

static bool read_age_regions(const prv_node *at)
{
    prv_policy *policy = at->c->policy;
    char quoted[PRV_QUOTED];
    const char *key;
    json_t *value;
    if (!prv_node_is_object(at)) {
        return false;
    }
    size_t count = prv_node_count(at);
    if (count > PRV_REGIONS_MAX) {
        return prv_node_fail(at, PRV_AT_VALUE, PRV_ERR_VALUE, "%zu regions; expected at most %d",
                             count, PRV_REGIONS_MAX);
    }
    prv_age_region *ages = prv_compile_alloc(at->c, count, sizeof *ages);
    if (ages == NULL) {
        return false;
    }
    policy->age_regions = ages;
    json_object_foreach(at->value, key, value)
    {
        prv_node node = prv_node_of(at, key, value);
        prv_age_region *entry = &ages[policy->n_age_regions];
        if (prv_node_ignored(key)) {
            continue;
        }
        if (!prv_read_region(&node, PRV_AT_KEY, key, &entry->region) ||
            !read_age(at, key, &entry->age)) {
            return false;
        }
        for (size_t i = 0; i < policy->n_age_regions; i++) {
            if (memcmp(&ages[i].region, &entry->region, sizeof entry->region) == 0) {
                return prv_node_fail(&node, PRV_AT_KEY, PRV_ERR_VALUE, "age.regions names %s twice",
                                     prv_quoted(key, quoted));
            }
        }
        policy->n_age_regions++;
    }
    return true;
}

bool prv_compile_age(const prv_node *root)
{
    static const char *const known[] = {"minimum", "unknown_region", "sale_opt_in", "regions",
                                        NULL};
    prv_policy *policy = root->c->policy;
    prv_node at, node;
    if (!prv_node_get(root, "age", &at)) {
        return true;
    }
    policy->has_age = true;
    return prv_node_members(&at, known) && prv_node_need(&at, "minimum", &node) &&
           read_age(&at, "minimum", &policy->age_minimum) &&
           read_age(&at, "unknown_region", &policy->age_unknown) &&
           read_age(&at, "sale_opt_in", &policy->age_sale) &&
           (!prv_node_get(&at, "regions", &node) || read_age_regions(&node));
}

/* ---- lifetimes */

static bool read_lifetime(const prv_node *at, const char *key, int64_t high, const char *range,
                          int64_t *out)
{
    prv_node node;
    return !prv_node_get(at, key, &node) || prv_read_duration(&node, 1, high, range, out);
}

/* What outlives the maximum is cut; said aloud only where somebody wrote it. */
static bool cut(const prv_node *at, const char *key, int64_t maximum, int64_t *seconds)
{
    prv_node node;
    if (*seconds <= maximum) {
        return true;
    }
    *seconds = maximum;
    return !prv_node_get(at, key, &node) ||
           prv_node_warn(&node, PRV_AT_VALUE,
                         "lifetimes.%s is longer than lifetimes.maximum and is cut to it", key);
}

bool prv_compile_lifetimes(const prv_node *root)
{
    static const char *const known[] = {"choice", "refusal",  "maximum", "history",
                                        "age",    "requests", NULL};
    static const char *const range = "1s to 10y";
    prv_lifetimes *life = &root->c->policy->lifetimes;
    prv_node at;
    *life = (prv_lifetimes)PRV_LIFETIMES_DEFAULT;
    if (!prv_node_get(root, "lifetimes", &at)) {
        return true;
    }
    return prv_node_members(&at, known) &&
           read_lifetime(&at, "maximum", PRV_LIFETIME_CAP, "1s to 395d", &life->maximum) &&
           read_lifetime(&at, "choice", PRV_TEN_YEARS, range, &life->choice) &&
           read_lifetime(&at, "refusal", PRV_TEN_YEARS, range, &life->refusal) &&
           read_lifetime(&at, "history", PRV_TEN_YEARS, range, &life->history) &&
           read_lifetime(&at, "age", PRV_TEN_YEARS, range, &life->age) &&
           read_lifetime(&at, "requests", PRV_TEN_YEARS, range, &life->requests) &&
           cut(&at, "choice", life->maximum, &life->choice) &&
           cut(&at, "refusal", life->maximum, &life->refusal);
}

/* ---- strings */

static bool read_strings(const prv_node *language, struct prv_string *strings, prv_str lang)
{
    prv_policy *policy = language->c->policy;
    char quoted[PRV_QUOTED];
    const char *key;
    json_t *value;
    json_object_foreach(language->value, key, value)
    {
        prv_node node = prv_node_of(language, key, value);
        struct prv_string *s = &strings[policy->n_strings];
        if (prv_node_ignored(key)) {
            continue;
        }
        if (*key == 0 || key[strspn(key, "abcdefghijklmnopqrstuvwxyz_")] != 0 ||
            strlen(key) > PRV_NAME_MAX) {
            return prv_node_fail(&node, PRV_AT_KEY, PRV_ERR_VALUE,
                                 "%s is no name of a string; expected 1 to %d of a-z _",
                                 prv_quoted(key, quoted), PRV_NAME_MAX);
        }
        s->lang = lang;
        if (!prv_compile_copy(node.c, key, &s->key) || !prv_read_text(&node, &s->text)) {
            return false;
        }
        policy->n_strings++;
    }
    return true;
}

bool prv_compile_strings(const prv_node *root)
{
    prv_node at;
    const char *key;
    json_t *value;
    size_t count = 0, n = 0;
    prv_str langs[PRV_LANGS_MAX];
    if (!prv_node_get(root, "strings", &at)) {
        return true;
    }
    if (!prv_node_is_object(&at)) {
        return false;
    }
    json_object_foreach(at.value, key, value)
    {
        count += json_object_size(value); /* 0 for what is no object */
    }
    struct prv_string *strings = prv_compile_alloc(root->c, count, sizeof *strings);
    if (strings == NULL) {
        return false;
    }
    root->c->policy->strings = strings;
    json_object_foreach(at.value, key, value)
    {
        prv_node node = prv_node_of(&at, key, value);
        if (prv_node_ignored(key)) {
            continue;
        }
        if (n == PRV_LANGS_MAX) {
            return prv_node_fail(&node, PRV_AT_KEY, PRV_ERR_VALUE,
                                 "strings has more than %d languages", PRV_LANGS_MAX);
        }
        if (!prv_read_lang(&node, &langs[n]) || !prv_node_is_object(&node)) {
            return false;
        }
        for (size_t i = 0; i < n; i++) {
            if (prv_str_same(langs[i], langs[n])) {
                return prv_node_fail(&node, PRV_AT_KEY, PRV_ERR_VALUE,
                                     "strings says the language %s twice", langs[n].p);
            }
        }
        if (!read_strings(&node, strings, langs[n++])) {
            return false;
        }
    }
    return true;
}
