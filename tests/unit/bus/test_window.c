/* bus/window: ids come, come again, are taken back and are forgotten, over many pages. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "bus/window.h"

/* A small space of keys, so that they come again; their hashes are spread like any. */
static nexus__key128 key_of(uint32_t n)
{
    return (nexus__key128){nexus__mix64(n + 1), n + 1};
}

enum { KEYS = 20000, STEPS = 200000 };

/* What the window should hold: for each key the position it was put with last, 0 = none; and the keys in order. */
static uint64_t held[KEYS];
static uint32_t order[STEPS];

static bool holds(const nexus__window *w, uint32_t n)
{
    const nexus__seen *s = nexus__window_get(w, key_of(n));
    return held[n] ? s && s->pos == held[n] : !s;
}

static void put(nexus__window *w, uint32_t n, uint64_t pos)
{
    cr_assert(nexus__window_put(w, &(nexus__seen){.key = key_of(n), .pos = pos}));
    held[n] = pos;
    order[pos - 1] = n;
}

/* The oldest entry counts for its key only when the key did not come again, and was not taken back. */
static void forget(nexus__window *w)
{
    uint64_t pos = w->first + 1;
    if (held[order[pos - 1]] == pos)
        held[order[pos - 1]] = 0;
    nexus__window_forget_oldest(w);
}

static void check_all(const nexus__window *w)
{
    size_t n = 0;
    for (uint32_t i = 0; i < KEYS; i++) {
        cr_assert(holds(w, i), "key %u", i);
        n += held[i] != 0;
    }
    cr_assert(n == w->used);
    for (uint64_t i = w->first; i < w->next; i++) {
        const nexus__seen *s = nexus__window_at(w, i);
        cr_assert(s->pos == i + 1 || !(s->key.a | s->key.b));
    }
}

static void run(uint64_t most)
{
    nexus__window w;
    nexus__window_init(&w, NULL);
    memset(held, 0, sizeof held);
    srand(7);
    for (uint64_t pos = 1; pos <= STEPS; pos++) {
        while (nexus__window_count(&w) >= most)
            forget(&w);
        put(&w, (uint32_t)rand() % KEYS, pos);
        if (rand() % 8 == 0) {
            uint32_t gone = (uint32_t)rand() % KEYS;
            nexus__window_remove(&w, key_of(gone));
            held[gone] = 0;
        }
        cr_assert(holds(&w, (uint32_t)rand() % KEYS));
        if (pos % 50000 == 0)
            check_all(&w);
    }
    while (nexus__window_count(&w))
        forget(&w);
    check_all(&w);
    nexus__window_free(&w);
}

Test(window, knows_what_came_last_and_forgets_in_order)
{
    run(5000);
}

Test(window, of_one_entry)
{
    run(1);
}

Test(window, of_whole_pages)
{
    run(NEXUS__WINDOW_PAGE);
    run(2 * NEXUS__WINDOW_PAGE);
}

Test(window, that_is_never_full)
{
    run(UINT64_MAX);
}

/* --- without memory ---- */

static int left;

static void *some_malloc(size_t n, void *user_data)
{
    (void)user_data;
    return left-- > 0 ? malloc(n) : NULL;
}

static void *some_realloc(void *p, size_t n, void *user_data)
{
    (void)user_data;
    return left-- > 0 ? realloc(p, n) : NULL;
}

static void some_free(void *p, void *user_data)
{
    (void)user_data;
    free(p);
}

Test(window, without_memory_keeps_what_it_has)
{
    nexus_alloc alloc = {.malloc_fn = some_malloc, .realloc_fn = some_realloc, .free_fn = some_free};
    for (int allowed = 0; allowed < 30; allowed++) {
        nexus__window w;
        nexus__window_init(&w, &alloc);
        left = allowed;
        uint32_t n = 0;
        while (n < 20 * NEXUS__WINDOW_PAGE - 500 && nexus__window_put(&w, &(nexus__seen){.key = key_of(n), .pos = n + 1}))
            n++;
        cr_assert(nexus__window_count(&w) == n && w.used == n);
        for (uint32_t i = 0; i < n; i++)
            cr_assert(nexus__window_get(&w, key_of(i))->pos == i + 1);
        left = 100;
        cr_assert(nexus__window_put(&w, &(nexus__seen){.key = key_of(n), .pos = n + 1}));
        nexus__window_free(&w);
    }
}
