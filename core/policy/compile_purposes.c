/* The sections `policy` and `purposes`. */
#include "compile.h"

#include <string.h>

/* ---- policy */

static bool read_id(const prv_node *node, prv_str *out)
{
    const char *text;
    char quoted[PRV_QUOTED];
    if (!prv_read_string(node, &text)) {
        return false;
    }
    size_t n = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    if (n == 0 || n > PRV_NAME_MAX || text[n] != 0) {
        return prv_node_fail(node, PRV_AT_VALUE, PRV_ERR_VALUE,
                             "policy.id is %s; expected 1 to %d of A-Z a-z 0-9 . _ -",
                             prv_quoted(text, quoted), PRV_NAME_MAX);
    }
    return prv_compile_copy(node->c, text, out);
}

/* An address that people write to: shown, and put behind mailto: */
static bool read_contact(const prv_node *node, prv_str *out)
{
    const char *text;
    char quoted[PRV_QUOTED];
    if (!prv_read_string(node, &text)) {
        return false;
    }
    if (strncmp(text, "https://", 8) == 0) {
        return prv_read_url(node, false, out);
    }
    const char *at = strchr(text, '@');
    bool ok =
        at != NULL && at > text && at[1] != 0 && strchr(at + 1, '@') == NULL && strlen(text) <= 254;
    for (const char *p = text; ok && *p != 0; p++) {
        ok = *p > 0x20 && *p < 0x7F && strchr("\"'<>\\(),:;[]?&%", *p) == NULL;
    }
    return ok ? prv_compile_copy(node->c, text, out)
              : prv_node_fail(
                    node, PRV_AT_VALUE, PRV_ERR_VALUE,
                    "policy.contact is %s; expected an e-mail address or a URL with https://",
                    prv_quoted(text, quoted));
}

static bool read_authority(const prv_node *node)
{
    prv_policy *policy = node->c->policy;
    const char *key;
    json_t *value;
    if (!prv_node_is_object(node)) {
        return false;
    }
    prv_field *fields = prv_compile_alloc(node->c, prv_node_count(node), sizeof *fields);
    if (fields == NULL) {
        return false;
    }
    json_object_foreach(node->value, key, value)
    {
        prv_node member = prv_node_of(node, key, value);
        prv_region region = {.n = 1, .c = "*"};
        prv_field *field = &fields[policy->n_authority];
        if (prv_node_ignored(key)) {
            continue;
        }
        if ((strcmp(key, "*") != 0 && !prv_read_region(&member, PRV_AT_KEY, key, &region)) ||
            !prv_compile_copy(node->c, region.c, &field->name) ||
            !prv_read_url(&member, false, &field->value)) {
            return false;
        }
        for (size_t i = 0; i < policy->n_authority; i++) {
            if (prv_str_same(fields[i].name, field->name)) {
                return prv_node_fail(&member, PRV_AT_KEY, PRV_ERR_VALUE,
                                     "policy.authority names %s twice", field->name.p);
            }
        }
        policy->n_authority++;
    }
    policy->authority = fields;
    return true;
}

static bool optional_text(const prv_node *object, const char *key, prv_str *out)
{
    prv_node node;
    return !prv_node_get(object, key, &node) || prv_read_text(&node, out);
}

bool prv_compile_identity(const prv_node *root)
{
    static const char *const known[] = {"id",        "version",    "since",   "effective",
                                        "url",       "controller", "contact", "storage_region",
                                        "authority", NULL};
    prv_policy *policy = root->c->policy;
    prv_node at, node;
    if (!prv_node_need(root, "policy", &at) || !prv_node_members(&at, known) ||
        !prv_node_need(&at, "id", &node) || !read_id(&node, &policy->id) ||
        !prv_node_need(&at, "version", &node) ||
        !prv_read_version(&node, &policy->version_text, &policy->version) ||
        !prv_read_since(&at, &policy->since)) {
        return false;
    }
    policy->since_text = policy->version_text;
    if (prv_node_get(&at, "since", &node) &&
        !prv_compile_copy(root->c, json_string_value(node.value), &policy->since_text)) {
        return false;
    }
    if ((prv_node_get(&at, "effective", &node) && !prv_read_date(&node, &policy->effective)) ||
        (prv_node_get(&at, "url", &node) && !prv_read_url(&node, true, &policy->url)) ||
        (prv_node_get(&at, "contact", &node) && !read_contact(&node, &policy->contact)) ||
        (prv_node_get(&at, "authority", &node) && !read_authority(&node))) {
        return false;
    }
    return optional_text(&at, "controller", &policy->controller) &&
           optional_text(&at, "storage_region", &policy->storage_region);
}

