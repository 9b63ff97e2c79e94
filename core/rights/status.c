/*
 * `privacy_status`: what the zone counted, as Prometheus text (exposition format 0.0.4) or as JSON. One walk over the families
 * writes both. Labels are words of ours and names from the policy: never an id, an address or a name that a visitor sent.
 */
#include <inttypes.h>
#include <stdio.h>

#include "../request/headers.h"
#include "../state/count.h"
#include "endpoint.h"

#define FIRST_CAPACITY 16384
#define LABELS_MAX 5
#define NUMBER_MAX 32

static const char *const mode_words[] = {"on", "report"};
static const char *const gate_words[] = {"none", "vendor", "require", "age"};
static const char *const question_words[] = {"consent", "age", "opt-out"};
static const char *const asker_words[] = {"gate", "page"};
static const char *const method_words[] = {"form", "api"};
static const char *const source_words[] = {"none", "token", "cache", "store", "degraded"};
_Static_assert(sizeof source_words / sizeof *source_words == PRV_COUNT_SOURCES, "a word each");
_Static_assert(sizeof question_words / sizeof *question_words == PRV_QUESTIONS, "a word each");
_Static_assert(sizeof asker_words / sizeof *asker_words == PRV_ASKERS, "a word each");

#define COUNT(words) (sizeof(words) / sizeof *(words))

/* ------------------------------------------------------------------ a text that grows */

typedef struct sink {
    const prv_status *status;
    char *p;
    size_t n, cap;
    bool failed, json;
    const char *family;
    bool first; /* no sample of this family yet */
} sink;

static void put(sink *s, const char *p, size_t n)
{
    if (s->failed || n == 0)
        return;
    if (n > s->cap - s->n) {
        size_t cap = s->cap == 0 ? FIRST_CAPACITY : s->cap;
        while (cap - s->n < n)
            cap *= 2;
        char *more = s->status->env->alloc(s->status->env->ctx, cap);
        if (more == NULL) {
            s->failed = true;
            return;
        }
        if (s->n > 0)
            memcpy(more, s->p, s->n);
        s->p = more;
        s->cap = cap;
    }
    memcpy(s->p + s->n, p, n);
    s->n += n;
}

static void text(sink *s, const char *literal)
{
    put(s, literal, strlen(literal));
}

/* A label's value between its quotes. Backslash, quote and line feed are escaped alike in both formats; the other control
 * bytes, which JSON does not take as they are, are blanks. */
static void quoted(sink *s, prv_str value)
{
    for (size_t i = 0; i < value.n; i++) {
        const char c = value.p[i];
        if (c == '\\' || c == '"')
            put(s, "\\", 1);
        if (c == '\n')
            text(s, "\\n");
        else
            put(s, (unsigned char)c < 0x20 ? " " : &c, 1);
    }
}

/* ------------------------------------------------------------------ families and samples */

typedef struct label {
    const char *name;
    prv_str value;
} label;

static label word_label(const char *name, const char *value)
{
    return (label){name, {value, strlen(value)}};
}

static void family_end(sink *s)
{
    if (s->family != NULL && s->json)
        text(s, s->first ? "]}" : "\n]}");
}

static void family(sink *s, const char *name, const char *type, const char *help)
{
    family_end(s);
    if (s->json) {
        text(s, s->family == NULL ? "{\n\"" : ",\n\"");
        text(s, name);
        text(s, "\":{\"type\":\"");
        text(s, type);
        text(s, "\",\"help\":\"");
        text(s, help);
        text(s, "\",\"samples\":[");
    } else {
        text(s, "# HELP ");
        text(s, name);
        text(s, " ");
        text(s, help);
        text(s, "\n# TYPE ");
        text(s, name);
        text(s, " ");
        text(s, type);
        text(s, "\n");
    }
    s->family = name;
    s->first = true;
}

/* `part`: what a histogram's sample is called behind the family's name; empty for all others. */
static void sample_as(sink *s, const char *part, const label *labels, size_t n, const char *value)
{
    if (s->json) {
        text(s, s->first ? "\n{" : ",\n{");
        if (part[0] != '\0') {
            text(s, "\"part\":\"");
            text(s, part);
            text(s, "\",");
        }
    } else {
        text(s, s->family);
        text(s, part[0] != '\0' ? "_" : "");
        text(s, part);
        text(s, n > 0 ? "{" : "");
    }
    for (size_t i = 0; i < n; i++) {
        text(s, i > 0 && !s->json ? "," : "");
        text(s, s->json ? "\"" : "");
        text(s, labels[i].name);
        text(s, s->json ? "\":\"" : "=\"");
        quoted(s, labels[i].value);
        text(s, s->json ? "\"," : "\"");
    }
    text(s, s->json ? "\"value\":" : n > 0 ? "} " : " ");
    text(s, value);
    text(s, s->json ? "}" : "\n");
    s->first = false;
}

