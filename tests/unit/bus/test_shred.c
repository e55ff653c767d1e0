/* bus/: data sealed with a key of its subject, and what is left when the key is deleted. */
#include "place.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static const char secret[] = "{\"iban\":\"CH9300762011623852957\"}";

static nexus_bus *open_sealing(const char *dir)
{
    char url[300];
    nexus_bus *bus = NULL;
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    opts.segment_bytes = 1 << 20;
    opts.shred_types = "person.*";
    snprintf(url, sizeof url, "file:%s/bus", dir);
    cr_assert(nexus_bus_open(&bus, url, &opts) == NEXUS_OK, "%s", nexus_error_message());
    return bus;
}

static nexus_publish_result put_as(nexus_bus *bus, const char *id, const char *type, const char *subject, nexus_status *how)
{
    nexus_event e = NEXUS_EVENT_INIT;
    nexus_publish_result r = NEXUS_PUBLISH_RESULT_INIT;
    nexus_pair ext = {text("tags"), text("blue")};
    e.id = text(id);
    e.type = text(type);
    e.subject = text(subject);
    e.data = text(secret);
    e.datacontenttype = text("application/json");
    e.ext = &ext;
    e.ext_count = 1;
    *how = nexus_bus_publish(bus, &e, 1, NULL, &r);
    return r;
}

static void put_ok(nexus_bus *bus, const char *id, const char *type, const char *subject)
{
    nexus_status how;
    put_as(bus, id, type, subject, &how);
    cr_assert(how == NEXUS_OK, "%s", nexus_error_message());
}

static bool holds(const char *path, const char *needle)
{
    static char bytes[4 << 20];
    int fd = open(path, O_RDONLY);
    ssize_t n = fd < 0 ? 0 : read(fd, bytes, sizeof bytes);
    close(fd);
    return n > 0 && memmem(bytes, (size_t)n, needle, strlen(needle));
}

static bool on_disk(const char *dir, const char *needle)
{
    char path[700];
    bool found = false;
    snprintf(path, sizeof path, "%s/bus", dir);
    DIR *d = opendir(path);
    for (struct dirent *e; (e = readdir(d));) {
        snprintf(path, sizeof path, "%s/bus/%s", dir, e->d_name);
        found |= e->d_type == DT_REG && holds(path, needle);
    }
    closedir(d);
    return found;
}

static const char *ext_of(const nexus_event *e, const char *name)
{
    for (size_t i = 0; i < e->ext_count; i++)
        if (e->ext[i].name.n == strlen(name) && memcmp(e->ext[i].name.p, name, e->ext[i].name.n) == 0)
            return e->ext[i].value.p;
    return NULL;
}

static void check_event(const nexus_event *e, bool gone)
{
    cr_assert(!ext_of(e, "shred") && ext_of(e, "tags"));
    cr_assert(gone == (ext_of(e, "shredded") != NULL));
    cr_assert(gone ? e->data.n == 0 : e->data.n == strlen(secret) && memcmp(e->data.p, secret, e->data.n) == 0);
}

/* alice's data is there or not, by a reader and by a group; bob's and the order's always. */
static void check_all(nexus_bus *bus, const char *group, bool gone)
{
    nexus_reader *r;
    const nexus_event *e;
    int n = 0;
    cr_assert(nexus_reader_open(&r, bus, NULL) == NEXUS_OK);
    while (nexus_reader_next(r, &e, 0) == NEXUS_OK && e->pos <= 3) {
        check_event(e, gone && e->subject.p[0] == 'a' && e->type.p[0] == 'p');
        n++;
    }
    nexus_reader_close(r);
    cr_assert_eq(n, 3);
    nexus_group *g = join(bus, group, NULL);
    for (int i = 0; i < 3; i++) {
        nexus_delivery *d = take(g, 2000);
        const nexus_event *got = d ? nexus_delivery_event(d) : NULL;
        cr_assert(got && got->pos == (uint64_t)i + 1, "%s", nexus_error_message());
        check_event(got, gone && got->subject.p[0] == 'a' && got->type.p[0] == 'p');
        ack(d);
    }
    nexus_group_close(g);
}