/* ---- purposes */

static const prv_word basis_words[] = {{"contract", PRV_BASIS_CONTRACT},
                                       {"legal_obligation", PRV_BASIS_LEGAL_OBLIGATION},
                                       {"vital_interests", PRV_BASIS_VITAL_INTERESTS},
                                       {"public_task", PRV_BASIS_PUBLIC_TASK},
                                       {"legitimate_interests", PRV_BASIS_LEGITIMATE_INTERESTS},
                                       {"consent", PRV_BASIS_CONSENT},
                                       {NULL, 0}};
static const prv_word listen_words[] = {{"ignore", PRV_LISTEN_IGNORE},
                                        {"deny", PRV_LISTEN_DENY},
                                        {"yield", PRV_LISTEN_YIELD},
                                        {NULL, 0}};
static const prv_word subject_words[] = {{"required", 1}, {NULL, 0}};

static bool optional_bool(const prv_node *object, const char *key, bool *out)
{
    prv_node node;
    return !prv_node_get(object, key, &node) || prv_read_bool(&node, out);
}

static bool optional_word(const prv_node *object, const char *key, const prv_word *words, int *out)
{
    prv_node node;
    return !prv_node_get(object, key, &node) || prv_read_word(&node, words, out);
}

static bool read_signals(const prv_node *node, prv_purpose *p)
{
    prv_node gpc;
    int word = p->sale ? PRV_LISTEN_DENY : PRV_LISTEN_IGNORE;
    bool given = prv_node_get(node, "gpc", &gpc);
    if (given && !prv_read_word(&gpc, listen_words, &word)) {
        return false;
    }
    p->gpc = (prv_listen)word;
    if (p->sale && p->gpc == PRV_LISTEN_IGNORE) {
        return prv_node_fail(
            &gpc, PRV_AT_VALUE, PRV_ERR_VALUE,
            "purposes.%s sells, so gpc cannot be \"ignore\"; expected deny or yield", p->name.p);
    }
    word = PRV_LISTEN_IGNORE;
    if (!optional_word(node, "dnt", listen_words, &word)) {
        return false;
    }
    p->dnt = (prv_listen)word;
    return true;
}

static bool read_objection(const prv_node *node, prv_purpose *p)
{
    prv_node objection;
    p->objection = true;
    if (!prv_node_get(node, "objection", &objection)) {
        return true;
    }
    if (!prv_read_bool(&objection, &p->objection)) {
        return false;
    }
    if (!p->objection && (p->basis == PRV_BASIS_CONSENT || p->sale)) {
        return prv_node_fail(
            &objection, PRV_AT_VALUE, PRV_ERR_VALUE,
            "purposes.%s %s, so it can always be refused; expected no \"objection\": false",
            p->name.p, p->sale ? "sells" : "rests on consent");
    }
    return true;
}

static bool read_purpose(const prv_node *node, prv_purpose *p)
{
    static const char *const known[] = {"basis",  "title", "description", "objection",
                                        "exempt", "off",   "subject",     "sale",
                                        "gpc",    "dnt",   "since",       NULL};
    prv_node member;
    int word = 0;
    if (!prv_read_name(node, "purpose", "-", &p->name) || !prv_node_members(node, known) ||
        !prv_node_need(node, "basis", &member) || !prv_read_word(&member, basis_words, &word)) {
        return false;
    }
    p->basis = (prv_basis)word;
    p->hash = prv_purpose_hash(p->name);
    word = 0;
    if (!optional_bool(node, "off", &p->off) || !optional_bool(node, "sale", &p->sale) ||
        !optional_word(node, "subject", subject_words, &word) || !read_signals(node, p) ||
        !read_objection(node, p) || !prv_read_since(node, &p->since)) {
        return false;
    }
    p->subject_required = word != 0;
    return (!prv_node_get(node, "title", &member) || prv_read_texts(&member, &p->title)) &&
           (!prv_node_get(node, "description", &member) ||
            prv_read_texts(&member, &p->description)) &&
           (!prv_node_get(node, "exempt", &member) || prv_read_text(&member, &p->exempt));
}

