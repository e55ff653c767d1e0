/* Templates: the built-in ones, and those of the table, which stand before them. */
#include <nexus/template.h>

#include "base/status.h"
#include "base/time.h"
#include "notify/notify.h"
#include "json/read.h"
#include "json/write.h"

#define HTML(body)                                                                                                     \
    "<!doctype html><html lang=\"en\"><body style=\"font-family:sans-serif;max-width:36em\">" body "</body></html>\n"
#define GREETING "Hello{{#name}} {{name}}{{/name}},"

static const struct {
    const char *id, *subject, *text, *html;
} built_in[] = {
    {"order-confirmed", "Your order {{order_id}} is confirmed",
     GREETING "\n\nthank you: your order {{order_id}} is confirmed{{#total_text}}, {{total_text}} were paid"
              "{{/total_text}}.\n{{#items}}\n  {{quantity}} x {{sku}}{{/items}}\n",
     HTML("<p>" GREETING "</p><p>thank you: your order <b>{{order_id}}</b> is confirmed{{#total_text}}, {{total_text}} "
          "were paid{{/total_text}}.</p><ul>{{#items}}<li>{{quantity}} &times; {{sku}}</li>{{/items}}</ul>")},
    {"order-cancelled", "Your order {{order_id}} was cancelled",
     GREETING "\n\nyour order {{order_id}} was cancelled{{#reason}}: {{reason}}{{/reason}}. What was never paid is not "
              "charged.\n",
     HTML("<p>" GREETING "</p><p>your order <b>{{order_id}}</b> was cancelled{{#reason}}: {{reason}}{{/reason}}. What "
          "was never paid is not charged.</p>")},
    {"user-registered", "Welcome{{#name}}, {{name}}{{/name}}",
     GREETING "\n\nyour account for {{email}} is ready.\n{{#verify_url}}\nConfirm the address: {{verify_url}}\n"
              "{{/verify_url}}",
     HTML("<p>" GREETING "</p><p>your account for {{email}} is ready.</p>{{#verify_url}}<p><a href=\"{{verify_url}}\">"
          "Confirm the address</a></p>{{/verify_url}}")},
    {"verify-address", "Confirm your address",
     GREETING "\n\nsomebody, we hope you, made an account for {{email}}. This code confirms the address; it is good for 15 "
              "minutes and once:\n\n  {{token}}\n\nIf it was not you, do nothing.\n",
     HTML("<p>" GREETING "</p><p>somebody, we hope you, made an account for {{email}}. This code confirms the address; it "
          "is good for 15 minutes and once:</p><p><code>{{token}}</code></p><p>If it was not you, do nothing.</p>")},
    {"account-exists", "You have an account already",
     GREETING "\n\nsomebody, perhaps you, wanted to make an account for {{email}}. There is one: log in, or reset the "
              "password if you do not know it any more.\n",
     HTML("<p>" GREETING "</p><p>somebody, perhaps you, wanted to make an account for {{email}}. There is one: log in, or "
          "reset the password if you do not know it any more.</p>")},
    {"password-reset", "Reset your password",
     GREETING "\n\nsomebody, we hope you, asked to reset the password of {{email}}. This code is good for 15 minutes "
              "and once:\n\n  {{token}}\n\nIf it was not you, do nothing.\n",
     HTML("<p>" GREETING
          "</p><p>somebody, we hope you, asked to reset the password of {{email}}. This code is good for "
          "15 minutes and once:</p><p><code>{{token}}</code></p><p>If it was not you, do nothing.</p>")},
    {"password-changed", "Your password was changed",
     GREETING "\n\nthe password of {{email}} was changed. If it was not you, reset it at once.\n",
     HTML("<p>" GREETING "</p><p>the password of {{email}} was changed. If it was not you, reset it at once.</p>")},
};

/* The three texts of a template; borrowed from the rows or from the table above. */
typedef struct source {
    nexus_slice subject, text, html;
    nexus_rows *rows;
} source;

