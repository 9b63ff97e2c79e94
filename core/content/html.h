/* An HTML text that grows in env.alloc memory. After a failed allocation nothing more is written
 * and prv_html_end() says so. */
#ifndef PRV_HTML_H
#define PRV_HTML_H

#include "content.h"

typedef struct prv_html {
    const prv_env *env;
    char *p;
    size_t n, cap;
    bool failed;
    const prv_page *page;
    const prv_policy *policy;
    prv_str language;
} prv_html;

void prv_html_begin(prv_html *h, const prv_page *page);
/* The text, or PRV_NONE. */
prv_str prv_html_end(const prv_html *h);
void prv_html_raw(prv_html *h, const char *literal);
/* Escaped for element content and for quoted attributes alike. */
void prv_html_text(prv_html *h, prv_str text);
void prv_html_word(prv_html *h, prv_word word);
/* `<tag>word</tag>\n` */
void prv_html_element(prv_html *h, const char *tag, prv_word word);
/* `YYYY-MM-DD` of a time as a time element. */
void prv_html_date(prv_html *h, int64_t at);
/* Best text by Accept-Language, with a lang attribute's span when it is not the page's language. */
void prv_html_texts(prv_html *h, const prv_texts *texts);
/* A purpose's title, its name where the policy gives none. */
void prv_html_purpose(prv_html *h, const prv_purpose *purpose);
/* A hidden field; nothing when the value is empty. */
void prv_html_hidden(prv_html *h, const char *name, prv_str value);
/* An anchor to an operator's URL; plain text unless it is https:, http: or an own path. */
void prv_html_link(prv_html *h, prv_str url, prv_str text);
/* `<form method="post" action="BASE…">` with return and form token as hidden fields. */
void prv_html_form(prv_html *h, const char *action);
/* Everything up to and including h1 and the notice; everything from </main> on. */
void prv_html_head(prv_html *h, prv_word title);
void prv_html_foot(prv_html *h);

#endif
