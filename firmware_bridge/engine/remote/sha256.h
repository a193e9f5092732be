/* SHA-256, FIPS 180-4. */
#ifndef EDGESNN_SHA256_H
#define EDGESNN_SHA256_H

#include <stddef.h>
#include <stdint.h>

typedef struct remote_sha {
    uint32_t state[8];
    uint64_t bytes;
    uint8_t block[64];
} remote_sha;

void remote_sha_start(remote_sha *sha);
void remote_sha_add(remote_sha *sha, const void *data, size_t size);
/* The digest so far; the sum can go on. */
void remote_sha_digest(const remote_sha *sha, uint8_t digest[32]);

#endif
