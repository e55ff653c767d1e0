/* bus/: verify names what is bad with file and offset, repair cuts out that and no more. Fault rows 4 and 5. */
#include "fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

enum { EVENTS = 60 };

static const char *url_of(const char *dir)
{
    static char url[300];
    snprintf(url, sizeof url, "file:%s/bus", dir);
    return url;
}

static nexus_bus *open_here(const char *dir)
{
    nexus_bus *bus = NULL;
    nexus_bus_opts opts = NEXUS_BUS_OPTS_INIT;
    opts.segment_bytes = 65536;
    opts.checkpoint_bytes = 65536;
    cr_assert(nexus_bus_open(&bus, url_of(dir), &opts) == NEXUS_OK, "%s", nexus_error_message());
    return bus;
}

static nexus_status put_marked(nexus_bus *bus, int i)
{
    char data[4000];
    nexus_event e = NEXUS_EVENT_INIT;
    memset(data, 'x', sizeof data);
    snprintf(data, sizeof data, "<%d>", i);
    e.type = text("t");
    e.data = (nexus_slice){data, sizeof data};
    return nexus_bus_publish(bus, &e, 1, NULL, NULL);
}

static void fill(const char *dir)
{
    nexus_bus *bus = open_here(dir);
    for (int i = 1; i <= EVENTS; i++)
        cr_assert(put_marked(bus, i) == NEXUS_OK);
    nexus_bus_close(bus);
}

/* Flips a bit `back` bytes before event i's data, and tells in which file and where. */
static void damage(const char *dir, int i, int back, char *file, off_t *at)
{
    char path[300], mark[16];
    int n = snprintf(mark, sizeof mark, "<%d>", i);
    snprintf(path, sizeof path, "%s/bus", dir);
    DIR *d = opendir(path);
    *at = 0;
    for (struct dirent *e; !*at && (e = readdir(d));) {
        if (strncmp(e->d_name, "seg-", 4) != 0)
            continue;
        int fd = openat(dirfd(d), e->d_name, O_RDWR);
        off_t size = lseek(fd, 0, SEEK_END);
        char *bytes = malloc((size_t)size);
        cr_assert(pread(fd, bytes, (size_t)size, 0) == size);
        char *hit = memmem(bytes, (size_t)size, mark, (size_t)n);
        if (hit) {
            *at = hit - bytes - back;
            bytes[*at] ^= 1;
            cr_assert(pwrite(fd, bytes + *at, 1, *at) == 1);
            strcpy(file, e->d_name);
        }
        free(bytes);
        close(fd);
    }
    closedir(d);
    cr_assert(*at > 0);
}

static char *report_of(const char *dir, bool repair)
{
    char *json = NULL;
    nexus_status status =
        repair ? nexus_bus_repair(&json, NULL, url_of(dir)) : nexus_bus_verify(&json, NULL, url_of(dir));
    cr_assert(status == NEXUS_OK, "%s", nexus_error_message());
    return json;
}

static void expect(const char *dir, bool repair, const char *first, const char *second)
{
    char *json = report_of(dir, repair);
    cr_assert(strstr(json, first), "%s lacks %s", json, first);
    cr_assert(strstr(json, second), "%s lacks %s", json, second);
    nexus_free(json);
}

