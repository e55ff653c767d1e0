#include "main.h"
#include "gateway/gateway.h"

int main(int argc, char **argv)
{
    static const nexus_service_module *const modules[] = {&gateway_module};
    return server_main(argc, argv, "nexus-gateway", modules, 1);
}
