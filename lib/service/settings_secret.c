/* Settings that are secrets: what is none, lending them, and reading them again when their files change. */
#include "service/settings.h"

#include "base/status.h"
#include "crypto/wipe.h"

enum { SECRET_MIN = 16 };

static bool is_sample(nexus_slice text)
{
    static const char *const samples[] = {"changeme", "change-me", "secret", "password", "nexus",
                                          "example",  "sample",    "test",   "default"};
    for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++) {
        nexus_slice word = nexus__slice_c(samples[i]);
        if (text.n >= word.n && nexus__slice_ieq(nexus__slice(text.p, word.n), word))
            return true;
    }
    return text.n < SECRET_MIN;
}

static bool is_production(const nexus_settings *s)
{
    return strcmp(nexus_settings_text(s, "env"), "production") == 0;
}

static nexus_status refuse_sample(nexus_slice plain, void *user_data)
{
    const nexus__setting_value *v = user_data;
    return !is_sample(plain) ? NEXUS_OK
                             : nexus__fail(NEXUS_EINVAL,
                                           "%s: a sample or shorter than %d bytes, which production refuses; make one with "
                                           "\"openssl rand -base64 32\", or use --dev on your own machine",
                                           v->row->name, SECRET_MIN);
}

nexus_status nexus__secrets_check(const nexus_settings *s)
{
    nexus_status status = NEXUS_OK;
    for (size_t i = 0; i < s->count && status == NEXUS_OK && is_production(s); i++)
        if (s->values[i].secret)
            status = nexus_secret_use(s->values[i].secret, refuse_sample, &s->values[i]);
    return status;
}

const nexus_secret *nexus_settings_secret(const nexus_settings *s, const char *name)
{
    const nexus__setting_value *v = nexus__settings_find(s, nexus__slice_c(name));
    return v ? v->secret : NULL;
}

/* --- again ----------------------------------------------------------------------------------------------------------- */

bool nexus__settings_follow(const nexus_settings *s)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->values[i].source)
            return true;
    return false;
}

static nexus_status take(const nexus_settings *s, nexus__setting_value *v, nexus_slice text, uint32_t *changed)
{
    if (text.n == 0 || memchr(text.p, 0, text.n))
        return nexus__fail(NEXUS_EINVAL, "%s: its file is empty or holds a NUL byte", v->row->name);
    nexus_status status = is_production(s) ? refuse_sample(text, v) : NEXUS_OK;
    if (status != NEXUS_OK || nexus_secret_equal(v->secret, text))
        return status;
    ++*changed;
    return nexus_secret_set(v->secret, text);
}

static nexus_status reread(const nexus_settings *s, nexus__setting_value *v, uint32_t *changed)
{
    nexus__buf whole;
    nexus__buf_init(&whole, s->alloc, 0);
    nexus_status status = nexus__source_read(v->source, &whole);
    if (status == NEXUS_OK)
        status = take(s, v, nexus__buf_slice(&whole), changed);
    else
        status = nexus__fail(status, "%s: its file cannot be read", v->row->name);
    if (whole.p)
        nexus__wipe(whole.p, whole.cap);
    nexus__buf_free(&whole);
    return status;
}

nexus_status nexus_settings_reread(const nexus_settings *settings, uint32_t *changed)
{
    pthread_mutex_t *lock = &settings->self->rereading;
    nexus_status status = NEXUS_OK;
    uint32_t count = 0;
    pthread_mutex_lock(lock);
    for (size_t i = 0; i < settings->count; i++) {
        nexus__setting_value *v = &settings->values[i];
        nexus_status one = v->source && nexus__source_changed(v->source) ? reread(settings, v, &count) : NEXUS_OK;
        status = status == NEXUS_OK ? one : status;
    }
    pthread_mutex_unlock(lock);
    *changed = count;
    return status;
}
