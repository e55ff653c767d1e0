#include "main.h"
#include "copilot.h"

int main(int argc, char **argv)
{
    static const nexus_service_module *const modules[] = {&copilot_module};
    return server_main(argc, argv, "nexus-copilot", modules, 1);
}
