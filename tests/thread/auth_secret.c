/* A secret that is lent and compared by three threads while one replaces it, and a ring that two seal with while one rotates
 * it: nobody sees half of a secret, nothing that was sealed is lost. ThreadSanitizer clean. */
#include <nexus/alloc.h>
#include <nexus/secret.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROUNDS = 2000, SEALS = 200, ROTATIONS = 10 };

static nexus_secret *secret;
static nexus_secrets *ring;
static char *sealed[2][SEALS];
static atomic_bool over;

static void require(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "%s: %s\n", what, nexus_error_message());
        exit(1);
    }
}

static nexus_status look(nexus_slice plain, void *user_data)
{
    (void)user_data;
    for (size_t i = 1; i < plain.n; i++)
        require(plain.p[i] == plain.p[0], "one secret, whole");
    return plain.n == 32 || plain.n == 48 ? NEXUS_OK : NEXUS_EIO;
}

static void *lend(void *arg)
{
    (void)arg;
    while (!atomic_load(&over)) {
        require(nexus_secret_use(secret, look, NULL) == NEXUS_OK, "use");
        (void)nexus_secret_equal(secret, NEXUS_S("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
    }
    return NULL;
}

static void *replace(void *arg)
{
    char bytes[48];
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        memset(bytes, 'a' + i % 2, sizeof bytes);
        require(nexus_secret_set(secret, (nexus_slice){bytes, i % 2 ? 48 : 32}) == NEXUS_OK, "set");
    }
    atomic_store(&over, true);
    return NULL;
}

static void *seal(void *arg)
{
    char **out = arg;
    size_t n;
    for (int i = 0; i < SEALS; i++)
        require(nexus_secrets_seal_for(ring, i % 2 ? NEXUS_S("acme") : NEXUS_S(""), NEXUS_S("c"), NEXUS_S("value"), &out[i],
                                       &n) == NEXUS_OK, "seal");
    return NULL;
}

static void *rotate(void *arg)
{
    (void)arg;
    for (int i = 0; i < ROTATIONS; i++)
        require(nexus_secrets_rotate(ring) == NEXUS_OK, "rotate");
    return NULL;
}

static void run(void *(*const fns[])(void *), void *const args[], size_t n)
{
    pthread_t threads[4];
    for (size_t i = 0; i < n; i++)
        require(pthread_create(&threads[i], NULL, fns[i], args[i]) == 0, "thread");
    for (size_t i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
}

static void open_all(char *const texts[SEALS])
{
    for (int i = 0; i < SEALS; i++) {
        char *plain;
        size_t n;
        require(nexus_secrets_unseal(ring, NEXUS_S("c"), (nexus_slice){texts[i], strlen(texts[i])}, &plain, &n) == NEXUS_OK,
                "unseal");
        nexus_free_wiped(plain, n);
        nexus_free(texts[i]);
    }
}

int main(void)
{
    char dir[] = "/tmp/nexus-secret-XXXXXX", path[64];
    require(nexus_secret_new(&secret, NEXUS_S("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")) == NEXUS_OK, "new");
    run((void *(*const[])(void *)){lend, lend, lend, replace}, (void *const[]){NULL, NULL, NULL, NULL}, 4);
    nexus_secret_free(secret);
    require(mkdtemp(dir) != NULL, "mkdtemp");
    snprintf(path, sizeof path, "%s/ring", dir);
    require(nexus_secrets_open(&ring, path, NULL) == NEXUS_OK, "open");
    run((void *(*const[])(void *)){seal, seal, rotate}, (void *const[]){sealed[0], sealed[1], NULL}, 3);
    open_all(sealed[0]);
    open_all(sealed[1]);
    nexus_secrets_close(ring);
    unlink(path);
    rmdir(dir);
    return 0;
}
