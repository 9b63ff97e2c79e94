/*
 * The preferences page: everything that a choice needs to be informed, in forms that work without
 * JavaScript. Accept and refuse stand in a form of their own, so that Enter in the list of purposes
 * can only save what is ticked.
 */
#include "html.h"

#include <string.h>

typedef struct view {
    prv_html h;
    const prv_page *page;
    const prv_policy *policy;
    const prv_state *state;
    const prv_decision *d;
    int64_t now;
} view;

static bool valid_grant(const view *v, unsigned i)
{
    return (v->state->granted & 1u << i) && v->state->version >= v->policy->purposes[i].since &&
           v->now < v->state->expires;
}

/* ------------------------------------------------------------------ what is known */

static void signals(view *v)
{
    prv_html *h = &v->h;
    const unsigned on = v->page->rq->signals;
    if ((on & PRV_SIGNAL_GPC) && v->policy->listens_gpc)
        prv_html_element(h, "p", PRV_WORD_GPC);
    if ((on & PRV_SIGNAL_DNT) && v->policy->listens_dnt)
        prv_html_element(h, "p", PRV_WORD_DNT);
    uint32_t by_age = 0;
    for (unsigned i = 0; i < v->policy->n_purposes; i++)
        by_age |= v->d->row[i] == 6 ? 1u << i : 0;
    if (by_age != 0)
        prv_html_element(h, "p", PRV_WORD_UNDER);
    if (v->state->restricted)
        prv_html_element(h, "p", PRV_WORD_RESTRICTED);
}

static void row(prv_html *h, prv_word word)
{
    prv_html_element(h, "dt", word);
    prv_html_raw(h, "<dd>");
}

static void row_text(prv_html *h, prv_word word, prv_str text)
{
    if (text.n == 0)
        return;
    row(h, word);
    prv_html_text(h, text);
    prv_html_raw(h, "</dd>\n");
}

static void record(view *v)
{
    prv_html *h = &v->h;
    prv_html_raw(h, "<section>\n");
    prv_html_element(h, "h2", PRV_WORD_RECORD);
    if (!v->state->present) {
        prv_html_element(h, "p", PRV_WORD_RECORD_ABSENT);
        prv_html_raw(h, "</section>\n");
        return;
    }
    if (v->state->id_len == 0)
        prv_html_element(h, "p", PRV_WORD_RECORD_NONE);
    prv_html_raw(h, "<dl>\n");
    if (v->state->id_len > 0) {
        row(h, PRV_WORD_RECORD_ID);
        prv_html_raw(h, "<code>");
        prv_html_text(h, (prv_str){v->state->id, v->state->id_len});
        prv_html_raw(h, "</code></dd>\n");
    }
    if (v->state->version != 0) {
        row(h, PRV_WORD_DECIDED);
        prv_html_date(h, v->state->at);
        prv_html_raw(h, "</dd>\n");
        row(h, PRV_WORD_EXPIRES);
        prv_html_date(h, v->state->expires);
        prv_html_raw(h, "</dd>\n");
    }
    prv_html_raw(h, "</dl>\n");
    prv_html_form(h, "consent");
    prv_html_hidden(h, "choice", PRV_STR("refuse"));
    prv_html_element(h, "p", PRV_WORD_WITHDRAW_ABOUT);
    prv_html_raw(h, "<p><button type=\"submit\">");
    prv_html_word(h, PRV_WORD_WITHDRAW);
    prv_html_raw(h, "</button></p>\n</form>\n</section>\n");
}

/* ------------------------------------------------------------------ one purpose */

static prv_word basis_word(prv_basis basis)
{
    static const prv_word words[] = {
        [PRV_BASIS_CONTRACT] = PRV_WORD_BASIS_CONTRACT,
        [PRV_BASIS_LEGAL_OBLIGATION] = PRV_WORD_BASIS_LEGAL,
        [PRV_BASIS_VITAL_INTERESTS] = PRV_WORD_BASIS_VITAL,
        [PRV_BASIS_PUBLIC_TASK] = PRV_WORD_BASIS_PUBLIC,
        [PRV_BASIS_LEGITIMATE_INTERESTS] = PRV_WORD_BASIS_LEGITIMATE,
        [PRV_BASIS_CONSENT] = PRV_WORD_BASIS_CONSENT,
    };
    return words[basis];
}