/* Everything but lost..lost_to is read; a group is told of those. */
static void check_rest(const char *dir, uint64_t lost, uint64_t lost_to)
{
    nexus_bus *bus = open_here(dir);
    nexus_reader *r;
    const nexus_event *e;
    uint64_t read = 0;
    nexus_status status;
    cr_assert(put_marked(bus, EVENTS + 1) == NEXUS_OK, "%s", nexus_error_message());
    cr_assert(nexus_reader_open(&r, bus, NULL) == NEXUS_OK);
    while ((status = nexus_reader_next(r, &e, 0)) != NEXUS_EDONE) {
        cr_assert(status == NEXUS_OK || status == NEXUS_EMISSING || status == NEXUS_ECORRUPT, "%s",
                  nexus_error_message());
        read += status == NEXUS_OK;
        cr_assert(status != NEXUS_OK || e->pos < lost || e->pos > lost_to);
    }
    cr_assert(read == EVENTS + 1 - (lost_to - lost + 1), "%llu", (unsigned long long)read);
    nexus_reader_close(r);
    nexus_group *g = join(bus, "g", NULL);
    for (uint64_t pos = 1; pos <= EVENTS + 1; pos++) {
        nexus_delivery *d = take(g, 5000);
        cr_assert(d && nexus_delivery_event(d)->pos == pos);
        if (pos == lost) {
            cr_assert(nexus_delivery_event(d)->type.n == 9);
            pos = lost_to;
        }
        nexus_delivery_free(d);
    }
    nexus_group_close(g);
    nexus_bus_close(bus);
}

Test(inspect, finds_nothing_in_a_log_that_is_whole)
{
    char *dir = scratch_dir(), *json = NULL;
    cr_assert(nexus_bus_verify(&json, NULL, url_of(dir)) == NEXUS_ENOTFOUND);
    cr_assert(nexus_bus_verify(&json, NULL, "memory:") == NEXUS_EINVAL);
    fill(dir);
    expect(dir, false, "\"bad\":[],\"ok\":true", "\"last\":60");
    expect(dir, true, "\"ok\":true", "\"repaired\":0");
    nexus_bus *bus = open_here(dir);
    cr_assert(nexus_bus_verify(&json, NULL, url_of(dir)) == NEXUS_ECONFLICT);
    nexus_bus_close(bus);
    scratch_remove(dir);
}

Test(inspect, a_damaged_event_in_a_finished_file_costs_that_event)
{
    char *dir = scratch_dir(), file[300], want[400];
    off_t at;
    fill(dir);
    damage(dir, 5, 0, file, &at);
    check_rest(dir, 5, 5); /* before any repair */
    snprintf(want, sizeof want, "{\"file\":\"%s\",\"offset\":", file);
    expect(dir, false, want, "\"from\":5,\"to\":5,\"what\":\"the event fails its check\"");
    expect(dir, true, "\"ok\":false", "\"repaired\":1");
    expect(dir, false, "\"ok\":true", "\"bad\":[]");
    scratch_remove(dir);
}

static const char *newest_event_file(const char *dir, char *file)
{
    off_t at;
    damage(dir, EVENTS - 2, 0, file, &at); /* flips */
    return file;
}

Test(inspect, damage_in_the_middle_of_the_last_file_stops_writing_until_it_is_repaired)
{
    char *dir = scratch_dir(), file[300];
    fill(dir);
    newest_event_file(dir, file);
    nexus_bus *bus = open_here(dir);
    cr_assert(put_marked(bus, 99) == NEXUS_ECORRUPT && strstr(nexus_error_message(), file));
    nexus_bus_close(bus);
    expect(dir, false, "\"from\":58,\"to\":58", file);
    expect(dir, true, "\"ok\":false", "\"repaired\":1");
    expect(dir, false, "\"ok\":true", "\"bad\":[]");
    check_rest(dir, 58, 58);
    scratch_remove(dir);
}

Test(inspect, a_damaged_batch_is_cut_out_and_its_positions_stay_missing)
{
    char *dir = scratch_dir(), file[300];
    off_t at;
    fill(dir);
    damage(dir, 7, 140, file, &at); /* somewhere in the heads before the data */
    expect(dir, false, "\"from\":7,\"to\":7", "\"ok\":false");
    expect(dir, true, "\"repaired\":1", file);
    expect(dir, false, "\"ok\":true", "\"bad\":[]");
    check_rest(dir, 7, 7);
    scratch_remove(dir);
}

static void on_files(const char *dir, const char *begin, const char *end, void (*fn)(int dir_fd, const char *name))
{
    char path[300];
    snprintf(path, sizeof path, "%s/bus", dir);
    DIR *d = opendir(path);
    for (struct dirent *e; (e = readdir(d));)
        if (strncmp(e->d_name, begin, strlen(begin)) == 0 && strstr(e->d_name, end))
            fn(dirfd(d), e->d_name);
    closedir(d);
}