static bool is_interest(const prv_purpose *p)
{
    return p->basis == PRV_BASIS_PUBLIC_TASK || p->basis == PRV_BASIS_LEGITIMATE_INTERESTS;
}

/* Row 2 of INTERFACE 3 */
static bool is_row2(const prv_purpose *p)
{
    return is_interest(p) ? !p->objection : p->basis != PRV_BASIS_CONSENT;
}

void prv_policy_mark(prv_policy *policy, const prv_purpose *p, uint32_t bit)
{
    policy->row2 |= is_row2(p) ? bit : 0;
    policy->off |= p->off ? bit : 0;
    policy->consent |= p->basis == PRV_BASIS_CONSENT ? bit : 0;
    policy->objectable |= is_interest(p) && p->objection ? bit : 0;
    policy->listens_gpc |= p->gpc != PRV_LISTEN_IGNORE ? bit : 0;
    policy->listens_dnt |= p->dnt != PRV_LISTEN_IGNORE ? bit : 0;
    policy->obeys_gpc |= p->gpc == PRV_LISTEN_DENY ? bit : 0;
    policy->obeys_dnt |= p->dnt == PRV_LISTEN_DENY ? bit : 0;
    policy->sale |= p->sale ? bit : 0;
    policy->subject_required |= p->subject_required ? bit : 0;
    policy->interest |= is_interest(p) ? bit : 0;
    policy->since_latest = p->since > policy->since_latest ? p->since : policy->since_latest;
}

/* What is written and can never take effect, because row 2 comes first. */
static bool warn_row2(const prv_node *node, const prv_purpose *p)
{
    static const char *const members[] = {"gpc", "dnt", "sale", "subject"};
    const bool says[] = {p->gpc != PRV_LISTEN_IGNORE && !p->sale, p->dnt != PRV_LISTEN_IGNORE,
                         p->sale, p->subject_required};
    for (size_t i = 0; i < sizeof says / sizeof says[0]; i++) {
        prv_node member;
        if (is_row2(p) && !p->off && says[i] && prv_node_get(node, members[i], &member) &&
            !prv_node_warn(
                &member, PRV_AT_KEY,
                "purposes.%s is allowed by its basis whatever the visitor says, so \"%s\" has no "
                "effect",
                p->name.p, members[i])) {
            return false;
        }
    }
    return true;
}

static bool check_unique(const prv_node *node, const prv_purpose *purposes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (purposes[i].hash == purposes[n].hash) {
            return prv_node_fail(
                node, PRV_AT_KEY, PRV_ERR_VALUE,
                "the purposes %s and %s have the same 16-bit hash; expected another name "
                "for one of them",
                purposes[i].name.p, purposes[n].name.p);
        }
    }
    return true;
}

bool prv_compile_purposes(const prv_node *root)
{
    prv_policy *policy = root->c->policy;
    prv_node at;
    const char *key;
    json_t *value;
    if (!prv_node_need(root, "purposes", &at) || !prv_node_is_object(&at)) {
        return false;
    }
    size_t count = prv_node_count(&at);
    if (count > PRV_MAX_PURPOSES) {
        return prv_node_fail(&at, PRV_AT_VALUE, PRV_ERR_VALUE, "%zu purposes; expected at most %d",
                             count, PRV_MAX_PURPOSES);
    }
    prv_purpose *purposes = prv_compile_alloc(root->c, count, sizeof *purposes);
    if (purposes == NULL) {
        return false;
    }
    policy->purposes = purposes;
    json_object_foreach(at.value, key, value)
    {
        prv_node node = prv_node_of(&at, key, value);
        if (prv_node_ignored(key)) {
            continue;
        }
        size_t n = policy->n_purposes;
        if (!read_purpose(&node, &purposes[n]) || !check_unique(&node, purposes, n) ||
            !warn_row2(&node, &purposes[n])) {
            return false;
        }
        prv_policy_mark(policy, &purposes[n], UINT32_C(1) << n);
        policy->n_purposes++;
    }
    return true;
}
