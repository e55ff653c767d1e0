#include "main.h"
#include "analytics.h"

int main(int argc, char **argv)
{
    static const nexus_service_module *const modules[] = {&analytics_module};
    return server_main(argc, argv, "nexus-analytics", modules, 1);
}