Test(shred, makes_the_data_of_a_subject_unreadable_everywhere_and_of_nobody_else)
{
    char *dir = scratch_dir();
    nexus_bus *owner = open_sealing(dir), *client = bus_open(dir);
    put_ok(owner, "1", "person.moved", "alice");
    put_ok(owner, "2", "person.moved", "bob");
    cr_assert(!on_disk(dir, "CH9300762011623852957"));
    put_ok(owner, "3", "order.created", "alice"); /* another type */
    cr_assert(on_disk(dir, "CH9300762011623852957"));
    check_all(owner, "a", false);
    check_all(client, "b", false);
    cr_assert(nexus_bus_shred(client, "alice") == NEXUS_OK, "%s", nexus_error_message());
    check_all(owner, "c", true);
    check_all(client, "d", true);
    cr_assert(nexus_bus_shred(owner, "alice") == NEXUS_ENOTFOUND);
    nexus_bus_close(client);
    nexus_bus_close(owner);
    owner = open_sealing(dir);
    check_all(owner, "e", true);
    put_ok(owner, "4", "person.moved", "alice"); /* with a new key, which opens nothing of before */
    nexus_reader *r;
    const nexus_event *e = NULL;
    nexus_reader_opts opts = NEXUS_READER_OPTS_INIT;
    opts.start = NEXUS_START_POS;
    opts.start_pos = 4;
    cr_assert(nexus_reader_open(&r, owner, &opts) == NEXUS_OK && nexus_reader_next(r, &e, 0) == NEXUS_OK);
    check_event(e, false);
    nexus_reader_close(r);
    check_all(owner, "f", true);
    nexus_bus_close(owner);
    scratch_remove(dir);
}

Test(shred, leaves_a_repeated_publish_the_same_publish)
{
    char *dir = scratch_dir();
    nexus_status how;
    nexus_bus *owner = open_sealing(dir), *client = open_sealing(dir);
    put_ok(owner, "1", "person.moved", "alice");
    nexus_publish_result r = put_as(client, "1", "person.moved", "alice", &how);
    cr_assert(how == NEXUS_OK && r.dup, "%s", nexus_error_message());
    nexus_bus_close(client);
    nexus_bus_close(owner);
    scratch_remove(dir);
}

Test(shred, takes_the_key_from_the_file_and_from_the_bytes_of_the_file_before)
{
    char *dir = scratch_dir(), path[700] = "", cmd[800];
    nexus_bus *bus = open_sealing(dir);
    put_ok(bus, "1", "person.moved", "alice");
    snprintf(cmd, sizeof cmd, "%s/bus/shred", dir);
    DIR *d = opendir(cmd);
    for (struct dirent *e; (e = readdir(d));)
        if (strstr(e->d_name, ".keys"))
            snprintf(path, sizeof path, "%s/bus/shred/%s", dir, e->d_name);
    closedir(d);
    char before[88] = {0}, now[88] = {0}, old[88] = {0};
    int fd = open(path, O_RDONLY); /* held: the old file's own bytes */
    struct stat st;
    cr_assert(read(fd, before, sizeof before) == 88 && fstat(fd, &st) == 0 && (st.st_mode & 0777) == 0600);
    cr_assert(nexus_bus_shred(bus, "alice") == NEXUS_OK);
    cr_assert(pread(fd, old, sizeof old, 0) == 88);
    close(fd);
    cr_assert(!memmem(old, sizeof old, before + 56, 32), "the old bytes are still there");
    fd = open(path, O_RDONLY);
    ssize_t n = read(fd, now, sizeof now);
    close(fd);
    cr_assert(n >= 16 && !memmem(now, sizeof now, before + 56, 32));
    nexus_bus_close(bus);
    scratch_remove(dir);
}

Test(shred, of_a_damaged_key_file_says_so_and_never_that_the_data_was_shredded)
{
    char *dir = scratch_dir(), cmd[400];
    nexus_bus *bus = open_sealing(dir);
    put_ok(bus, "1", "person.moved", "alice");
    snprintf(cmd, sizeof cmd, "for f in %s/bus/shred/*.keys; do printf X | dd of=$f bs=1 seek=40 conv=notrunc 2>/dev/null; done", dir);
    cr_assert(system(cmd) == 0);
    nexus_reader *r;
    const nexus_event *e;
    nexus_status how;
    cr_assert(nexus_reader_open(&r, bus, NULL) == NEXUS_OK);
    cr_assert(nexus_reader_next(r, &e, 0) == NEXUS_ECORRUPT && strstr(nexus_error_message(), "key file"));
    nexus_reader_close(r);
    nexus_group *g = join(bus, "g", NULL);
    nexus_delivery *d;
    size_t got;
    cr_assert(nexus_group_fetch(g, &d, 1, 1000, &got) == NEXUS_ECORRUPT && got == 0);
    nexus_group_close(g);
    put_as(bus, "2", "person.moved", "alice", &how);
    cr_assert(how == NEXUS_ECORRUPT); /* no second key for her */
    nexus_bus_close(bus);
    scratch_remove(dir);
}

Test(shred, needs_a_place_for_keys)
{
    nexus_bus *bus;
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    opts.shred_types = "person.*";
    cr_assert(nexus_bus_open(&bus, "memory:", &opts) == NEXUS_ENOTSUP && strstr(nexus_error_message(), "shred_types"));
    bus = bus_open(NULL);
    cr_assert(nexus_bus_shred(bus, "alice") == NEXUS_ENOTSUP);
    nexus_bus_close(bus);
}
