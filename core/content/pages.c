/* The small pages: age, opt-out, an explanation, a form to confirm. */
#include "html.h"

#include <string.h>

static bool is(prv_str text, const char *literal)
{
    return text.n == strlen(literal) && memcmp(text.p, literal, text.n) == 0;
}

static void back(prv_html *h)
{
    const prv_str to = h->page->return_path;
    if (to.n == 0)
        return;
    prv_html_raw(h, "<p><a href=\"");
    prv_html_text(h, to);
    prv_html_raw(h, "\">");
    prv_html_word(h, PRV_WORD_CONTINUE);
    prv_html_raw(h, "</a></p>\n");
}

static void submit(prv_html *h, prv_word word)
{
    prv_html_raw(h, "<p class=\"choice\"><button type=\"submit\">");
    prv_html_word(h, word);
    prv_html_raw(h, "</button></p>\n</form>\n");
}

/* ------------------------------------------------------------------ age */

static void number(prv_html *h, const char *name, const char *digits, const char *autocomplete,
                   prv_word word)
{
    prv_html_raw(h, "<label>");
    prv_html_word(h, word);
    prv_html_raw(h, " <input type=\"text\" inputmode=\"numeric\" required name=\"");
    prv_html_raw(h, name);
    prv_html_raw(h, "\" maxlength=\"");
    prv_html_raw(h, digits);
    prv_html_raw(h, "\" autocomplete=\"");
    prv_html_raw(h, autocomplete);
    prv_html_raw(h, "\"></label>\n");
}

/* Neutral: no default, no hint of the threshold that is asked for. */
static void question(prv_html *h)
{
    prv_html_element(h, "p", PRV_WORD_AGE_ABOUT);
    prv_html_form(h, "age");
    prv_html_raw(h, "<div class=\"date\">\n");
    number(h, "year", "4", "off", PRV_WORD_YEAR);
    number(h, "month", "2", "off", PRV_WORD_MONTH);
    number(h, "day", "2", "off", PRV_WORD_DAY);
    prv_html_raw(h, "</div>\n");
    submit(h, PRV_WORD_CONTINUE);
}

/* Ages that are asked for here, by what is known of them: the policy's for the region and those of
 * locations. */
typedef struct asked {
    bool any, unknown, ok;
} asked;

static asked asked_ages(const prv_page *page)
{
    const prv_request *rq = page->rq;
    prv_state state = rq->state;
    asked a = {0};
    prv_state_age_expire(rq->site->policy, &state, rq->env->now_ms / 1000);
    for (unsigned age = 1; age <= 120; age++) {
        if (age != page->d->age_min && !(rq->site->ages[age / 64] >> age % 64 & 1))
            continue;
        const prv_age_status status = prv_age_check(&state.age, age);
        a.any = true;
        a.unknown |= status == PRV_AGE_UNKNOWN;
        a.ok |= status == PRV_AGE_OK;
    }
    /* The policy's own is the one that speaks for the visitor. */
    if (page->d->age_min > 0)
        a.ok = prv_age_check(&state.age, page->d->age_min) == PRV_AGE_OK;
    return a;
}

prv_str prv_page_age(const prv_page *page)
{
    prv_html h;
    const asked a = asked_ages(page);
    prv_html_begin(&h, page);
    prv_html_head(&h, PRV_WORD_AGE_TITLE);
    if (!a.any) {
        prv_html_element(&h, "p", PRV_WORD_AGE_NONE);
    } else if (a.unknown) {
        question(&h);
        if (!page->rq->has_token)
            prv_html_element(&h, "p", PRV_WORD_KEPT);
    } else if (a.ok) {
        prv_html_element(&h, "p", PRV_WORD_AGE_OK);
        back(&h);
    } else {
        prv_html_element(&h, "p", PRV_WORD_AGE_UNDER);
    }
    prv_html_foot(&h);
    return prv_html_end(&h);
}

/* ------------------------------------------------------------------ opt-out of sale and sharing */

