/* The shared zone: cache, limits, breaker, taking over a segment; and processes that die or stop in
 * the middle of a write. */
#include <stdint.h>

/* The cache compiled once more, with a place to stop a writer between its stores. */
static void cache_step(unsigned step);
#define PRV_CACHE_STEP(n) cache_step(n)
#include "../../core/state/cache.c"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define STEPS (2 + PRV_CACHE_WORDS)

static unsigned stop_at = UINT32_MAX; /* of this process' next write */
static int stop_signal;

static void cache_step(unsigned step)
{
    if (step == stop_at) {
        stop_at = UINT32_MAX;
        raise(stop_signal);
    }
}

static void *shared(size_t size)
{
    void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(mem != MAP_FAILED);
    return mem;
}

static prv_cache_key key_of(uint64_t n)
{
    prv_cache_key key;
    uint64_t w[2] = {prv_mix64(n + 1), prv_mix64(~n)};
    memcpy(key.b, w, sizeof w);
    return key;
}

/* A state all of whose fields follow from n. */
static prv_state state_of(uint64_t n)
{
    prv_state s = {.present = true};
    uint32_t h = (uint32_t)prv_mix64(n);
    s.seq = (uint32_t)n;
    s.version = h ^ 1;
    s.granted = h ^ 2;
    s.refused = h ^ 3;
    s.at = 1700000000 + (int64_t)(n % 1000);
    s.expires = s.at + h % 10000000;
    s.age = (prv_age){(uint8_t)(h % 20), (uint8_t)(h % 30), 13, s.at - 7};
    s.signals = h & 3;
    s.stored = (h & 4) != 0;
    return s;
}

static bool same(const prv_state *a, const prv_state *b)
{
    return a->present == b->present && a->stored == b->stored && a->restricted == b->restricted &&
           a->swept == b->swept && a->signals == b->signals && a->id_len == b->id_len &&
           memcmp(a->id, b->id, a->id_len) == 0 && a->version == b->version && a->seq == b->seq &&
           a->at == b->at && a->expires == b->expires && a->granted == b->granted &&
           a->refused == b->refused && a->age.ok == b->age.ok && a->age.under == b->age.under &&
           a->age.parental == b->age.parental && a->age.at == b->age.at && a->n_other == b->n_other;
}

static void put(prv_zone *zone, uint64_t key, uint64_t n, int64_t now)
{
    prv_state s = state_of(n);
    uint8_t print[PRV_PRINT_LEN];
    memset(print, (int)(n & 255), sizeof print);
    prv_cache_put(zone, key_of(key), 7, &s, &(prv_cache_put_how){.print = print}, now);
}

/* 0: not there; -1: torn; else the n of what is there. */
static int64_t get(prv_zone *zone, uint64_t key)
{
    prv_cached got;
    if (!prv_cache_get(zone, key_of(key), 7, 0, &got))
        return 0;
    const prv_state expected = state_of(got.state.seq);
    for (size_t i = 0; i < sizeof got.print; i++) {
        if (got.print[i] != (uint8_t)got.state.seq)
            return -1;
    }
    return same(&got.state, &expected) ? (int64_t)got.state.seq : -1;
}

/* ---- the segment */

static void test_attach(void **state)
{
    (void)state;
    char *mem = shared(1 << 20);
    assert_null(prv_zone_attach(mem, PRV_ZONE_MIN - 1));
    memset(mem, 0x5a, 1 << 20); /* another layout's */
    prv_zone *zone = prv_zone_attach(mem, 1 << 20);
    assert_non_null(zone);
    assert_int_equal(get(zone, 1), 0);
    put(zone, 1, 11, 1000);
    prv_cell_report(&zone->breaker, false, 1000);
    assert_ptr_equal(prv_zone_attach(mem, 1 << 20), zone); /* taken over */
    assert_int_equal(get(zone, 1), 11);
    assert_true(prv_cell_due(&zone->breaker) != 0);
    zone = prv_zone_attach(mem, PRV_ZONE_MIN); /* another size: made new */
    assert_int_equal(get(zone, 1), 0);
    assert_true(prv_cell_due(&zone->breaker) == 0);
    zone->layout++;
    put(zone, 1, 11, 1000);
    zone = prv_zone_attach(mem, PRV_ZONE_MIN);
    assert_int_equal(get(zone, 1), 0);
    size_t end = (size_t)((char *)(prv_zone_cache(zone) + zone->cache_sets) - mem);
    assert_true(end <= PRV_ZONE_MIN);
    assert_true(zone->cache_sets * 576 > PRV_ZONE_MIN * 17 / 20);
    munmap(mem, 1 << 20);
}