static void sample(sink *s, const label *labels, size_t n, uint64_t value)
{
    char digits[NUMBER_MAX];
    snprintf(digits, sizeof digits, "%" PRIu64, value);
    sample_as(s, "", labels, n, digits);
}

static void single(sink *s, const char *name, const char *type, const char *help, uint64_t value)
{
    family(s, name, type, help);
    sample(s, NULL, 0, value);
}

/* ------------------------------------------------------------------ by site */

static const prv_policy *policy_at(const sink *s, size_t i)
{
    return s->status->sites[i]->policy;
}

static label site_label(const sink *s, size_t i)
{
    return (label){"site", policy_at(s, i)->id};
}

static uint64_t site_read(const sink *s, size_t i, unsigned word)
{
    return prv_count_site_read(s->status->zone, s->status->sites[i]->counts, word);
}

static void requests(sink *s)
{
    family(s, "privacy_requests_total", "counter",
           "Client requests, by where the visitor's state came from; the endpoints aside.");
    for (size_t i = 0; i < s->status->n_sites; i++) {
        for (unsigned m = 0; m < COUNT(mode_words); m++) {
            for (unsigned k = 0; k < COUNT(source_words); k++) {
                const label labels[] = {site_label(s, i), word_label("mode", mode_words[m]),
                                        word_label("state", source_words[k])};
                sample(s, labels, 3,
                       site_read(s, i, PRV_SITE_REQUESTS + m * PRV_COUNT_SOURCES + k));
            }
        }
    }
}

/* Rows with the same reason and outcome are one line; rows 10 and 12 show once they occur. */
static void decisions(sink *s)
{
    static const struct {
        unsigned row, same;
        bool allow, rare;
    } lines[] = {{1, 0, false, false},  {2, 13, true, false},  {3, 0, false, false},
                 {4, 0, false, false},  {5, 0, false, false},  {6, 0, false, false},
                 {7, 0, false, false},  {8, 0, false, false},  {9, 0, false, false},
                 {10, 0, false, true},  {11, 0, true, false},  {12, 0, true, true},
                 {14, 0, true, false},  {15, 0, false, false}};
    family(s, "privacy_decisions_total", "counter",
           "Decisions on purposes, one for each purpose and request, by their reason.");
    for (size_t i = 0; i < s->status->n_sites; i++) {
        for (size_t k = 0; k < COUNT(lines); k++) {
            const label labels[] = {
                site_label(s, i), {"reason", prv_row_reason(lines[k].row)},
                word_label("outcome", lines[k].allow ? "allow" : "deny")};
            uint64_t n = site_read(s, i, PRV_SITE_DECISIONS + lines[k].row);
            if (lines[k].same != 0)
                n += site_read(s, i, PRV_SITE_DECISIONS + lines[k].same);
            if (n > 0 || !lines[k].rare)
                sample(s, labels, 3, n);
        }
    }
}

static void cookies(sink *s)
{
    static const char *const directions[] = {"request", "response"};
    family(s, "privacy_cookies_removed_total", "counter",
           "Cookies that did not reach the application, or did not leave; in report mode, that would not have.");
    for (size_t i = 0; i < s->status->n_sites; i++) {
        for (unsigned m = 0; m < COUNT(mode_words); m++) {
            for (unsigned k = 0; k < COUNT(directions); k++) {
                const label labels[] = {site_label(s, i), word_label("mode", mode_words[m]),
                                        word_label("direction", directions[k])};
                sample(s, labels, 3, site_read(s, i, PRV_SITE_COOKIES + m * 2 + k));
            }
        }
    }
}

/* ---- what seldom happens: a line once it did */

static void refused(sink *s)
{
    family(s, "privacy_refused_requests_total", "counter",
           "Requests that a gate refused, or would have refused in report mode.");
    for (size_t i = 0; i < s->status->n_sites; i++) {
        for (unsigned m = 0; m < COUNT(mode_words); m++) {
            for (unsigned gate = 1; gate < COUNT(gate_words); gate++) {
                for (unsigned row = 1; row < PRV_ROWS; row++) {
                    const uint64_t n =
                        prv_cold_read(s->status->zone, prv_refused_key(policy_at(s, i), m == 1,
                                                                       (prv_gate)gate, row));
                    const label labels[] = {site_label(s, i), word_label("mode", mode_words[m]),
                                            word_label("gate", gate_words[gate]),
                                            {"reason", prv_row_reason(row)}};
                    /* A refusing row has a reason of its own: no two lines are the same. */
                    if (n > 0)
                        sample(s, labels, 4, n);
                }
            }
        }
    }
}

