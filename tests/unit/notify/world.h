/* What the tests of a dispatcher share: SQLite, a client, a development mailbox. */
#ifndef NEXUS_TEST_NOTIFY_WORLD_H
#define NEXUS_TEST_NOTIFY_WORLD_H

#include <criterion/criterion.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <nexus/client.h>
#include <nexus/db.h>
#include <nexus/event.h>
#include <nexus/notify.h>

#include "base/str.h"

typedef struct world {
    nexus_db *db;
    nexus_client *client;
    nexus_notify *notify;
    char folder[64];
    _Atomic int sent, fail_first;
    char data[512];
} world;

#define OK(call) cr_assert_eq((call), NEXUS_OK, "%s", nexus_error_message())

static inline nexus_status on_sent(const nexus_notify_sent *sent, void *user_data)
{
    world *w = user_data;
    if (atomic_fetch_sub(&w->fail_first, 1) > 0)
        return NEXUS_EUNREACH;
    snprintf(w->data, sizeof w->data, "%.*s", (int)sent->data.n, sent->data.p);
    atomic_fetch_add(&w->sent, 1);
    return NEXUS_OK;
}

static inline void open_notify(world *w)
{
    char mailbox[96];
    nexus_notify_opts opts = NEXUS_NOTIFY_OPTS_INIT;
    snprintf(mailbox, sizeof mailbox, "%s/mailbox", w->folder);
    opts.client = w->client;
    opts.mailbox_dir = mailbox;
    opts.mail_from = "shop@example.com";
    opts.on_sent = on_sent;
    opts.user_data = w;
    OK(nexus_notify_open(&w->notify, w->db, &opts));
}

static inline void set_up(world *w)
{
    char url[96];
    *w = (world){.db = NULL};
    snprintf(w->folder, sizeof w->folder, "/tmp/nexus-notify-XXXXXX");
    cr_assert(mkdtemp(w->folder));
    snprintf(url, sizeof url, "sqlite:%s/n.db", w->folder);
    nexus_client_opts opts = NEXUS_CLIENT_OPTS_INIT;
    opts.allow_cidrs = "127.0.0.0/8";
    OK(nexus_db_open(&w->db, url, NULL));
    OK(nexus_client_open(&w->client, NULL, &opts));
    open_notify(w);
}

static inline void tear_down(world *w)
{
    char command[96];
    nexus_notify_close(w->notify);
    nexus_client_close(w->client);
    nexus_db_close(w->db);
    snprintf(command, sizeof command, "rm -rf %s", w->folder);
    cr_assert_eq(system(command), 0);
}

static inline nexus_status submit(world *w, const char *request, const char *key, nexus_notify_report *report,
                                  char **out)
{
    size_t n = 0;
    return nexus_notify_submit(out, &n, w->notify, nexus__slice_c(request), NEXUS_S("user-1"), nexus__slice_c(key),
                               report);
}

static inline void id_of(const char *json, char id[static 40])
{
    const char *at = strstr(json, "\"id\":\"");
    cr_assert(at);
    snprintf(id, 37, "%s", at + 6);
}

/* Polls the view until it holds the text; the view stays with the caller. */
static inline char *wait_view(world *w, const char *id, const char *text)
{
    for (int i = 0; i < 1000; i++) {
        char *view = NULL;
        OK(nexus_notify_get(&view, NULL, w->notify, nexus__slice_c(id), NEXUS_S("")));
        if (strstr(view, text))
            return view;
        nexus_free(view);
        usleep(10000);
    }
    cr_assert_fail("%s did not come", text);
    return NULL;
}

static inline void wait_sent(world *w, int count)
{
    for (int i = 0; i < 1000 && atomic_load(&w->sent) < count; i++)
        usleep(10000);
    cr_assert_eq(atomic_load(&w->sent), count);
}

#endif
