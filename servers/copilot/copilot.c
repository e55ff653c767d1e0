#include "copilot.h"

#include <stdio.h>
#include <stdlib.h>

static nexus_status open_metrics(copilot *c)
{
    nexus_metric_family *family;
    nexus_metric_desc desc = NEXUS_METRIC_DESC_INIT;
    desc.name = "nexus_copilot_questions_total";
    desc.help = "Questions asked, by whether they were understood.";
    desc.type = NEXUS_METRIC_COUNTER;
    desc.labels = "understood";
    nexus_status st = nexus_metrics_family(&family, nexus_service_metrics(c->service), &desc);
    if (st != NEXUS_OK)
        return st;
    c->understood = nexus_metric_series(family, &NEXUS_S("yes"), 1);
    c->unknown = nexus_metric_series(family, &NEXUS_S("no"), 1);
    return NEXUS_OK;
}

static nexus_status mount(nexus_service *service, void **out)
{
    copilot *c = calloc(1, sizeof *c);
    if (!c)
        return NEXUS_ENOMEM;
    c->service = service;
    const char *url = nexus_settings_text(nexus_service_settings(service), "copilot_analytics_url");
    if (url && *url)
        snprintf(c->analytics_url, sizeof c->analytics_url, "%s", url);
    else
        snprintf(c->analytics_url, sizeof c->analytics_url, "http://127.0.0.1:%u", nexus_service_peer_port(service, 3));
    nexus_status st = nexus_service_audit(service) ? open_metrics(c) : NEXUS_EIO;
    if (st == NEXUS_OK)
        st = copilot_chat_routes(c);
    if (st != NEXUS_OK) {
        free(c);
        return st;
    }
    *out = c;
    return NEXUS_OK;
}

static void unmount(void *mounted)
{
    free(mounted);
}

static const nexus_setting settings[] = {
    {"copilot_analytics_url", NEXUS_SETTING_URL, NULL, 0, 0, "http,https",
     "Where the copilot asks; unset: the analytics server on this machine."},
};

const nexus_service_module copilot_module = {.size = sizeof copilot_module,
                                             .name = "copilot",
                                             .text = "Answers questions about the business from the analytics.",
                                             .port_offset = 5,
                                             .bus = NEXUS_SERVICE_BUS_NONE,
                                             .settings = settings,
                                             .setting_count = sizeof settings / sizeof settings[0],
                                             .mount = mount,
                                             .unmount = unmount};
