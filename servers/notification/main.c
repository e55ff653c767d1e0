#include "main.h"
#include "notification/notification.h"

int main(int argc, char **argv)
{
    static const nexus_service_module *const modules[] = {&notification_module};
    return server_main(argc, argv, "nexus-notification", modules, 1);
}
