/* Memory of one policy: taken in chunks, freed as a whole. */
#include "compile.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK 16384 /* a sample policy takes two or three */

typedef struct chunk {
    struct chunk *next;
    size_t size; /* of the bytes behind this header */
    size_t used;
    max_align_t bytes[];
} chunk;

struct prv_arena {
    prv_memory memory;
    chunk *chunks;
};

static void *default_get(void *ctx, size_t n)
{
    (void)ctx;
    return malloc(n);
}

static void default_put(void *ctx, void *p)
{
    (void)ctx;
    free(p);
}

const prv_memory prv_memory_default = {NULL, default_get, default_put, CHUNK};

prv_arena *prv_arena_new(const prv_memory *memory)
{
    prv_arena *arena = memory->get(memory->ctx, sizeof *arena);
    if (arena != NULL) {
        arena->memory = *memory;
        arena->chunks = NULL;
    }
    return arena;
}

void prv_arena_free(prv_arena *arena)
{
    if (arena == NULL) {
        return;
    }
    prv_memory memory = arena->memory;
    chunk *next;
    for (chunk *c = arena->chunks; c != NULL; c = next) {
        next = c->next;
        memory.put(memory.ctx, c);
    }
    memory.put(memory.ctx, arena);
}

void *prv_arena_get(prv_arena *arena, size_t n)
{
    const size_t align = sizeof(max_align_t);
    if (n > SIZE_MAX / 2) {
        return NULL;
    }
    n = (n + align - 1) / align * align;
    chunk *c = arena->chunks;
    if (c == NULL || c->size - c->used < n) {
        size_t size = n > arena->memory.chunk ? n : arena->memory.chunk;
        c = arena->memory.get(arena->memory.ctx, sizeof *c + size);
        if (c == NULL) {
            return NULL;
        }
        c->next = arena->chunks;
        c->size = size;
        c->used = 0;
        arena->chunks = c;
    }
    void *p = (char *)c->bytes + c->used;
    c->used += n;
    memset(p, 0, n);
    return p;
}