static nexus_status find_source(source *out, nexus_db *db, nexus_slice id)
{
    nexus_status status =
        nexus_db_query_one(&out->rows, db, "SELECT subject, text_body, html_body FROM notify_templates WHERE id = $1",
                           (nexus_value[]){NEXUS_TEXT(id)}, 1);
    if (status == NEXUS_OK) {
        out->subject = nexus__cell(out->rows, 0);
        out->text = nexus__cell(out->rows, 1);
        out->html = nexus__cell(out->rows, 2);
        return NEXUS_OK;
    }
    if (status != NEXUS_ENOTFOUND)
        return status;
    for (size_t i = 0; i < sizeof built_in / sizeof built_in[0]; i++) {
        if (nexus__slice_eq_c(id, built_in[i].id)) {
            out->subject = nexus__slice_c(built_in[i].subject);
            out->text = nexus__slice_c(built_in[i].text);
            out->html = nexus__slice_c(built_in[i].html);
            return NEXUS_OK;
        }
    }
    return nexus__fail(NEXUS_ENOTFOUND, "there is no template \"%.*s\"", (int)(id.n > 100 ? 100 : id.n), id.p);
}

static nexus_status compile(nexus_template **out, const nexus_notify *notify, nexus_slice text, bool html)
{
    nexus_template_opts opts;
    nexus_template_opts_init(&opts);
    opts.alloc = notify->alloc;
    opts.refuse_raw = html;
    return nexus_template_compile(out, text.p, text.n, &opts);
}

static nexus_status render_one(char **out, const nexus_notify *notify, nexus_slice text, nexus_slice data,
                               int32_t escape)
{
    nexus_template *tpl = NULL;
    nexus_render_opts opts;
    nexus_render_opts_init(&opts);
    opts.escape = escape;
    nexus_status status = compile(&tpl, notify, text, escape == NEXUS_ESCAPE_HTML);
    if (status == NEXUS_OK)
        status = nexus_template_render(out, NULL, tpl, data.p, data.n, &opts);
    nexus_template_free(tpl);
    return status;
}

void nexus__rendered_free(nexus__rendered *r)
{
    nexus_free(r->subject);
    nexus_free(r->text);
    nexus_free(r->html);
    *r = (nexus__rendered){NULL, NULL, NULL};
}

nexus_status nexus__template_render(nexus__rendered *out, nexus_notify *notify, nexus_db *db, nexus_slice id,
                                    nexus_slice data)
{
    source s = {.rows = NULL};
    nexus__rendered r = {NULL, NULL, NULL};
    nexus_status status = find_source(&s, db, id);
    if (status == NEXUS_OK)
        status = render_one(&r.subject, notify, s.subject, data, NEXUS_ESCAPE_LINE);
    if (status == NEXUS_OK)
        status = render_one(&r.text, notify, s.text, data, NEXUS_ESCAPE_NONE);
    if (status == NEXUS_OK)
        status = render_one(&r.html, notify, s.html, data, NEXUS_ESCAPE_HTML);
    nexus_rows_free(s.rows);
    if (status == NEXUS_OK)
        *out = r;
    else
        nexus__rendered_free(&r);
    return status;
}

/* --- preview ------------------------------------------------------------------------------------ */

/* The missing names of all three parts, each once. */
static nexus_status put_missing(nexus__json_writer *w, const nexus_notify *notify, const source *s, nexus_slice data)
{
    nexus__buf all;
    nexus__buf_init(&all, notify->alloc, 0);
    nexus__buf_slice_append(&all, s->subject);
    nexus__buf_char(&all, '\n');
    nexus__buf_slice_append(&all, s->text);
    nexus__buf_char(&all, '\n');
    nexus__buf_slice_append(&all, s->html);
    nexus_template *tpl = NULL;
    char *missing = NULL;
    size_t n = 0;
    nexus_status status = all.status;
    if (status == NEXUS_OK)
        status = compile(&tpl, notify, nexus__buf_slice(&all), false);
    if (status == NEXUS_OK)
        status = nexus_template_missing(&missing, &n, tpl, data.p, data.n);
    if (status == NEXUS_OK)
        nexus__json_put_raw(w, "missing", nexus__slice(missing, n));
    nexus_free(missing);
    nexus_template_free(tpl);
    nexus__buf_free(&all);
    return status;
}