static void vendor(prv_html *h, const prv_vendor *vendor)
{
    prv_html_raw(h, "<li>");
    prv_html_text(h, vendor->title.n > 0 ? vendor->title : vendor->name);
    if (vendor->location.n > 0) {
        prv_html_raw(h, " · ");
        prv_html_word(h, PRV_WORD_LOCATION);
        prv_html_raw(h, ": ");
        prv_html_text(h, vendor->location);
        for (size_t i = 0; i < vendor->n_regions; i++) {
            prv_html_raw(h, i == 0 ? " (→ " : ", ");
            prv_html_text(h, (prv_str){vendor->regions[i].c, vendor->regions[i].n});
        }
        if (vendor->n_regions > 0)
            prv_html_raw(h, ")");
    }
    if (vendor->safeguard.n > 0) {
        prv_html_raw(h, " · ");
        prv_html_word(h, PRV_WORD_SAFEGUARD);
        prv_html_raw(h, ": ");
        prv_html_text(h, vendor->safeguard);
    }
    prv_html_raw(h, "</li>\n");
}

static void vendors(view *v, unsigned purpose)
{
    bool open = false;
    for (size_t i = 0; i < v->policy->n_vendors; i++) {
        const prv_vendor *one = &v->policy->vendors[i];
        if (one->purpose != purpose || one->off)
            continue;
        if (!open) {
            prv_html_raw(&v->h, "<p class=\"about\">");
            prv_html_word(&v->h, PRV_WORD_VENDORS);
            prv_html_raw(&v->h, "</p>\n<ul>\n");
        }
        open = true;
        vendor(&v->h, one);
    }
    if (open)
        prv_html_raw(&v->h, "</ul>\n");
}

static void cookie(prv_html *h, const prv_cookie_rule *rule)
{
    prv_html_raw(h, "<tr><td><code>");
    prv_html_text(h, rule->name);
    prv_html_raw(h, rule->prefix ? "*</code></td><td>" : "</code></td><td>");
    prv_html_text(h, rule->life);
    prv_html_raw(h, "</td><td>");
    prv_html_texts(h, &rule->about);
    prv_html_raw(h, "</td></tr>\n");
}

static void cookies(view *v, unsigned purpose)
{
    prv_html *h = &v->h;
    bool open = false;
    for (size_t i = 0; i < v->policy->n_cookies; i++) {
        const prv_cookie_rule *rule = &v->policy->cookies[i];
        if (rule->purpose != purpose)
            continue;
        if (!open) {
            prv_html_raw(h, "<details>\n");
            prv_html_element(h, "summary", PRV_WORD_COOKIES);
            prv_html_raw(h, "<table>\n<thead><tr><th scope=\"col\">");
            prv_html_word(h, PRV_WORD_COOKIE_NAME);
            prv_html_raw(h, "</th><th scope=\"col\">");
            prv_html_word(h, PRV_WORD_COOKIE_LIFE);
            prv_html_raw(h, "</th><th scope=\"col\">");
            prv_html_word(h, PRV_WORD_COOKIE_ABOUT);
            prv_html_raw(h, "</th></tr></thead>\n<tbody>\n");
        }
        open = true;
        cookie(h, rule);
    }
    if (open)
        prv_html_raw(h, "</tbody>\n</table>\n</details>\n");
}

/* A box is ticked only if the visitor ticked it before: a grant that counts, or an objection that
 * stands. */
