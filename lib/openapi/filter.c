/* Between the server and the checks. */
#include "base/status.h"
#include "openapi/api.h"

nexus_status nexus_openapi_of_server(nexus_openapi **out, const nexus_server *server, const nexus_openapi_opts *opts)
{
    size_t n = nexus_server_route_count(server);
    nexus_route *rows = nexus__calloc(opts ? opts->alloc : NULL, n ? n : 1, sizeof *rows);
    if (!rows)
        return nexus__nomem();
    for (size_t i = 0; i < n; i++) {
        rows[i] = *nexus_server_route_at(server, i);
        rows[i].size = sizeof *rows;
    }
    nexus_status status = nexus_openapi_open(out, rows, n, opts);
    nexus__free(opts ? opts->alloc : NULL, rows);
    return status;
}

enum { CAPTURES_MAX = 16 };

/* The row's path parameters, as the request has them. */
static size_t read_captures(const nexus_request *request, const char *path, nexus_pair *out, char (*names)[64])
{
    size_t count = 0;
    for (const char *at = strchr(path, '{'); at && count < CAPTURES_MAX; at = strchr(at, '{')) {
        at++;
        size_t n = strcspn(at, ":.}");
        if (n >= sizeof *names)
            continue;
        memcpy(names[count], at, n);
        names[count][n] = '\0';
        out[count].name = nexus__slice(names[count], n);
        count += nexus_request_param(request, names[count], &out[count].value);
    }
    return count;
}

int32_t nexus_openapi_filter(nexus_request *request, void *user_data)
{
    const nexus_openapi *api = user_data;
    const nexus_route *row = nexus_request_route(request);
    if (!row || !row->operation_id || !row->method)
        return NEXUS_FILTER_NEXT;
    nexus_pair captures[CAPTURES_MAX], *headers;
    char names[CAPTURES_MAX][64];
    nexus_openapi_input in = NEXUS_OPENAPI_INPUT_INIT;
    in.method = row->method;
    in.path = row->path;
    in.path_params = captures;
    in.path_param_count = read_captures(request, row->path, captures, names);
    nexus_request_query(request, &in.query);
    nexus_request_body(request, &in.body);
    in.header_count = nexus_request_header_count(request);
    headers = nexus_request_alloc(request, (in.header_count + 1) * sizeof *headers);
    for (size_t i = 0; headers && i < in.header_count; i++)
        nexus_request_header_at(request, i, &headers[i]);
    in.headers = headers;
    nexus_openapi_report *report = NULL;
    nexus_status status = headers ? nexus_openapi_check(api, &in, &report) : nexus__nomem();
    if (status == NEXUS_OK || status == NEXUS_ENOTFOUND)
        return NEXUS_FILTER_NEXT;
    if (!report) {
        nexus_request_problem_text(request, 503, "out-of-memory", "The request could not be checked; try again.");
        return NEXUS_FILTER_DONE;
    }
    size_t n;
    const nexus_problem_error *errors = nexus_openapi_report_errors(report, &n);
    nexus_request_problem_errors(request, nexus_openapi_report_status(report), nexus_openapi_report_code(report),
                                 nexus_openapi_report_detail(report), errors, n);
    nexus_openapi_report_free(report);
    return NEXUS_FILTER_DONE;
}
