/* bus.letter_edited: somebody put other data in the place of a dead letter's, and these were the original ones. */
#include "base/id.h"
#include "base/status.h"
#include "bus/internal.h"
#include "json/write.h"

static void done(nexus_status status, const nexus_publish_result *result, void *user_data)
{
    (void)status, (void)result, (void)user_data; /* the barrier behind the redrive tells */
}

nexus_status nexus__bgroup_tell_edit(nexus__bgroup *g, const dead *d, const nexus__wal_record *with)
{
    const nexus_event *original = &d->stored->view.event;
    char id[NEXUS__UUID_LEN + 1];
    nexus_event e = NEXUS_EVENT_INIT;
    nexus__publish_terms terms = NEXUS__PUBLISH_TERMS;
    nexus_publish_result result;
    nexus__buf data;
    nexus__buf_init(&data, g->broker->alloc, 0);
    nexus__json_writer w = nexus__json_writer_on(&data);
    nexus__json_open(&w, '{');
    nexus__json_put_text_c(&w, "group", g->name);
    nexus__json_put_u64(&w, "pos", d->pos);
    nexus__json_put_text_c(&w, "reason", d->reason);
    nexus__json_put_raw(&w, "original", NEXUS_S(""));
    nexus__event_write_json(&data, original);
    nexus__json_close(&w, '}');
    nexus__uuid7(id);
    e.id = nexus__slice(id, NEXUS__UUID_LEN);
    e.source = NEXUS_S("/nexus/bus");
    e.type = NEXUS_S("bus.letter_edited");
    e.subject = nexus__slice_c(g->name);
    e.time_ns = nexus__real_ns();
    e.causationid = original->id;
    e.data = nexus__buf_slice(&data);
    terms.stream = NEXUS_S("bus");
    terms.with = with;
    terms.with_count = 1;
    terms.hasty = true; /* the group's lock is held */
    nexus_status status = data.status;
    if (status == NEXUS_OK)
        status = nexus__broker_publish(g->broker, &e, 1, &terms, done, NULL, &result);
    nexus__buf_free(&data);
    return status;
}