static void box(prv_html *h, const char *field, const prv_purpose *purpose, bool ticked,
                prv_word word)
{
    prv_html_raw(h, "<p><label><input type=\"checkbox\" name=\"");
    prv_html_raw(h, field);
    prv_html_raw(h, "\" value=\"");
    prv_html_text(h, purpose->name);
    prv_html_raw(h, ticked ? "\" checked>" : "\">");
    prv_html_word(h, word);
    prv_html_raw(h, "</label></p>\n");
}

static void controls(view *v, unsigned i)
{
    const prv_purpose *purpose = &v->policy->purposes[i];
    const uint32_t bit = 1u << i;
    prv_html *h = &v->h;
    if (v->policy->row2 & bit) {
        prv_html_raw(h, "<p class=\"about\">");
        prv_html_word(h, PRV_WORD_ALWAYS);
        if (purpose->exempt.n > 0) {
            prv_html_raw(h, ": ");
            prv_html_text(h, purpose->exempt);
        }
        prv_html_raw(h, "</p>\n");
        return;
    }
    if (purpose->basis == PRV_BASIS_CONSENT) {
        prv_html_hidden(h, "asked", purpose->name);
        box(h, "purpose", purpose, valid_grant(v, i) && !(v->state->refused & bit), PRV_WORD_ALLOW);
    } else {
        /* Asked only where there is an objection to lift: an old page must not lift a newer one. */
        if (v->state->refused & bit)
            prv_html_hidden(h, "asked", purpose->name);
        box(h, "object", purpose, (v->state->refused & bit) != 0, PRV_WORD_OBJECT);
    }
    prv_html_raw(h, "<p class=\"about\">");
    prv_html_word(h, v->d->allowed & bit ? PRV_WORD_NOW_ALLOWED : PRV_WORD_NOW_DENIED);
    prv_html_raw(h, "</p>\n");
    if (purpose->subject_required)
        prv_html_element(h, "p", PRV_WORD_ACCOUNT_ONLY);
    if (valid_grant(v, i) && (v->d->row[i] == 8 || v->d->row[i] == 9))
        prv_html_element(h, "p", PRV_WORD_OVERRIDDEN);
}

static void purpose_of(view *v, unsigned i)
{
    const prv_purpose *purpose = &v->policy->purposes[i];
    prv_html *h = &v->h;
    prv_html_raw(h, "<fieldset>\n<legend>");
    prv_html_purpose(h, purpose);
    prv_html_raw(h, "</legend>\n");
    if (purpose->description.n > 0) {
        prv_html_raw(h, "<p>");
        prv_html_texts(h, &purpose->description);
        prv_html_raw(h, "</p>\n");
    }
    prv_html_raw(h, "<p class=\"about\">");
    prv_html_word(h, PRV_WORD_BASIS);
    prv_html_raw(h, ": ");
    prv_html_word(h, basis_word(purpose->basis));
    prv_html_raw(h, "</p>\n");
    vendors(v, i);
    cookies(v, i);
    controls(v, i);
    prv_html_raw(h, "</fieldset>\n");
}

static void all_at_once(prv_html *h)
{
    prv_html_raw(h, "<section>\n");
    prv_html_element(h, "h2", PRV_WORD_ALL_AT_ONCE);
    prv_html_form(h, "consent");
    prv_html_raw(h, "<p class=\"choice\">\n"
                    "<button type=\"submit\" name=\"choice\" value=\"refuse\">");
    prv_html_word(h, PRV_WORD_REFUSE);
    prv_html_raw(h, "</button>\n<button type=\"submit\" name=\"choice\" value=\"accept\">");
    prv_html_word(h, PRV_WORD_ACCEPT);
    prv_html_raw(h, "</button>\n</p>\n</form>\n</section>\n");
}

static void choices(view *v)
{
    prv_html *h = &v->h;
    const uint32_t open = prv_refusable(v->policy);
    prv_html_raw(h, "<section>\n");
    prv_html_element(h, "h2", PRV_WORD_ONE_BY_ONE);
    prv_html_form(h, "consent");
    for (unsigned i = 0; i < v->policy->n_purposes; i++) {
        if (!(v->policy->off & 1u << i))
            purpose_of(v, i);
    }
    if (open != 0) {
        prv_html_raw(h,
                     "<p class=\"choice\"><button type=\"submit\" name=\"choice\" value=\"save\">");
        prv_html_word(h, PRV_WORD_SAVE);
        prv_html_raw(h, "</button></p>\n");
    }
    prv_html_raw(h, "</form>\n</section>\n");
    if (open != 0)
        all_at_once(h);
}

