/* A gateway inside a program: a route with a token check and a limit, answered by a C function of this process.
 *     ./gateway 8080 &
 *     curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8080/hello        # the token that it prints */
#include <nexus/nexus.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const char routes[] =
    "{\"version\": 1, \"upstreams\": {\"here\": {\"targets\": [\"function:hello\"]}},"
    " \"routes\": [{\"id\": \"hello\", \"prefix\": \"/hello\", \"upstream\": \"here\", \"auth\": \"jwt\","
    "  \"limits\": [{\"name\": \"burst\", \"rate\": 10, \"period_s\": 60, \"burst\": 3, \"key\": [\"principal\"]}]}]}";

static void hello(nexus_request *request, void *user_data)
{
    char text[200];
    nexus_gateway_seen seen = NEXUS_GATEWAY_SEEN_INIT;
    (void)user_data;
    nexus_gateway_seen_get(request, &seen);
    int n = snprintf(text, sizeof text, "hello, %.*s\n", (int)seen.user.n, seen.user.p);
    nexus_request_reply(request, 200, "text/plain", (nexus_slice){text, (size_t)n});
}

/* Checks what it signs itself; a real one has "jwks_url" of the issuer. Prints a token to try it with. */
static nexus_status open_verifier(nexus_verifier **out, nexus_key *key)
{
    char *jwk, *token, set[1024], claims[200];
    size_t n;
    long now = (long)time(NULL);
    nexus_verifier_opts opts = NEXUS_VERIFIER_OPTS_INIT;
    opts.issuer = "https://id.example";
    nexus_status status = nexus_verifier_open(out, &opts);
    if (!status)
        status = nexus_key_print_jwk(key, false, &jwk, &n);
    if (status)
        return status;
    int length = snprintf(set, sizeof set, "{\"keys\":[%s]}", jwk);
    nexus_free(jwk);
    if ((status = nexus_verifier_use(*out, set, (size_t)length)))
        return status;
    length = snprintf(
        claims, sizeof claims,
        "{\"iss\":\"https://id.example\",\"aud\":\"nexus\",\"sub\":\"ada\",\"jti\":\"1\",\"iat\":%ld,\"exp\":%ld}", now,
        now + 600);
    if ((status = nexus_jwt_sign(&token, &n, key, NULL, claims, (size_t)length)))
        return status;
    printf("%s\n", token);
    nexus_free(token);
    return NEXUS_OK;
}

int main(int argc, char **argv)
{
    nexus_runtime *runtime = NULL;
    nexus_server *server = NULL;
    nexus_gateway *gateway = NULL;
    nexus_verifier *verifier = NULL;
    nexus_key *key = NULL;
    nexus_gateway_opts opts = NEXUS_GATEWAY_OPTS_INIT;
    uint16_t port = 0;
    int failed = nexus_key_generate(&key, "ES256", NULL) || open_verifier(&verifier, key);
    opts.verifier = verifier;
    failed = failed || nexus_runtime_open(&runtime, NULL) || nexus_server_open(&server, runtime, NULL) ||
             nexus_gateway_open(&gateway, runtime, &opts) ||
             nexus_gateway_function(gateway, "hello", NEXUS_ROUTE_ON_LOOP, hello, NULL) ||
             nexus_gateway_load(gateway, "routes", (nexus_slice){routes, sizeof routes - 1}) ||
             nexus_gateway_mount(gateway, server) ||
             nexus_server_listen(server, "127.0.0.1", (uint16_t)(argc > 1 ? atoi(argv[1]) : 0), &port);
    if (!failed) {
        printf("listening on http://127.0.0.1:%u\n", port);
        fflush(stdout);
        failed = nexus_runtime_run(runtime) != NEXUS_OK;
    }
    if (failed)
        fprintf(stderr, "%s\n", nexus_error_message());
    nexus_server_close(server);
    nexus_gateway_close(gateway);
    nexus_runtime_close(runtime);
    nexus_verifier_close(verifier);
    nexus_key_free(key);
    return failed ? 1 : 0;
}
