#include "busd/busd.h"
#include "main.h"

int main(int argc, char **argv)
{
    static const nexus_service_module *const modules[] = {&busd_module};
    return server_main(argc, argv, "nexus-busd", modules, 1);
}