prv_str prv_page_opt_out(const prv_page *page)
{
    prv_html h;
    const prv_policy *policy = page->rq->site->policy;
    const uint32_t sale = policy->sale & prv_refusable(policy);
    prv_html_begin(&h, page);
    prv_html_head(&h, PRV_WORD_OPT_OUT_TITLE);
    if (sale == 0) {
        prv_html_element(&h, "p", PRV_WORD_OPT_OUT_NONE);
    } else {
        if ((page->rq->signals & PRV_SIGNAL_GPC) && (policy->listens_gpc & sale))
            prv_html_element(&h, "p", PRV_WORD_GPC);
        if ((page->rq->state.refused & sale) == sale)
            prv_html_element(&h, "p", PRV_WORD_OPT_OUT_DONE);
        prv_html_element(&h, "p", PRV_WORD_OPT_OUT_ABOUT);
        prv_html_form(&h, "consent");
        prv_html_raw(&h, "<ul>\n");
        for (unsigned i = 0; i < policy->n_purposes; i++) {
            if (!(sale & 1u << i))
                continue;
            prv_html_raw(&h, "<li>");
            prv_html_purpose(&h, &policy->purposes[i]);
            prv_html_hidden(&h, policy->consent & 1u << i ? "asked" : "object",
                            policy->purposes[i].name);
            prv_html_raw(&h, "</li>\n");
        }
        prv_html_raw(&h, "</ul>\n");
        prv_html_hidden(&h, "choice", PRV_STR("save"));
        submit(&h, PRV_WORD_OPT_OUT_BUTTON);
    }
    prv_html_raw(&h, "<p><a href=\"");
    prv_html_text(&h, prv_url_path(h.env, page->base));
    prv_html_raw(&h, "\">");
    prv_html_word(&h, PRV_WORD_ALL_CHOICES);
    prv_html_raw(&h, "</a></p>\n");
    prv_html_foot(&h);
    return prv_html_end(&h);
}

/* ------------------------------------------------------------------ explanation, confirmation */

prv_str prv_page_explain(const prv_page *page, prv_str title, prv_str text)
{
    prv_html h;
    prv_html_begin(&h, page);
    prv_html_head(&h, PRV_WORD_TITLE);
    prv_html_raw(&h, "<h2>");
    prv_html_text(&h, title);
    prv_html_raw(&h, "</h2>\n<p>");
    prv_html_text(&h, text);
    prv_html_raw(&h, "</p>\n");
    back(&h);
    prv_html_foot(&h);
    return prv_html_end(&h);
}

/* What a confirmed form would do, for the eyes of the visitor who may not have sent it. */
static void effect(prv_html *h, const prv_page *page)
{
    for (size_t i = 0; i < page->n_fields; i++) {
        const prv_field *f = &page->fields[i];
        int purpose = -1;
        if (is(f->name, "choice") && !is(f->value, "save")) {
            prv_html_element(h, "p", is(f->value, "accept") ? PRV_WORD_ACCEPT : PRV_WORD_REFUSE);
        } else if (is(f->name, "purpose") || is(f->name, "object")) {
            purpose = prv_policy_purpose(h->policy, f->value);
        }
        if (purpose >= 0) {
            prv_html_raw(h, "<p>");
            prv_html_purpose(h, &h->policy->purposes[purpose]);
            prv_html_raw(h, ": ");
            prv_html_word(h, is(f->name, "purpose") ? PRV_WORD_ALLOW : PRV_WORD_OBJECT);
            prv_html_raw(h, "</p>\n");
        }
    }
}

prv_str prv_page_confirm(const prv_page *page)
{
    prv_html h;
    prv_html_begin(&h, page);
    prv_html_head(&h, PRV_WORD_CONFIRM_TITLE);
    prv_html_element(&h, "p", PRV_WORD_CONFIRM);
    effect(&h, page);
    prv_html_raw(&h, "<form method=\"post\" action=\"");
    prv_html_text(&h, prv_url_path(h.env, page->base));
    prv_html_text(&h, page->action);
    prv_html_raw(&h, "\">\n");
    for (size_t i = 0; i < page->n_fields; i++) {
        prv_html_raw(&h, "<input type=\"hidden\" name=\"");
        prv_html_text(&h, page->fields[i].name);
        prv_html_raw(&h, "\" value=\"");
        prv_html_text(&h, page->fields[i].value);
        prv_html_raw(&h, "\">\n");
    }
    prv_html_hidden(&h, "token", page->form_token);
    submit(&h, PRV_WORD_CONFIRM_BUTTON);
    prv_html_foot(&h);
    return prv_html_end(&h);
}
