/* How the routes about people are written down. */
#ifndef SERVERS_BACKEND_SHAPES_H
#define SERVERS_BACKEND_SHAPES_H

#define EMAIL "\"email\":{\"type\":\"string\",\"minLength\":3,\"maxLength\":254}"
#define PASSWORD_AS(name) "\"" name "\":{\"type\":\"string\",\"minLength\":8,\"description\":\"At most 1024 bytes.\"}"
#define PASSWORD PASSWORD_AS("password")
#define NAME "\"name\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":200}"
#define CODE "\"code\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":64}"
#define TOKEN(name) "\"" name "\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":256}"
#define OBJECT(required, properties)                                                                                   \
    "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[" required "],\"properties\":{" properties "}}"
#define USER_FIELDS "\"id\":{\"type\":\"string\"},\"email\":{\"type\":\"string\"},\"name\":{\"type\":\"string\"}"

#define REPLIES(name, code, text, schema)                                                                              \
    static const nexus_reply_doc name[] = {{code, text, schema}, {422, "A value is not allowed.", NULL}}

#define ACCOUNT_HANDLER(name)                                                                                          \
    static void name##_handler(nexus_request *request, void *user_data)                                                \
    {                                                                                                                  \
        with_body(request, user_data, do_##name);                                                                      \
    }
/* On the loop, which only hands over. */
#define HASHING_HANDLER(name)                                                                                          \
    static void name##_handler(nexus_request *request, void *user_data)                                                \
    {                                                                                                                  \
        with_hashing(request, user_data, do_##name);                                                                   \
    }

#define POST_ROW(path_, handler_, id_, summary_, tag_, roles_, schema_, replies_, flags_)                              \
    {                                                                                                                  \
        .method = "POST", .path = path_, .handler = handler_##_handler, .operation_id = id_, .summary = summary_,      \
        .tag = tag_, .roles = roles_, .body_schema = schema_, .body_max = 16384, .replies = replies_,                  \
        .reply_count = 2, .flags = flags_                                                                              \
    }
#define PUBLIC_POST(path_, handler_, id_, summary_, schema_, replies_)                                                 \
    POST_ROW(path_, handler_, id_, summary_, "auth", "public", schema_, replies_, 0)
#define HASHING_POST(path_, handler_, id_, summary_, schema_, replies_)                                                \
    POST_ROW(path_, handler_, id_, summary_, "auth", "public", schema_, replies_, NEXUS_ROUTE_ON_LOOP)

#endif
