/* The engine needs four functions of a C library. As builtins their small constant copies become single
 * instructions; as calls a token would take two and a half times as long. */
#ifndef EDGESNN_WEB_STRING_H
#define EDGESNN_WEB_STRING_H

#include <stddef.h>

void *memcpy(void *to, const void *from, size_t bytes);
void *memset(void *to, int value, size_t bytes);
int memcmp(const void *one, const void *other, size_t bytes);

#define memcpy __builtin_memcpy
#define memset __builtin_memset
#define memcmp __builtin_memcmp

#endif
