#include "main.h"
#include "console.h"

int main(int argc, char **argv)
{
    static const nexus_service_module *const modules[] = {&console_module};
    return server_main(argc, argv, "nexus-console", modules, 1);
}