static void test_attach_by_many_at_once(void **state)
{
    (void)state;
    void *mem = shared(PRV_ZONE_MIN);
    for (int i = 0; i < 8; i++) {
        if (fork() == 0) {
            prv_zone *zone = prv_zone_attach(mem, PRV_ZONE_MIN);
            put(zone, (uint64_t)i + 100, (uint64_t)i + 1, 1000);
            _exit(get(zone, (uint64_t)i + 100) == i + 1 ? 0 : 1);
        }
    }
    for (int i = 0; i < 8; i++) {
        int status = 1;
        wait(&status);
        assert_int_equal(status, 0);
    }
    prv_zone *zone = mem;
    for (int i = 0; i < 8; i++)
        assert_int_equal(get(zone, (uint64_t)i + 100), i + 1); /* nobody formatted over another's */
    munmap(mem, PRV_ZONE_MIN);
}

/* ---- the cache */

static void test_a_state_comes_back_as_it_went(void **state)
{
    (void)state;
    void *mem = shared(PRV_ZONE_MIN);
    prv_zone *zone = prv_zone_attach(mem, PRV_ZONE_MIN);
    prv_cache_key key = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 255}};
    const uint8_t print[PRV_PRINT_LEN] = {9, 8, 7};
    const prv_cache_put_how how = {.print = print};
    const prv_cache_put_how bare = {0};
    prv_state s = state_of(5);
    prv_cached got;
    s.id_len = PRV_ID_LEN;
    prv_id_unpack(key.b, s.id);
    for (unsigned bits = 0; bits < 32; bits++) {
        s.present = bits & 1;
        s.stored = bits & 2;
        s.restricted = bits & 4;
        s.swept = bits & 8;
        s.id_len = bits & 16 ? PRV_ID_LEN : 0;
        s.signals = bits % 4;
        prv_cache_put(zone, key, 42, &s, &how, 1000);
        assert_true(prv_cache_get(zone, key, 42, 0, &got));
        assert_true(same(&got.state, &s));
        assert_memory_equal(got.print, print, sizeof print);
        assert_false(got.state.unreadable || got.fresh || got.tombstone || got.negative ||
                     got.partial);
    }
    assert_false(prv_cache_get(zone, key, 43, 0, &got)); /* another policy or other keys */
    prv_cache_put(zone, key, 43, &s, &bare, 1000);
    assert_false(prv_cache_get(zone, key, 42, 0, &got)); /* one entry a key */
    s.n_other = 1;
    prv_cache_put(zone, key, 43, &s, &how, 1000);
    assert_true(prv_cache_get(zone, key, 43, 0, &got));
    assert_true(got.partial && got.state.n_other == 0); /* kept, and says what it lacks */

    assert_false(prv_cache_get(NULL, key, 43, 0, &got));
    prv_cache_put(NULL, key, 43, &s, &how, 1000);
    assert_int_equal(prv_cache_stamp(NULL, key), 0);
    assert_true(prv_cache_invalidate(NULL, key, 1000));
    munmap(mem, PRV_ZONE_MIN);
}

/* Keys that share the set of key 0. */
static void one_set(prv_zone *zone, uint64_t *keys, size_t n)
{
    const prv_cache_set *set = cache_set(zone, key_of(0));
    uint64_t k = 0;
    for (size_t i = 0; i < n; k++) {
        if (cache_set(zone, key_of(k)) == set)
            keys[i++] = k;
    }
}

static void put_plain(prv_zone *zone, uint64_t key, uint32_t refused)
{
    const prv_state s = {.present = true, .seq = (uint32_t)key, .refused = refused};
    prv_cache_put(zone, key_of(key), 7, &s, &(prv_cache_put_how){0}, 1000);
}

