#include "html.h"

#include <string.h>

#define FIRST_CAPACITY 8192 /* the preferences page of the sample policy fits in two steps */

void prv_html_begin(prv_html *h, const prv_page *page)
{
    const prv_policy *policy = page->rq->site->policy;
    *h = (prv_html){.env = page->rq->env,
                    .page = page,
                    .policy = policy,
                    .language = prv_words_language(policy, page->http->accept_language)};
}

prv_str prv_html_end(const prv_html *h)
{
    return h->failed || h->p == NULL ? PRV_NONE : (prv_str){h->p, h->n};
}

static bool room(prv_html *h, size_t n)
{
    if (h->failed)
        return false;
    if (n <= h->cap - h->n)
        return true;
    size_t cap = h->cap == 0 ? FIRST_CAPACITY : h->cap;
    while (cap - h->n < n) {
        if (cap > SIZE_MAX / 2) {
            h->failed = true;
            return false;
        }
        cap *= 2;
    }
    char *p = h->env->alloc(h->env->ctx, cap);
    if (p == NULL) {
        h->failed = true;
        return false;
    }
    if (h->n > 0)
        memcpy(p, h->p, h->n);
    h->p = p;
    h->cap = cap;
    return true;
}

static void put(prv_html *h, const char *p, size_t n)
{
    if (n > 0 && room(h, n)) {
        memcpy(h->p + h->n, p, n);
        h->n += n;
    }
}

void prv_html_raw(prv_html *h, const char *literal)
{
    put(h, literal, strlen(literal));
}

static const char *entity(char c)
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    case '\r': /* would be lost or changed by the parser in a hidden field */
        return "&#13;";
    case '\n':
        return "&#10;";
    case '\0':
        return "&#65533;";
    default:
        return NULL;
    }
}

void prv_html_text(prv_html *h, prv_str text)
{
    size_t from = 0;
    for (size_t i = 0; i < text.n; i++) {
        const char *e = entity(text.p[i]);
        if (e != NULL) {
            put(h, text.p + from, i - from);
            prv_html_raw(h, e);
            from = i + 1;
        }
    }
    if (text.n > from)
        put(h, text.p + from, text.n - from);
}

void prv_html_word(prv_html *h, prv_word word)
{
    prv_html_text(h, prv_words_get(h->policy, h->language, word));
}

void prv_html_element(prv_html *h, const char *tag, prv_word word)
{
    prv_html_raw(h, "<");
    prv_html_raw(h, tag);
    prv_html_raw(h, ">");
    prv_html_word(h, word);
    prv_html_raw(h, "</");
    prv_html_raw(h, tag);
    prv_html_raw(h, ">\n");
}

void prv_html_date(prv_html *h, int64_t at)
{
    char text[24];
    size_t n = prv_rfc3339_format(at, text);
    if (n < 10)
        return;
    prv_html_raw(h, "<time datetime=\"");
    prv_html_text(h, (prv_str){text, n});
    prv_html_raw(h, "\">");
    prv_html_text(h, (prv_str){text, 10});
    prv_html_raw(h, "</time>");
}

void prv_html_texts(prv_html *h, const prv_texts *texts)
{
    const prv_str accept = h->page->http->accept_language;
    prv_str text = prv_texts_pick(texts, accept);
    /* The same choice over the tags themselves tells which language it was. */
    const prv_texts tags = {.n = texts->n, .lang = texts->lang, .text = texts->lang};
    prv_str tag = prv_texts_pick(&tags, accept);
    if (text.n == 0)
        return;
    bool other = tag.n != h->language.n || (tag.n > 0 && memcmp(tag.p, h->language.p, tag.n) != 0);
    if (other && tag.n > 0) {
        prv_html_raw(h, "<span lang=\"");
        prv_html_text(h, tag);
        prv_html_raw(h, "\">");
    }
    prv_html_text(h, text);
    if (other && tag.n > 0)
        prv_html_raw(h, "</span>");
}

void prv_html_purpose(prv_html *h, const prv_purpose *purpose)
{
    if (purpose->title.n > 0)
        prv_html_texts(h, &purpose->title);
    else
        prv_html_text(h, purpose->name);
}

void prv_html_hidden(prv_html *h, const char *name, prv_str value)
{
    if (value.n == 0)
        return;
    prv_html_raw(h, "<input type=\"hidden\" name=\"");
    prv_html_raw(h, name);
    prv_html_raw(h, "\" value=\"");
    prv_html_text(h, value);
    prv_html_raw(h, "\">\n");
}

static bool starts(prv_str text, const char *prefix)
{
    size_t n = strlen(prefix);
    return text.n >= n && memcmp(text.p, prefix, n) == 0;
}

void prv_html_link(prv_html *h, prv_str url, prv_str text)
{
    bool link = starts(url, "https://") || starts(url, "http://") || prv_return_valid(url);
    if (link) {
        prv_html_raw(h, "<a href=\"");
        prv_html_text(h, url);
        prv_html_raw(h, "\">");
    }
    prv_html_text(h, text);
    if (link)
        prv_html_raw(h, "</a>");
}

void prv_html_form(prv_html *h, const char *action)
{
    prv_html_raw(h, "<form method=\"post\" action=\"");
    prv_html_text(h, prv_url_path(h->env, h->page->base));
    prv_html_raw(h, action);
    prv_html_raw(h, "\">\n");
    prv_html_hidden(h, "return", h->page->return_path);
    prv_html_hidden(h, "token", h->page->form_token);
}

void prv_html_head(prv_html *h, prv_word title)
{
    prv_html_raw(h, "<!DOCTYPE html>\n<html lang=\"");
    prv_html_text(h, h->language);
    prv_html_raw(h, "\">\n<head>\n<meta charset=\"utf-8\">\n"
                    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                    "<meta name=\"robots\" content=\"noindex\">\n<title>");
    prv_html_word(h, title);
    prv_html_raw(h, "</title>\n<link rel=\"stylesheet\" href=\"");
    prv_html_text(h, prv_url_path(h->env, h->page->base));
    prv_html_raw(h, "style.css?v=");
    prv_html_text(h, prv_page_style_version());
    prv_html_raw(h, "\">\n</head>\n<body>\n<main>\n");
    prv_html_element(h, "h1", title);
    if (h->page->notice.n > 0) {
        prv_html_raw(h, "<p class=\"notice\" role=\"status\">");
        prv_html_text(h, h->page->notice);
        prv_html_raw(h, "</p>\n");
    }
}

void prv_html_foot(prv_html *h)
{
    prv_html_raw(h, "</main>\n</body>\n</html>\n");
}

prv_str prv_url_path(const prv_env *env, prv_str path)
{
    static const char hex[] = "0123456789ABCDEF";
    char *out = path.n > SIZE_MAX / 3 - 1 ? NULL : env->alloc(env->ctx, path.n * 3 + 1);
    size_t n = 0;
    if (out == NULL)
        return PRV_NONE;
    for (size_t i = 0; i < path.n; i++) {
        unsigned char c = (unsigned char)path.p[i];
        if (c > ' ' && c < 0x7f && strchr("\"<>\\^`{|}", c) == NULL) {
            out[n++] = (char)c;
        } else {
            out[n++] = '%';
            out[n++] = hex[c >> 4];
            out[n++] = hex[c & 15];
        }
    }
    return (prv_str){out, n};
}
