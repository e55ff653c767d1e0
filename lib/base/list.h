/* Intrusive doubly linked ring; the head is a node of its own. */
#ifndef NEXUS_BASE_LIST_H
#define NEXUS_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct nexus__list {
    struct nexus__list *prev, *next;
} nexus__list;

#define NEXUS__CONTAINER(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

static inline void nexus__list_init(nexus__list *head)
{
    head->prev = head->next = head;
}

static inline bool nexus__list_empty(const nexus__list *head)
{
    return head->next == head;
}

static inline void nexus__list_insert(nexus__list *before, nexus__list *node)
{
    node->prev = before->prev;
    node->next = before;
    before->prev->next = node;
    before->prev = node;
}

static inline void nexus__list_push(nexus__list *head, nexus__list *node) /* at the end */
{
    nexus__list_insert(head, node);
}

static inline void nexus__list_remove(nexus__list *node) /* harmless on a node that is in no list but initialised */
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->prev = node->next = node;
}

#endif