static bool has(prv_zone *zone, uint64_t key)
{
    prv_cached got;
    return prv_cache_get(zone, key_of(key), 7, 0, &got);
}

static void test_eviction(void **state)
{
    (void)state;
    void *mem = shared(PRV_ZONE_MIN);
    prv_zone *zone = prv_zone_attach(mem, PRV_ZONE_MIN);
    uint64_t k[40];
    one_set(zone, k, 40);
    for (size_t i = 0; i < 8; i++)
        put_plain(zone, k[i], 0);
    for (size_t i = 0; i < 8; i++)
        assert_true(has(zone, k[i]));
    /* A visitor that is seen again and again outlives those who came once. */
    for (size_t i = 8; i < 40; i++) {
        assert_true(has(zone, k[3]));
        put_plain(zone, k[i], 0);
    }
    assert_true(has(zone, k[3]));
    size_t here = 0;
    for (size_t i = 0; i < 40; i++)
        here += has(zone, k[i]);
    assert_int_equal(here, 8);

    /* And a refusal outlives grants. */
    memset((char *)mem + PRV_ZONE_HEADER, 0, PRV_ZONE_MIN - PRV_ZONE_HEADER);
    put_plain(zone, k[0], 1);
    for (size_t i = 1; i < 24; i++)
        put_plain(zone, k[i], 0);
    assert_true(has(zone, k[0]));
    for (size_t i = 1; i < 8; i++)
        assert_false(has(zone, k[i]));
    munmap(mem, PRV_ZONE_MIN);
}

/* ---- writers that die or stop */

static pid_t writer(prv_zone *zone, uint64_t key, uint64_t n, int64_t now, unsigned step, int sig)
{
    pid_t pid = fork();
    if (pid == 0) {
        stop_at = step;
        stop_signal = sig;
        put(zone, key, n, now);
        _exit(0);
    }
    int status;
    waitpid(pid, &status, WUNTRACED);
    assert_true(sig == SIGSTOP ? WIFSTOPPED(status) : WIFSIGNALED(status));
    return pid;
}

static void test_a_writer_killed_between_its_stores(void **state)
{
    (void)state;
    void *mem = shared(PRV_ZONE_MIN);
    for (unsigned step = 0; step < STEPS; step++) {
        memset(mem, 0, PRV_ZONE_MIN);
        prv_zone *zone = prv_zone_attach(mem, PRV_ZONE_MIN);
        uint64_t k[3];
        one_set(zone, k, 3);
        put(zone, k[0], 1, 1000);
        put(zone, k[1], 2, 1000);
        writer(zone, k[0], 3, 1000, step, SIGKILL);
        int64_t seen = get(zone, k[0]);
        assert_true(seen == 0 || seen == 1 || seen == 3); /* old, new or nothing, never a mixture */
        assert_int_equal(get(zone, k[1]), 2);             /* its neighbour can still be read */
        put(zone, k[1], 4, 1500);                         /* the set is held ... */
        assert_int_equal(get(zone, k[1]), 2);
        put(zone, k[1], 5, 2100); /* ... for a second, by time alone */
        assert_int_equal(get(zone, k[1]), 5);
        put(zone, k[0], 6, 2100);
        assert_int_equal(get(zone, k[0]), 6);
        put(zone, k[2], 7, 2100);
        assert_int_equal(get(zone, k[2]), 7);
    }
    munmap(mem, PRV_ZONE_MIN);
}

static void test_a_stopped_writer_that_wakes_up(void **state)
{
    (void)state;
    void *mem = shared(PRV_ZONE_MIN);
    for (unsigned step = 0; step < STEPS; step++) {
        memset(mem, 0, PRV_ZONE_MIN);
        prv_zone *zone = prv_zone_attach(mem, PRV_ZONE_MIN);
        put(zone, 1, 1, 1000);
        pid_t pid = writer(zone, 1, 2, 1000, step, SIGSTOP);
        put(zone, 1, 3, 5000); /* overrides it */
        assert_int_equal(get(zone, 1), 3);
        kill(pid, SIGCONT); /* and then it writes over that, without the lock */
        waitpid(pid, NULL, 0);
        int64_t seen = get(zone, 1);
        if (seen != 0 && seen != 2 && seen != 3)
            fail_msg("step %u: torn", step);
        put(zone, 1, 4, 5000);
        assert_int_equal(get(zone, 1), 4);
    }
    munmap(mem, PRV_ZONE_MIN);
}

