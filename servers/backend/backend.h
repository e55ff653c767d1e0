/* The backend: users and their tokens, orders, the payment sandbox. Port 3001. */
#ifndef SERVERS_BACKEND_H
#define SERVERS_BACKEND_H

#include <nexus/nexus.h>

extern const nexus_service_module backend_module;

#endif
