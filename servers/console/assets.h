/* The embedded assets; console_assets.c is made by embed.py at build time. */
#ifndef SERVERS_CONSOLE_ASSETS_H
#define SERVERS_CONSOLE_ASSETS_H

#include <stddef.h>

typedef struct console_asset {
    const char *path; /* "/" or "/assets/app.1a2b3c4d.js": the hash of its content is in the name */
    const char *type;
    const char *etag;
    const unsigned char *plain, *gzip;
    size_t plain_n, gzip_n;
} console_asset;

extern const console_asset console_assets[];
extern const size_t console_asset_count;

#endif
