#include "main.h"
#include "backend/backend.h"

int main(int argc, char **argv)
{
    static const nexus_service_module *const modules[] = {&backend_module};
    return server_main(argc, argv, "nexus-backend", modules, 1);
}