/* A read's writer stopped between its stores, and its key invalidated meanwhile: whatever it still stores when it wakes
 * up is not authoritative, and neither is what another left of it. */
static void test_a_stopped_writer_whose_key_is_invalidated(void **state)
{
    (void)state;
    void *mem = shared(PRV_ZONE_MIN);
    for (unsigned step = 0; step < STEPS; step++) {
        memset(mem, 0, PRV_ZONE_MIN);
        prv_zone *zone = prv_zone_attach(mem, PRV_ZONE_MIN);
        prv_lease lease = {0};
        prv_cached got;
        assert_true(prv_lease_hold(&lease, zone, 1000) && prv_lease_heard(&lease, 1000));
        const prv_state s = {.present = true, .seq = 2, .granted = 6};
        const prv_cache_put_how how = {.stamp = prv_cache_stamp(zone, key_of(1))};
        pid_t pid = fork();
        if (pid == 0) {
            stop_at = step;
            stop_signal = SIGSTOP;
            prv_cache_put(zone, key_of(1), 7, &s, &how, 1000);
            _exit(0);
        }
        int status;
        waitpid(pid, &status, WUNTRACED);
        assert_true(WIFSTOPPED(status));
        bool done = prv_cache_invalidate(zone, key_of(1), 1100);
        if (prv_cache_get(zone, key_of(1), 7, 1000, &got))
            assert_false(got.fresh); /* authority is gone, done or not */
        if (!done)
            assert_true(prv_cache_invalidate(zone, key_of(1), 2200)); /* its time is over */
        kill(pid, SIGCONT);
        waitpid(pid, NULL, 0);
        if (prv_cache_get(zone, key_of(1), 7, 1000, &got) && (got.fresh || got.state.granted != 0))
            fail_msg("step %u: a read that was overtaken grants", step);
        const prv_cache_put_how again = {.stamp = prv_cache_stamp(zone, key_of(1))};
        prv_cache_put(zone, key_of(1), 7, &s, &again, 9000);
        assert_true(prv_cache_get(zone, key_of(1), 7, 1000, &got) && got.fresh);
    }
    munmap(mem, PRV_ZONE_MIN);
}

static void test_a_clock_that_goes_back(void **state)
{
    (void)state;
    void *mem = shared(PRV_ZONE_MIN);
    prv_zone *zone = prv_zone_attach(mem, PRV_ZONE_MIN);
    writer(zone, 1, 1, 5000000, 0, SIGKILL);
    put(zone, 1, 2, 1000000); /* its stamp lies far ahead: no reason to wait for over an hour */
    assert_int_equal(get(zone, 1), 2);
    munmap(mem, PRV_ZONE_MIN);
}

