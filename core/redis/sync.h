/* A small blocking client for privacyctl: one connection, argv commands, no pipelining. */
#ifndef PRV_SYNC_H
#define PRV_SYNC_H

#include "../privacy.h"

typedef struct prv_sync prv_sync;
prv_code prv_sync_open(const prv_store_conf *conf, prv_sync **out, prv_error *err);
void prv_sync_close(prv_sync *sync);
/* Carries out an op as the asynchronous client would. The reply lives until the next call. */
void prv_sync_op(prv_sync *sync, const prv_op *op, prv_reply *reply);
/* SCAN step: *cursor starts as 0 and is 0 again at the end; keys live until the next call. */
prv_code prv_sync_scan(prv_sync *sync, prv_str pattern, uint64_t *cursor, const prv_str **keys,
                       size_t *n, prv_error *err);

#endif