/* ------------------------------------------------------------------ who is responsible */

static void contact(prv_html *h, prv_str contact)
{
    if (contact.n == 0)
        return;
    row(h, PRV_WORD_CONTACT);
    bool mail =
        memchr(contact.p, '@', contact.n) != NULL && memchr(contact.p, ':', contact.n) == NULL &&
        memchr(contact.p, ' ', contact.n) == NULL && memchr(contact.p, '?', contact.n) == NULL;
    if (mail) {
        prv_html_raw(h, "<a href=\"mailto:");
        prv_html_text(h, prv_url_path(h->env, contact));
        prv_html_raw(h, "?subject=Privacy%20Concern\">");
        prv_html_text(h, contact);
        prv_html_raw(h, "</a>");
    } else {
        prv_html_link(h, contact, contact);
    }
    prv_html_raw(h, "</dd>\n");
}

static prv_str authority(const view *v)
{
    const prv_region region = v->page->http->region;
    prv_str best = PRV_NONE;
    size_t best_n = 0;
    for (size_t i = 0; i < v->policy->n_authority; i++) {
        const prv_field *one = &v->policy->authority[i];
        if (one->name.n == 1 && one->name.p[0] == '*') {
            if (best_n == 0)
                best = one->value;
        } else if (region.n > 0 && one->name.n > best_n &&
                   prv_region_covers(prv_region_parse(one->name), region)) {
            best = one->value;
            best_n = one->name.n;
        }
    }
    return best;
}

static void about(view *v)
{
    prv_html *h = &v->h;
    const prv_policy *p = v->policy;
    prv_html_raw(h, "<section>\n");
    prv_html_element(h, "h2", PRV_WORD_POLICY);
    prv_html_raw(h, "<dl>\n");
    row_text(h, PRV_WORD_CONTROLLER, p->controller);
    contact(h, p->contact);
    if (p->url.n > 0) {
        row(h, PRV_WORD_POLICY);
        prv_html_link(h, p->url, prv_words_get(p, h->language, PRV_WORD_POLICY));
        prv_html_raw(h, "</dd>\n");
    }
    row_text(h, PRV_WORD_VERSION, p->version_text);
    row_text(h, PRV_WORD_EFFECTIVE, p->effective);
    row_text(h, PRV_WORD_STORAGE, p->storage_region);
    prv_str url = authority(v);
    if (url.n > 0) {
        row(h, PRV_WORD_AUTHORITY);
        prv_html_link(h, url, url);
        prv_html_raw(h, "</dd>\n");
    }
    prv_html_raw(h, "</dl>\n");
    if (p->sale & ~p->off) {
        prv_html_raw(h, "<p><a href=\"opt-out\">");
        prv_html_word(h, PRV_WORD_OPT_OUT_TITLE);
        prv_html_raw(h, "</a></p>\n");
    }
    prv_html_raw(h, "</section>\n");
}

prv_str prv_page_preferences(const prv_page *page)
{
    view v = {.page = page,
              .policy = page->rq->site->policy,
              .state = &page->rq->state,
              .d = page->d,
              .now = page->rq->env->now_ms / 1000};
    prv_html_begin(&v.h, page);
    prv_html_head(&v.h, PRV_WORD_TITLE);
    prv_html_element(&v.h, "p", PRV_WORD_INTRO);
    if (!page->rq->has_token)
        prv_html_element(&v.h, "p", PRV_WORD_KEPT);
    signals(&v);
    choices(&v);
    record(&v);
    about(&v);
    prv_html_foot(&v.h);
    return prv_html_end(&v.h);
}
