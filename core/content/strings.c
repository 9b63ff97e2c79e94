#include "content.h"

#include <string.h>

typedef struct entry {
    prv_str key;
    prv_str text[3];
} entry;

#define LANGUAGES 3
static const prv_str languages[LANGUAGES] = {PRV_STR("en"), PRV_STR("fr"), PRV_STR("de")};

static const entry entries[PRV_WORD_COUNT] = {
#define PRV_WORD(id, key, en, fr, de) {PRV_STR(key), {PRV_STR(en), PRV_STR(fr), PRV_STR(de)}},
#include "words.h"
#undef PRV_WORD
};

static bool same(prv_str a, prv_str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

prv_str prv_words_language(const prv_policy *policy, prv_str accept_language)
{
    prv_str tags[LANGUAGES +
                 16]; /* more languages than that in one policy's strings are not looked at */
    size_t n = 0;
    for (; n < LANGUAGES; n++)
        tags[n] = languages[n];
    for (size_t i = 0; i < policy->n_strings && n < sizeof tags / sizeof tags[0]; i++) {
        bool known = false;
        for (size_t k = 0; k < n && !known; k++)
            known = same(tags[k], policy->strings[i].lang);
        if (!known)
            tags[n++] = policy->strings[i].lang;
    }
    const prv_texts texts = {.n = n, .lang = tags, .text = tags};
    return prv_texts_pick(&texts, accept_language);
}

prv_str prv_words_get(const prv_policy *policy, prv_str language, prv_word word)
{
    const entry *e = &entries[word];
    for (size_t i = 0; i < policy->n_strings; i++) {
        if (same(policy->strings[i].lang, language) && same(policy->strings[i].key, e->key))
            return policy->strings[i].text;
    }
    for (size_t i = 0; i < LANGUAGES; i++) {
        if (same(languages[i], language))
            return e->text[i];
    }
    return e->text[0];
}
