/* bus/: erasing what an event said, everywhere, while everything else about it stays. */
#include "fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#define SECRET "the-secret-of-anna"

static nexus_bus *open_here(const char *dir)
{
    char url[300];
    nexus_bus *bus = NULL;
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    opts.segment_bytes = 65536;
    snprintf(url, sizeof url, dir ? "file:%s/bus" : "memory:", dir);
    cr_assert(nexus_bus_open(&bus, url, &opts) == NEXUS_OK, "%s", nexus_error_message());
    return bus;
}

static nexus_publish_result put_id(nexus_bus *bus, const char *id, const char *data)
{
    nexus_event e = NEXUS_EVENT_INIT;
    nexus_publish_result r = NEXUS_PUBLISH_RESULT_INIT;
    e.id = text(id);
    e.type = text("t");
    e.subject = text("anna");
    e.data = text(data);
    cr_assert(nexus_bus_publish(bus, &e, 1, NULL, &r) == NEXUS_OK, "%s", nexus_error_message());
    return r;
}

static int files_with_secret(const char *dir)
{
    char path[300];
    int found = 0;
    snprintf(path, sizeof path, "%s/bus", dir);
    DIR *d = opendir(path);
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_type != DT_REG)
            continue;
        int fd = openat(dirfd(d), e->d_name, O_RDONLY);
        off_t n = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
        char *bytes = malloc((size_t)(n > 0 ? n : 0) + 1);
        if (n > 0 && pread(fd, bytes, (size_t)n, 0) == n)
            found += memmem(bytes, (size_t)n, SECRET, strlen(SECRET)) != NULL;
        free(bytes);
        if (fd >= 0)
            close(fd);
    }
    closedir(d);
    return found;
}

/* Every event in order; the one at pos has no data and says so. */
static void check_log(nexus_bus *bus, uint64_t pos, uint64_t last)
{
    nexus_reader *r;
    const nexus_event *e;
    cr_assert(nexus_reader_open(&r, bus, NULL) == NEXUS_OK);
    for (uint64_t i = 1; i <= last; i++) {
        cr_assert(nexus_reader_next(r, &e, 0) == NEXUS_OK, "%s", nexus_error_message());
        cr_assert(e->pos == i && e->version == (int64_t)i - 1 && (e->data.n == 0) == (i == pos));
        cr_assert((e->ext_count == 1) == (i == pos));
    }
    nexus_reader_close(r);
}

static void bury(nexus_bus *bus)
{
    nexus_group *g = join(bus, "g", NULL);
    nexus_delivery *d = take(g, 5000);
    cr_assert(d && data_is(d, SECRET) && nexus_delivery_term(d, "no good") == NEXUS_OK);
    nexus_delivery_free(d);
    nexus_group_close(g);
}

static void check_letter(nexus_bus *bus)
{
    char *letters;
    nexus_group *g = join(bus, "g", NULL);
    cr_assert(nexus_group_dead(&letters, NULL, g, NULL) == NEXUS_OK);
    cr_assert(strstr(letters, "no good") && !strstr(letters, SECRET) && strstr(letters, "\"redacted\":\"true\""), "%s",
              letters);
    nexus_free(letters);
    nexus_group_close(g);
}

static void redacted(const char *dir)
{
    nexus_bus *bus = open_here(dir);
    put_id(bus, "secret", SECRET);
    bury(bus);
    put_id(bus, "second", "two");
    cr_assert(nexus_bus_redact(bus, 3) == NEXUS_ENOTFOUND);
    cr_assert(nexus_bus_redact(bus, 1) == NEXUS_OK, "%s", nexus_error_message());
    cr_assert(nexus_bus_redact(bus, 1) == NEXUS_OK); /* again is nothing */
    put_id(bus, "third", "three");
    check_log(bus, 1, 3);
    check_letter(bus);
    cr_assert(put_id(bus, "secret", SECRET).dup && put_id(bus, "secret", "anything").dup);
    nexus_bus_close(bus);
    if (!dir)
        return;
    cr_assert(files_with_secret(dir) == 0);
    bus = open_here(dir);
    check_log(bus, 1, 3);
    check_letter(bus);
    cr_assert(put_id(bus, "secret", SECRET).dup && put_id(bus, "secret", SECRET).first == 1);
    nexus_bus_close(bus);
}

Test(redact, removes_data_from_log_memory_letters_and_checkpoints)
{
    char *dir = scratch_dir();
    redacted(NULL);
    redacted(dir);
    scratch_remove(dir);
}

Test(redact, leaves_the_id_known_when_everything_is_read_from_the_log_again)
{
    char *dir = scratch_dir(), path[300];
    nexus_bus *bus = open_here(dir);
    put_id(bus, "secret", SECRET);
    cr_assert(nexus_bus_redact(bus, 1) == NEXUS_OK);
    nexus_bus_close(bus);
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/bus/bus-%d.ckpt", dir, i);
        cr_assert(unlink(path) == 0);
    }
    bus = open_here(dir);
    cr_assert(put_id(bus, "secret", SECRET).dup && put_id(bus, "next", "x").first == 2);
    nexus_bus_close(bus);
    scratch_remove(dir);
}

Test(redact, works_from_a_client_and_for_a_group_that_has_loaded_the_event)
{
    char *dir = scratch_dir();
    nexus_bus *bus = open_here(dir), *client = open_here(dir);
    put_id(bus, "first", "one");
    put_id(bus, "secret", SECRET); /* waits behind the first of its key */
    nexus_group *g = join(bus, "g", NULL);
    nexus_delivery *d = take(g, 5000);
    cr_assert(d && !nexus_bus_is_owner(client));
    cr_assert(nexus_bus_redact(client, 9) == NEXUS_ENOTFOUND && strstr(nexus_error_message(), "no event 9"));
    cr_assert(nexus_bus_redact(client, 2) == NEXUS_OK, "%s", nexus_error_message());
    cr_assert(nexus_delivery_ack(d) == NEXUS_OK);
    nexus_delivery_free(d);
    d = take(g, 5000);
    cr_assert(d && nexus_delivery_event(d)->pos == 2 && nexus_delivery_event(d)->data.n == 0);
    nexus_delivery_free(d);
    nexus_group_close(g);
    nexus_bus_close(client);
    nexus_bus_close(bus);
    scratch_remove(dir);
}