nexus_status nexus_notify_preview(char **out, size_t *n, nexus_notify *notify, nexus_slice template_id, nexus_slice data)
{
    source s = {.rows = NULL};
    nexus__rendered r = {NULL, NULL, NULL};
    nexus__buf text;
    nexus__buf_init(&text, NULL, 0);
    nexus__json_writer w = nexus__json_writer_on(&text);
    data = data.n ? data : NEXUS_S("{}");
    nexus_status status = find_source(&s, notify->db, template_id);
    if (status == NEXUS_OK)
        status = nexus__template_render(&r, notify, notify->db, template_id, data);
    if (status == NEXUS_OK) {
        nexus__json_open(&w, '{');
        nexus__json_put_text_c(&w, "subject", r.subject);
        nexus__json_put_text_c(&w, "text", r.text);
        nexus__json_put_text_c(&w, "html", r.html);
        status = put_missing(&w, notify, &s, data);
        nexus__json_close(&w, '}');
    }
    if (status == NEXUS_OK)
        status = nexus__notify_hand_over(&text, out, n);
    nexus__buf_free(&text);
    nexus__rendered_free(&r);
    nexus_rows_free(s.rows);
    return status;
}

static nexus_status check_compiles(const nexus_notify *notify, nexus_slice text, bool html, const char *part)
{
    nexus_template *tpl = NULL;
    nexus_status status = compile(&tpl, notify, text, html);
    nexus_template_free(tpl);
    return status == NEXUS_OK ? status : nexus__fail(NEXUS_EINVAL, "%s: %s", part, nexus_error_message());
}

nexus_status nexus_notify_put_template(nexus_notify *notify, nexus_slice template_id, nexus_slice json)
{
    nexus__json doc;
    nexus_slice subject = NEXUS_S(""), text = NEXUS_S(""), html = NEXUS_S("");
    nexus__json_init(&doc, notify->alloc);
    nexus_status status = nexus__json_scan(&doc, json, NULL);
    if (status == NEXUS_OK && (template_id.n == 0 || template_id.n > 100))
        status = nexus__fail(NEXUS_EINVAL, "a template id has 1 to 100 bytes");
    if (status == NEXUS_OK &&
        (!nexus__json_get_text(&doc, 0, "subject", &subject) || !nexus__json_get_text(&doc, 0, "text", &text)))
        status = nexus__fail(NEXUS_EINVAL, "a template has a subject and a text");
    nexus__json_get_text(&doc, 0, "html", &html);
    if (status == NEXUS_OK)
        status = check_compiles(notify, subject, false, "subject");
    if (status == NEXUS_OK)
        status = check_compiles(notify, text, false, "text");
    if (status == NEXUS_OK)
        status = check_compiles(notify, html, true, "html");
    if (status == NEXUS_OK)
        status = nexus_db_exec(notify->db,
                               "INSERT INTO notify_templates (id, subject, text_body, html_body, updated_at)"
                               " VALUES ($1,$2,$3,$4,$5) ON CONFLICT (id) DO UPDATE SET subject = excluded.subject,"
                               " text_body = excluded.text_body, html_body = excluded.html_body,"
                               " updated_at = excluded.updated_at",
                               (nexus_value[]){NEXUS_TEXT(template_id), NEXUS_TEXT(subject), NEXUS_TEXT(text),
                                               NEXUS_TEXT(html), NEXUS_INT(nexus__real_ns())},
                               5, NULL);
    nexus__json_free(&doc);
    return status;
}