static void asked(sink *s)
{
    family(s, "privacy_asked_total", "counter",
           "Times that a visitor was asked: by a page that was shown, or by a gate that led to one.");
    for (size_t i = 0; i < s->status->n_sites; i++) {
        for (unsigned m = 0; m < COUNT(mode_words); m++) {
            for (unsigned q = 0; q < PRV_QUESTIONS; q++) {
                for (unsigned by = 0; by < PRV_ASKERS; by++) {
                    const uint64_t n =
                        prv_cold_read(s->status->zone,
                                      prv_asked_key(policy_at(s, i), m == 1, (prv_question)q,
                                                    (prv_asker)by));
                    const label labels[] = {site_label(s, i), word_label("mode", mode_words[m]),
                                            word_label("question", question_words[q]),
                                            word_label("by", asker_words[by])};
                    if (n > 0)
                        sample(s, labels, 4, n);
                }
            }
        }
    }
}

static void choices_of(sink *s, size_t i, unsigned purpose)
{
    const prv_policy *policy = policy_at(s, i);
    for (unsigned granted = 0; granted < 2; granted++) {
        for (size_t m = 0; m < COUNT(method_words); m++) {
            for (size_t j = 0; j < policy->n_jurisdictions; j++) {
                const label labels[LABELS_MAX] = {
                    site_label(s, i),
                    {"purpose", policy->purposes[purpose].name},
                    word_label("choice", granted ? "granted" : "refused"),
                    word_label("method", method_words[m]),
                    {"jurisdiction", policy->jurisdictions[j].name}};
                const uint64_t n = prv_cold_read(
                    s->status->zone,
                    prv_choice_key(policy, purpose, granted, labels[3].value, j));
                if (n > 0)
                    sample(s, labels, LABELS_MAX, n);
            }
        }
    }
}

static void choices(sink *s)
{
    family(s, "privacy_choices_total", "counter", "Choices that visitors made, by purpose.");
    for (size_t i = 0; i < s->status->n_sites; i++) {
        for (unsigned p = 0; p < policy_at(s, i)->n_purposes; p++)
            choices_of(s, i, p);
    }
}

static void limited(sink *s)
{
    family(s, "privacy_limited_calls_total", "counter",
           "State-changing calls that privacy_limit turned away.");
    for (size_t i = 0; i < s->status->n_sites; i++) {
        const label labels[] = {site_label(s, i)};
        sample(s, labels, 1, prv_cold_read(s->status->zone, prv_limited_key(policy_at(s, i))));
    }
}

/* ------------------------------------------------------------------ the whole zone */

static uint64_t tick(const sink *s, unsigned which)
{
    return prv_count_read(s->status->zone, (prv_tick)which);
}

static void ticks(sink *s, const char *label_name, const char *const *words, size_t n, unsigned first)
{
    for (size_t i = 0; i < n; i++) {
        const label labels[] = {word_label(label_name, words[i])};
        sample(s, labels, 1, tick(s, first + (unsigned)i));
    }
}

static void seconds(char out[NUMBER_MAX], uint64_t us)
{
    snprintf(out, NUMBER_MAX, "%" PRIu64 ".%06u", us / 1000000, (unsigned)(us % 1000000));
}

static void latency(sink *s)
{
    char number[NUMBER_MAX], bound[NUMBER_MAX];
    uint64_t sum = 0;
    family(s, "privacy_store_operation_duration_seconds", "histogram",
           "How long requests waited for operations that were sent to the store.");
    for (unsigned i = 0; i <= PRV_LATENCIES; i++) {
        snprintf(bound, sizeof bound, "+Inf");
        if (i < PRV_LATENCIES)
            snprintf(bound, sizeof bound, "%g", prv_latency_bound[i] / 1e6);
        sum += tick(s, PRV_TICK_LATENCY + i);
        snprintf(number, sizeof number, "%" PRIu64, sum);
        const label labels[] = {word_label("le", bound)};
        sample_as(s, "bucket", labels, 1, number);
    }
    char total[NUMBER_MAX];
    seconds(total, tick(s, PRV_TICK_STORE_US));
    sample_as(s, "sum", NULL, 0, total);
    sample_as(s, "count", NULL, 0, number);
}

