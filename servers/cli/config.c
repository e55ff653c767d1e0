/* config: the settings in force, as nexusd, which knows those of every service, would take them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

static const char usage[] = "config print [--config FILE] [--SETTING=VALUE …]";

/* The program `name` beside this one. */
static bool beside(const char *name, char out[static CLI_PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", out, CLI_PATH_MAX - 64);
    char *slash = n > 0 ? memrchr(out, '/', (size_t)n) : NULL;
    if (!slash)
        return false;
    snprintf(slash + 1, 64, "%s", name);
    return access(out, X_OK) == 0;
}

/* Becomes nexusd: the words go on as they are, so that what is shown is what those words would start. */
int cli_config(cli *c)
{
    char path[CLI_PATH_MAX];
    if (c->argc < 1 || strcmp(c->argv[0], "print") != 0) {
        fprintf(stderr, "usage: nexus %s\n", usage);
        return CLI_USAGE;
    }
    const char **words = beside("nexusd", path) ? calloc((size_t)c->argc + 2, sizeof *words) : NULL;
    if (!words) {
        cli_fail("nexusd is not beside this program; a server's own --print-config shows its settings");
        return CLI_REFUSED;
    }
    words[0] = "nexusd";
    words[1] = "--print-config";
    for (int i = 1; i < c->argc; i++)
        words[i + 1] = c->argv[i];
    execv(path, (char *const *)(uintptr_t)words);
    cli_fail("%s: %s", path, strerror(errno));
    free(words);
    return CLI_REFUSED;
}