/* One set, hammered by processes of which some are killed and some stopped mid-write. */
static _Noreturn void hammer(prv_zone *zone, const uint64_t *keys, uint64_t seed, bool fragile)
{
    for (uint64_t i = 1;; i++) {
        uint64_t r = prv_mix64(seed * 1000003 + i);
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        if (fragile && r % 512 == 0) {
            stop_at = (unsigned)(r >> 32) % STEPS;
            stop_signal = r & 1024 ? SIGKILL : SIGSTOP;
        }
        put(zone, keys[r % 12], 1 + (r >> 40), (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000);
        if (get(zone, keys[(r >> 8) % 12]) < 0)
            _exit(77);
    }
}

static void test_no_torn_read_is_ever_seen(void **state)
{
    (void)state;
    void *mem = shared(PRV_ZONE_MIN);
    prv_zone *zone = prv_zone_attach(mem, PRV_ZONE_MIN);
    enum { PROCESSES = 6 };
    uint64_t keys[12], seed = 1;
    pid_t pids[PROCESSES] = {0};
    size_t killed = 0, stopped = 0, reads = 0, hits = 0;
    bool torn = false;
    one_set(zone, keys, 12);
    const time_t begin = time(NULL);
    time_t end = begin + 4;
    while (time(NULL) < end && !torn) {
        if (time(NULL) + 1 >= end && !(killed > 0 && stopped > 0) && end < begin + 30)
            end++; /* a busy machine gives the children little time */
        for (int i = 0; i < PROCESSES; i++) {
            int status;
            pid_t got = pids[i] > 0 ? waitpid(pids[i], &status, WNOHANG | WUNTRACED) : 0;
            if (got > 0 && WIFSTOPPED(status)) {
                stopped++;
                if (stopped % 2 == 0)
                    nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL);
                kill(pids[i], SIGCONT);
            } else if (got > 0) {
                torn = torn || (WIFEXITED(status) && WEXITSTATUS(status) == 77);
                killed++;
                pids[i] = 0;
            }
            if (pids[i] == 0) {
                seed++;
                pids[i] = fork();
                if (pids[i] == 0)
                    hammer(zone, keys, seed, i > 0);
            }
        }
        for (int i = 0; i < 200; i++) {
            int64_t seen = get(zone, keys[i % 12]);
            torn = torn || seen < 0;
            hits += seen > 0;
            reads++;
        }
    }
    for (int i = 0; i < PROCESSES; i++) {
        if (pids[i] > 0) {
            kill(pids[i], SIGKILL);
            waitpid(pids[i], NULL, 0);
        }
    }
    assert_false(torn);
    assert_true(killed > 0 && stopped > 0); /* the test did what it says */
    assert_true(reads > 1000 && hits > 0);
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    int64_t later = (int64_t)t.tv_sec * 1000 + 3000;
    put(zone, keys[0], 99, later); /* and the set lives */
    assert_int_equal(get(zone, keys[0]), 99);
    munmap(mem, PRV_ZONE_MIN);
}

/* ---- limits */

static void test_limit(void **state)
{
    (void)state;
    void *mem = shared(PRV_ZONE_MIN);
    prv_zone *zone = prv_zone_attach(mem, PRV_ZONE_MIN);
    const prv_limit_conf conf = {.per_minute = 30, .burst = 5};
    int64_t now = 1800000000000;
    uint32_t retry = 99;
    for (int i = 0; i < 6; i++)
        assert_true(prv_limit_take(zone, &conf, 1, now, &retry)); /* one and the burst */
    assert_int_equal(retry, 0);
    assert_false(prv_limit_take(zone, &conf, 1, now, &retry));
    assert_int_equal(retry, 2);                             /* one every two seconds */
    assert_true(prv_limit_take(zone, &conf, 2, now, NULL)); /* another key */
    assert_false(prv_limit_take(zone, &conf, 1, now + 1900, NULL));
    assert_true(prv_limit_take(zone, &conf, 1, now + (int64_t)retry * 1000, NULL));
    assert_false(prv_limit_take(zone, &conf, 1, now + 2100, &retry));
    /* The clock goes back a year: not a lock-out of a year. */
    assert_false(prv_limit_take(zone, &conf, 1, now - 31536000000, &retry));
    assert_in_range(retry, 1, 3);
    assert_true(prv_limit_take(zone, &conf, 1, now - 31536000000 + 2100, &retry));
    const prv_limit_conf off = {.off = true, .per_minute = 1};
    for (int i = 0; i < 100; i++) {
        assert_true(prv_limit_take(zone, &off, 1, now, &retry));
        assert_true(prv_limit_take(NULL, &conf, 1, now, &retry));
    }
    munmap(mem, PRV_ZONE_MIN);
}

/* Thousands of other clients do not wipe out the bucket of one that is over its limit. */
static void test_a_full_table_keeps_the_fullest(void **state)
{
    (void)state;
    void *mem = shared(PRV_ZONE_MIN);
    prv_zone *zone = prv_zone_attach(mem, PRV_ZONE_MIN);
    const prv_limit_conf conf = {.per_minute = 30, .burst = 30};
    int64_t now = 1800000000000;
    while (prv_limit_take(zone, &conf, 1, now, NULL))
        ;
    for (uint64_t k = 2; k < 100000; k++)
        prv_limit_take(zone, &conf, k, now, NULL);
    assert_false(prv_limit_take(zone, &conf, 1, now, NULL));
    munmap(mem, PRV_ZONE_MIN);
}