static void cache(sink *s)
{
    static const char *const results[] = {"hit", "negative", "miss"};
    family(s, "privacy_cache_lookups_total", "counter",
           "Visitors' cookies looked for in shared memory; negative: a hit that knows of no record.");
    ticks(s, "result", results, COUNT(results), PRV_TICK_CACHE_HIT);
    single(s, "privacy_cache_evictions_total", "counter",
           "Entries that made room for others: many mean that privacy_zone is too small.",
           tick(s, PRV_TICK_CACHE_EVICTED));
}

static void link_state(sink *s)
{
    single(s, "privacy_link_up", "gauge",
           "1 while changes of records are pushed to this server, so that its cache vouches for them.",
           prv_zone_link_up(s->status->zone, s->status->env->mono_ms));
    single(s, "privacy_link_losses_total", "counter", "Times that this link was lost, or left to another process.",
           tick(s, PRV_TICK_LINK_LOST));
    single(s, "privacy_invalidations_total", "counter",
           "Changed records that Redis told of; a flush of everything is one.",
           tick(s, PRV_TICK_INVALIDATED));
    single(s, "privacy_cache_epoch", "gauge",
           "Moves whenever a change may have been missed: entries from before are read anew.",
           prv_zone_epoch(s->status->zone));
}

/* Of a cluster each Redis has a breaker; one that nobody asks any more, because it is a primary of the past, is due long ago. */
static uint64_t breakers_open(const sink *s)
{
    const int64_t recent = s->status->env->mono_ms - 60000;
    prv_zone *zone = s->status->zone;
    uint64_t open = zone != NULL && prv_cell_due(&zone->breaker) != 0;
    for (unsigned i = 0; zone != NULL && i < PRV_CELLS; i++)
        open += prv_cell_due(&zone->cells[i].cell) > recent && prv_cell_due(&zone->cells[i].cell) > 0;
    return open;
}

static void store(sink *s)
{
    static const char *const outcomes[] = {"answered", "failed", "late", "unsent"};
    family(s, "privacy_store_operations_total", "counter",
           "Operations on the store, by what became of them.");
    ticks(s, "outcome", outcomes, COUNT(outcomes), PRV_TICK_STORE_ANSWERED);
    latency(s);
    single(s, "privacy_store_breaker_open", "gauge",
           "1 while the store counts as unavailable and is only probed; in a cluster, how many of its Redis do.",
           breakers_open(s));
    single(s, "privacy_store_breaker_openings_total", "counter",
           "Times that the store was found unavailable.", tick(s, PRV_TICK_BREAKER_OPENED));
}

static void build(sink *s)
{
    const label labels[] = {{"version", prv_version_string()}};
    family(s, "privacy_build_info", "gauge", "The version of the module; always 1.");
    sample(s, labels, 1, 1);
}

/* ------------------------------------------------------------------ the answer */

static prv_str render(const prv_status *status, bool json)
{
    sink s = {.status = status, .json = json};
    build(&s);
    requests(&s);
    decisions(&s);
    refused(&s);
    cookies(&s);
    asked(&s);
    choices(&s);
    limited(&s);
    cache(&s);
    if (status->store) {
        store(&s);
        link_state(&s);
    }
    single(&s, "privacy_uncounted_total", "counter",
           "Events that were not counted because privacy_zone has no room for their counters.",
           tick(&s, PRV_TICK_DROPPED));
    family_end(&s);
    text(&s, json ? "\n}\n" : "");
    return s.failed ? PRV_NONE : (prv_str){s.p, s.n};
}

void prv_status_respond(const prv_status *status, const prv_http *http, prv_response *response)
{
    const bool json = prv_accepts(http->accept, PRV_STR("application/json"));
    if (!prv_view_equal(http->method, PRV_STR("GET")) &&
        !prv_view_equal(http->method, PRV_STR("HEAD"))) {
        prv_respond_problem(status->env, response, 405,
                            PRV_STR("This resource has no such method."));
        if (response->status == 405)
            prv_respond_header(response, PRV_STR("Allow"), PRV_STR("GET, HEAD"));
        return;
    }
    prv_respond_body(response, 200,
                     json ? PRV_STR("application/json")
                          : PRV_STR("text/plain; version=0.0.4; charset=utf-8"),
                     render(status, json));
    prv_respond_header(response, PRV_STR("Vary"), PRV_STR("Accept"));
}
