/* JSON Schemas of the library's own event types, as data. What is not named is allowed: fields may be added. */
#include "bus/event.h"

#define HEAD "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"type\":\"object\","
#define TEXT "{\"type\":\"string\",\"minLength\":1}"
#define COUNT "{\"type\":\"integer\",\"minimum\":0}"
#define CURRENCY "{\"type\":\"string\",\"pattern\":\"^[A-Z]{3}$\"}"
#define USER HEAD "\"required\":[\"user_id\"],\"properties\":{\"user_id\":" TEXT ",\"email\":{\"type\":\"string\"}}}"
#define ORDER(required, more)                                                                                          \
    HEAD "\"required\":[\"order_id\"" required "],\"properties\":{\"order_id\":" TEXT ",\"user_id\":" TEXT             \
         ",\"amount\":" COUNT ",\"currency\":" CURRENCY more "}}"

/* A record of an audit trail, as nexus/audit.h writes it. */
#define AUDIT                                                                                                          \
    HEAD "\"required\":[\"seq\",\"prev\",\"at\",\"action\",\"outcome\"],\"properties\":{\"seq\":" COUNT ",\"prev\":" TEXT  \
         ",\"at\":" TEXT ",\"action\":" TEXT ",\"outcome\":{\"enum\":[\"done\",\"denied\",\"failed\"]},\"actor\":" TEXT    \
         ",\"object\":" TEXT ",\"ip\":" TEXT ",\"request_id\":" TEXT ",\"tenant\":" TEXT ",\"detail\":" TEXT "}}"

static const struct { /* sorted by type */
    const char *type, *schema;
} schemas[] = {
    {"audit.access", AUDIT},
    {"audit.apikey", AUDIT},
    {"audit.auth", AUDIT},
    {"audit.client", AUDIT},
    {"audit.gateway", AUDIT},
    {"audit.key", AUDIT},
    {"audit.order", AUDIT},
    {"audit.role", AUDIT},
    {"audit.secrets", AUDIT},
    {"audit.token", AUDIT},
    {"audit.user", AUDIT},
    {"notification.sent",
     HEAD "\"properties\":{\"notification_id\":" TEXT ",\"channel\":" TEXT ",\"to\":" TEXT ",\"order_id\":" TEXT "}}"},
    {"order.cancelled", ORDER(",\"reason\"", ",\"reason\":" TEXT)},
    {"order.confirmed", ORDER("", "")},
    {"order.created", ORDER(",\"amount\",\"currency\"", ",\"items\":{\"type\":\"array\",\"minItems\":1}")},
    {"payment.processed", ORDER(",\"status\"", ",\"status\":{\"enum\":[\"captured\",\"declined\",\"timed_out\"]}")},
    {"system.alert", HEAD "\"required\":[\"message\"],\"properties\":{\"message\":" TEXT
                          ",\"severity\":{\"enum\":[\"info\",\"warning\",\"critical\"]}}}"},
    {"system.backup_completed",
     HEAD "\"properties\":{\"path\":" TEXT ",\"bytes\":" COUNT ",\"duration_ms\":" COUNT "}}"},
    {"system.health_check",
     HEAD "\"required\":[\"service\",\"status\"],\"properties\":{\"service\":" TEXT ",\"status\":" TEXT "}}"},
    {"user.login", USER},
    {"user.logout", USER},
    {"user.password_reset", USER},
    {"user.registered", USER},
};

const char *nexus_event_schema(const char *type)
{
    for (size_t i = 0; i < sizeof schemas / sizeof schemas[0]; i++)
        if (type && strcmp(schemas[i].type, type) == 0)
            return schemas[i].schema;
    return NULL;
}

const char *nexus__event_own_type(size_t i)
{
    return i < sizeof schemas / sizeof schemas[0] ? schemas[i].type : NULL;
}
