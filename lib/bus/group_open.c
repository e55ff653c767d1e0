/* Finding or making a group in the broker. */
#include "base/status.h"
#include "bus/internal.h"

/* What END and TIME mean is decided once. */
nexus_status nexus__broker_start_pos(nexus__broker *b, uint32_t start, int64_t start_time_ns, uint64_t *pos)
{
    uint64_t end = nexus__wal_durable(b->wal) + 1;
    switch (start) {
    case NEXUS_START_FIRST:
        *pos = 1;
        return NEXUS_OK;
    case NEXUS_START_END:
        *pos = end;
        return NEXUS_OK;
    case NEXUS_START_POS:
        *pos = *pos ? *pos : 1;
        return NEXUS_OK;
    default:
        break;
    }
    nexus__wal_reader *reader;
    nexus_status status = nexus__wal_reader_open(&reader, b->wal, 0);
    if (status != NEXUS_OK)
        return status;
    nexus__wal_record r;
    *pos = end;
    while ((status = nexus__wal_reader_next(reader, &r)) != NEXUS_EDONE) {
        if (status != NEXUS_OK && status != NEXUS_ECORRUPT && status != NEXUS_EMISSING)
            break;
        if (status == NEXUS_OK && r.recv_ns >= start_time_ns && !(r.flags & NEXUS__WAL_INTERNAL)) {
            *pos = r.pos;
            break;
        }
    }
    nexus__wal_reader_close(reader);
    return status == NEXUS_EDONE ? NEXUS_OK : status;
}

static nexus_status store(nexus__broker *b, nexus_slice name, nexus_slice config)
{
    nexus__wal_record r = {.kind = KIND_GROUP, .flags = NEXUS__WAL_INTERNAL, .meta = name, .payload = config};
    return nexus__wal_append(b->wal, &r, 1, NULL);
}

static nexus_status make(nexus__broker *b, nexus_slice name, nexus__group_config *config, nexus__bgroup **out)
{
    nexus__buf bytes;
    nexus__buf_init(&bytes, b->alloc, 0);
    nexus_status status = nexus__broker_start_pos(b, config->start, config->start_time_ns, &config->start_pos);
    nexus__group_config_encode(&bytes, config);
    if (status == NEXUS_OK)
        status = bytes.status;
    if (status == NEXUS_OK)
        status = store(b, name, nexus__buf_slice(&bytes));
    if (status == NEXUS_OK) {
        pthread_mutex_lock(&b->groups_lock);
        status = nexus__bgroup_new(b, name, nexus__buf_slice(&bytes), out);
        if (status == NEXUS_OK)
            (*out)->floor = (*out)->loaded = config->start_pos - 1;
        pthread_mutex_unlock(&b->groups_lock);
    }
    nexus__buf_free(&bytes);
    return status;
}

/* Limits change at once; a changed filter or order is for what is loaded from now on. */
static nexus_status update(nexus__broker *b, nexus__bgroup *g, nexus__group_config *config)
{
    nexus__buf bytes;
    nexus__buf_init(&bytes, b->alloc, 0);
    config->start = g->config.start;
    config->start_pos = g->config.start_pos;
    nexus__group_config_encode(&bytes, config);
    nexus_status status = bytes.status;
    if (status == NEXUS_OK)
        status = store(b, nexus__slice_c(g->name), nexus__buf_slice(&bytes));
    char *copy = status == NEXUS_OK ? nexus__strndup(b->alloc, nexus__buf_slice(&bytes)) : NULL;
    if (status == NEXUS_OK && !copy)
        status = nexus__nomem();
    if (status == NEXUS_OK) {
        pthread_mutex_lock(&g->lock);
        nexus__free(b->alloc, g->config_bytes);
        g->config_bytes = copy;
        g->config_n = bytes.len;
        nexus__group_config_decode(nexus__slice(copy, bytes.len), &g->config);
        nexus__bgroup_use_config(g);
        pthread_mutex_unlock(&g->lock);
    }
    nexus__buf_free(&bytes);
    return status;
}

static nexus_status check(nexus_slice name, const nexus__group_config *c)
{
    bool good = name.n >= 1 && name.n <= 128;
    for (size_t i = 0; good && i < name.n; i++) {
        char x = nexus__ascii_lower(name.p[i]);
        good = (x >= 'a' && x <= 'z') || (x >= '0' && x <= '9') || x == '.' || x == '_' || x == '-';
    }
    if (!good)
        return nexus__fail(NEXUS_EINVAL, "a group's name is 1 to 128 of A-Z a-z 0-9 . _ -");
    return nexus__group_config_check(name, c);
}

nexus_status nexus__broker_group(nexus__broker *b, nexus_slice name, const nexus__group_config *config,
                                 nexus__bgroup **out)
{
    nexus__group_config wanted = *config;
    nexus_status status = check(name, &wanted);
    if (status != NEXUS_OK)
        return status;
    pthread_mutex_lock(&b->open_lock); /* two openers of a new group: one makes it */
    pthread_mutex_lock(&b->groups_lock);
    nexus__bgroup *g = nexus__map_get(&b->groups, name);
    pthread_mutex_unlock(&b->groups_lock);
    const char *difference = g && !wanted.existing ? nexus__group_config_differs(&g->config, &wanted) : NULL;
    if (!g && wanted.existing)
        status = nexus__fail(NEXUS_ENOTFOUND, "there is no group %.*s", (int)name.n, name.p);
    else if (!g)
        status = make(b, name, &wanted, &g);
    else if (difference && wanted.update)
        status = update(b, g, &wanted);
    else if (difference)
        status = nexus__fail(NEXUS_ECONFLICT, "group %.*s exists with another %s; open it with update to change it",
                             (int)name.n, name.p, difference);
    pthread_mutex_unlock(&b->open_lock);
    if (status == NEXUS_OK)
        *out = g;
    return status;
}