static void break_head(int dir_fd, const char *name)
{
    char byte;
    int fd = openat(dir_fd, name, O_RDWR);
    cr_assert(fd >= 0 && pread(fd, &byte, 1, 20) == 1);
    byte ^= 0x55;
    cr_assert(pwrite(fd, &byte, 1, 20) == 1);
    close(fd);
}

static void remove_it(int dir_fd, const char *name)
{
    cr_assert(unlinkat(dir_fd, name, 0) == 0);
}

Test(inspect, a_damaged_header_is_written_anew)
{
    char *dir = scratch_dir();
    fill(dir);
    on_files(dir, "seg-", "-00000002.log", break_head);
    expect(dir, false, "the header fails its check", "\"ok\":false");
    expect(dir, true, "\"repaired\":1", "-00000002.log");
    expect(dir, false, "\"ok\":true", "\"bad\":[]");
    check_rest(dir, EVENTS + 2, EVENTS + 1); /* nothing is lost */
    scratch_remove(dir);
}

Test(inspect, a_log_without_its_beginning_and_without_checkpoints_can_be_opened_after_a_repair)
{
    char *dir = scratch_dir();
    nexus_bus *bus = NULL;
    fill(dir);
    on_files(dir, "seg-", "-00000001.log", remove_it);
    on_files(dir, "bus-", ".ckpt", break_head);
    cr_assert(nexus_bus_open(&bus, url_of(dir), NULL) == NEXUS_ECORRUPT);
    expect(dir, false, "\"state_lost\":true", "the checkpoint fails its check");
    expect(dir, true, "\"state_lost\":true", "\"ok\":false");
    expect(dir, false, "\"ok\":true", "\"checkpoints\":2");
    bus = open_here(dir);
    cr_assert(put_marked(bus, 1) == NEXUS_OK);
    nexus_bus_close(bus);
    scratch_remove(dir);
}

Test(inspect, a_lost_file_in_the_middle_is_told_to_readers_and_groups)
{
    char *dir = scratch_dir();
    fill(dir);
    on_files(dir, "seg-", "-00000002.log", remove_it);
    expect(dir, false, "a file before this one is missing", "\"ok\":false");
    nexus_bus *bus = open_here(dir);
    nexus_group *g = join(bus, "g", NULL);
    uint64_t next = 1, missing = 0;
    while (next <= EVENTS) {
        nexus_delivery *d = take(g, 5000);
        const nexus_event *e = nexus_delivery_event(d);
        unsigned long long from = 0, to = 0;
        cr_assert(d && e->pos == next);
        if (e->type.n == 9) {
            char data[200];
            snprintf(data, sizeof data, "%.*s", (int)e->data.n, e->data.p);
            cr_assert(sscanf(strstr(data, "\"from\""), "\"from\":%llu,\"to\":%llu", &from, &to) == 2 && from == next);
            missing += to - from + 1;
        }
        next = e->type.n == 9 ? to + 1 : next + 1;
        nexus_delivery_free(d);
    }
    cr_assert(missing > 5 && missing < EVENTS / 2, "%llu", (unsigned long long)missing);
    nexus_reader *r;
    const nexus_event *e;
    uint64_t told = 0, read = 0;
    nexus_status status;
    cr_assert(nexus_reader_open(&r, bus, NULL) == NEXUS_OK);
    while ((status = nexus_reader_next(r, &e, 0)) != NEXUS_EDONE) {
        cr_assert(status == NEXUS_OK || status == NEXUS_EMISSING, "%s", nexus_error_message());
        told += status == NEXUS_EMISSING;
        read += status == NEXUS_OK;
    }
    cr_assert(told == 1 && read + missing == EVENTS);
    nexus_reader_close(r);
    nexus_group_close(g);
    nexus_bus_close(bus);
    scratch_remove(dir);
}