static void test_limit_counts_exactly_between_processes(void **state)
{
    (void)state;
    void *mem = shared(PRV_ZONE_MIN);
    prv_zone *zone = prv_zone_attach(mem, PRV_ZONE_MIN);
    _Atomic unsigned *passed = shared(4096);
    const prv_limit_conf conf = {.per_minute = 60, .burst = 999};
    for (int i = 0; i < 4; i++) {
        if (fork() == 0) {
            for (int n = 0; n < 2000; n++) {
                if (prv_limit_take(zone, &conf, 1, 1800000000000, NULL))
                    atomic_fetch_add(passed, 1);
            }
            _exit(0);
        }
    }
    for (int i = 0; i < 4; i++)
        wait(NULL);
    assert_int_equal(atomic_load(passed), 1000);
    munmap((void *)passed, 4096);
    munmap(mem, PRV_ZONE_MIN);
}

/* ---- the breaker */

static void test_breaker(void **state)
{
    (void)state;
    void *mem = shared(PRV_ZONE_MIN);
    prv_zone *zone = prv_zone_attach(mem, PRV_ZONE_MIN);
    int64_t now = 1000000;
    assert_int_equal(prv_breaker_ask(NULL, now), PRV_BREAKER_CLOSED);
    prv_breaker_report(NULL, false, now);
    assert_int_equal(prv_breaker_ask(zone, now), PRV_BREAKER_CLOSED);

    prv_breaker_report(zone, false, now);
    assert_int_equal(prv_breaker_ask(zone, now), PRV_BREAKER_OPEN);
    int64_t due = prv_cell_due(&zone->breaker);
    assert_in_range(due - now, 75, 125);
    for (int i = 0; i < 50; i++)
        prv_breaker_report(zone, false, now + 10); /* the same failure, seen by fifty */
    assert_int_equal(prv_cell_due(&zone->breaker), due);

    assert_int_equal(prv_breaker_ask(zone, due - 1), PRV_BREAKER_OPEN);
    assert_int_equal(prv_breaker_ask(zone, due), PRV_BREAKER_PROBE);
    assert_int_equal(prv_breaker_ask(zone, due), PRV_BREAKER_OPEN); /* one at a time */
    for (int i = 0; i < 20; i++) {
        int64_t before = due;
        prv_breaker_report(zone, false, before);
        due = prv_cell_due(&zone->breaker);
        assert_in_range(due - before, 75, 600); /* soon enough to be back within a second */
        assert_int_equal(prv_breaker_ask(zone, due), PRV_BREAKER_PROBE);
    }
    /* The prober died. */
    assert_int_equal(prv_breaker_ask(zone, due + 1900), PRV_BREAKER_OPEN);
    assert_int_equal(prv_breaker_ask(zone, due + 2000), PRV_BREAKER_PROBE);
    prv_breaker_report(zone, true, due + 2010);
    assert_int_equal(prv_breaker_ask(zone, due + 2010), PRV_BREAKER_CLOSED);

    prv_breaker_report(zone, false, 1000000000); /* a time of another clock */
    assert_int_equal(prv_breaker_ask(zone, 1000), PRV_BREAKER_PROBE);
    munmap(mem, PRV_ZONE_MIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attach),
        cmocka_unit_test(test_attach_by_many_at_once),
        cmocka_unit_test(test_a_state_comes_back_as_it_went),
        cmocka_unit_test(test_eviction),
        cmocka_unit_test(test_a_writer_killed_between_its_stores),
        cmocka_unit_test(test_a_stopped_writer_that_wakes_up),
        cmocka_unit_test(test_a_stopped_writer_whose_key_is_invalidated),
        cmocka_unit_test(test_a_clock_that_goes_back),
        cmocka_unit_test(test_no_torn_read_is_ever_seen),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_a_full_table_keeps_the_fullest),
        cmocka_unit_test(test_limit_counts_exactly_between_processes),
        cmocka_unit_test(test_breaker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
