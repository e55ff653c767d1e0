/*
 * What every server process needs and a library must not do: signals, umask, core dumps, descriptor limit, printing
 * and exit codes. A server's main.c is
 *
 *     int main(int argc, char **argv)
 *     {
 *         static const nexus_service_module *const modules[] = {&backend_module};
 *         return server_main(argc, argv, "nexus-backend", modules, 1);
 *     }
 *
 * TERM and INT drain, a second one ends at once; HUP reloads, USR1 steps the log level.
 */
#ifndef SERVERS_MAIN_H
#define SERVERS_MAIN_H

#include <nexus/nexus.h>

/* Exit code: 0 ran and drained, 1 could not start, 2 wrong flags or settings. With more than one module the flag
 * --services=a,b chooses among them, and the state directory is held alone. */
int server_main(int argc, char **argv, const char *program, const nexus_service_module *const *modules, size_t count);

#endif
