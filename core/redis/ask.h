/* Any command on the blocking client, for what operators want to know; its answer without hiredis, and INFO read. */
#ifndef PRV_ASK_H
#define PRV_ASK_H

#include "sync.h"

/* A reply of Redis; lives until the client's next call. */
typedef struct prv_answer prv_answer;

typedef enum prv_answer_kind {
    PRV_ANSWER_ERROR, /* text: its first word only, since the rest may quote what was sent */
    PRV_ANSWER_TEXT,
    PRV_ANSWER_NUMBER,
    PRV_ANSWER_LIST,
    PRV_ANSWER_NIL
} prv_answer_kind;

/* NULL: the connection failed; prv_sync_why() says how, to stand behind "Redis at X ". */
const prv_answer *prv_sync_ask(prv_sync *sync, const prv_str *words, size_t n);
const char *prv_sync_why(const prv_sync *sync);
/* One Redis has one primary; of a cluster prv_sync_use() says which one is asked next, prv_sync_aim() that it is where the
 * key is (false: nowhere). prv_sync_where(): its address. */
size_t prv_sync_primaries(const prv_sync *sync);
void prv_sync_use(prv_sync *sync, size_t primary);
bool prv_sync_aim(prv_sync *sync, prv_str key);
const char *prv_sync_where(const prv_sync *sync);
/* Sends and takes no answer. */
bool prv_sync_say(prv_sync *sync, const prv_str *words, size_t n);
/* The next reply, asked for or pushed, within ms. NULL: none; *lost tells whether the connection ended. Never connects. */
const prv_answer *prv_sync_wait(prv_sync *sync, int ms, bool *lost);

prv_answer_kind prv_answer_is(const prv_answer *answer);
prv_str prv_answer_text(const prv_answer *answer);     /* TEXT, ERROR; else empty */
int64_t prv_answer_number(const prv_answer *answer);   /* NUMBER, and TEXT of digits; else -1 */
size_t prv_answer_count(const prv_answer *answer);     /* LIST; else 0 */
const prv_answer *prv_answer_at(const prv_answer *answer, size_t i); /* i < count */
/* Is it TEXT that is this word? */
bool prv_answer_is_word(const prv_answer *answer, const char *word);

/* The value of `name:value` in what INFO says, without blanks; PRV_NONE: it has no such line. */
prv_str prv_info_find(prv_str info, const char *name);
/* The same as a number; -1: missing, no number, or more than fits. */
int64_t prv_info_number(prv_str info, const char *name);
/* Is version `text` ("7.0.15") at least major.minor? Unreadable ones are not. */
bool prv_version_reaches(prv_str text, unsigned major, unsigned minor);

#endif
