/* Pages that the endpoints answer with: server-rendered, complete without JavaScript. HTML from
 * env.alloc. */
#ifndef PRV_CONTENT_H
#define PRV_CONTENT_H

#include "../request/request.h"

#define PRV_PAGE_FIELDS_MAX 128 /* names of 32 purposes three times over, and the form's own */

typedef struct prv_page {
    const prv_request *rq;
    const prv_decision *d;
    const prv_http *http;
    prv_str base;            /* where the endpoints are mounted, with the trailing slash */
    prv_str return_path;     /* validated, or empty */
    prv_str form_token;      /* hidden field of a form, or empty */
    prv_str notice;          /* a sentence on top (answered already, cookies off, ...), or empty */
    const prv_field *fields; /* confirm: the form's values, as hidden fields */
    size_t n_fields;
    prv_str action; /* confirm: where the form goes, below base */
} prv_page;

/* Each returns PRV_NONE when out of memory. */
prv_str prv_page_preferences(const prv_page *page);
prv_str prv_page_age(const prv_page *page);
prv_str prv_page_opt_out(const prv_page *page);
prv_str prv_page_explain(const prv_page *page, prv_str title, prv_str text);
/* The refused form with its values and page->form_token; what it would do is said in words. */
prv_str prv_page_confirm(const prv_page *page);
/* The stylesheet and its content hash (hex) for a versioned URL. Static. */
prv_str prv_page_style(void);
prv_str prv_page_style_version(void);

/* ---- strings.c: what the pages say; `strings` of the policy overrides each key in each language.
 */
typedef enum prv_word {
#define PRV_WORD(id, key, en, fr, de) PRV_WORD_##id,
#include "words.h"
#undef PRV_WORD
    PRV_WORD_COUNT
} prv_word;

/* The language of a page: the best for Accept-Language among the built-in ones and those of the
 * policy's strings. */
prv_str prv_words_language(const prv_policy *policy, prv_str accept_language);
/* A string in a language of prv_words_language(): the policy's, the built-in, the built-in English.
 */
prv_str prv_words_get(const prv_policy *policy, prv_str language, prv_word word);

/* A path as a Location field or an attribute may hold it: bytes that a URL must not hold are
 * percent-encoded, `%` stays. From env.alloc; PRV_NONE: no memory. */
prv_str prv_url_path(const prv_env *env, prv_str path);

#endif
