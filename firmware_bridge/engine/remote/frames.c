/* Frames on standard input and output; see remote.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "remote.h"

static remote_sha written;
static int writing;

uint32_t remote_u32(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

void remote_put32(uint8_t *at, uint32_t value) {
    unsigned i;
    for (i = 0; i < 4; i++) at[i] = (uint8_t)(value >> (8 * i));
}

void remote_put64(uint8_t *at, uint64_t value) {
    remote_put32(at, (uint32_t)value);
    remote_put32(at + 4, (uint32_t)(value >> 32));
}

static uint32_t crc32_of(uint32_t crc, const uint8_t *at, size_t count) {
    static uint32_t table[256];
    size_t i;
    if (table[1] == 0) {
        uint32_t n, bit, value;
        for (n = 0; n < 256; n++) {
            for (value = n, bit = 0; bit < 8; bit++) value = value >> 1 ^ (0xEDB88320u & (0u - (value & 1u)));
            table[n] = value;
        }
    }
    for (i = 0; i < count; i++) crc = crc >> 8 ^ table[(crc ^ at[i]) & 255u];
    return crc;
}

/* 1 when all came, 0 at the end of the input, -1 when it ended within. */
static int take(uint8_t *at, size_t count) {
    size_t have = 0;
    while (have < count) {
        ssize_t got = read(STDIN_FILENO, at + have, count - have);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return have == 0 && got == 0 ? 0 : -1;
        have += (size_t)got;
    }
    return 1;
}

static uint8_t waiting[REMOTE_PART]; /* few large writes: every one of adb's waits for an answer */
static size_t waits;

static int put_now(const uint8_t *at, size_t count) {
    while (count > 0) {
        ssize_t done = write(STDOUT_FILENO, at, count);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return 0;
        at += done;
        count -= (size_t)done;
    }
    return 1;
}

static int flush(void) {
    size_t count = waits;
    waits = 0;
    return put_now(waiting, count);
}

static int put(const uint8_t *at, size_t count) {
    if (waits + count > sizeof waiting && !flush()) return 0;
    if (count > sizeof waiting) return put_now(at, count);
    memcpy(waiting + waits, at, count);
    waits += count;
    return 1;
}

int remote_read(uint32_t *sequence, uint8_t **payload, uint32_t *length) {
    static uint8_t *kept;
    static uint32_t room;
    uint8_t header[REMOTE_HEADER];
    uint32_t crc;
    int got = take(header, sizeof header);
    if (got <= 0) return got;
    *length = remote_u32(header + 12);
    if (memcmp(header, "SNRF", 4) != 0 || *length > REMOTE_REQUEST_MAX) return -1;
    if (*length >= room) { /* one byte more than the payload: a text is ended by a zero */
        free(kept);
        room = *length + 4096;
        kept = (uint8_t *)malloc(room);
        if (kept == NULL) return -1;
    }
    if (*length > 0 && take(kept, *length) != 1) return -1;
    kept[*length] = 0;
    crc = crc32_of(crc32_of(0xFFFFFFFFu, header + 4, 12), kept, *length) ^ 0xFFFFFFFFu;
    if (crc != remote_u32(header + 16)) return -1;
    *sequence = remote_u32(header + 8);
    *payload = kept;
    return (int)(remote_u32(header + 4) & 0xFFFFu);
}

int remote_write(uint32_t type, uint32_t sequence, const void *payload, size_t length) {
    uint8_t header[REMOTE_HEADER] = {'S', 'N', 'R', 'F'};
    uint32_t crc;
    if (!writing) {
        remote_sha_start(&written);
        writing = 1;
    }
    remote_put32(header + 4, type);
    remote_put32(header + 8, sequence);
    remote_put32(header + 12, (uint32_t)length);
    crc = crc32_of(crc32_of(0xFFFFFFFFu, header + 4, 12), (const uint8_t *)payload, length);
    remote_put32(header + 16, crc ^ 0xFFFFFFFFu);
    remote_sha_add(&written, header, sizeof header);
    remote_sha_add(&written, payload, length);
    return put(header, sizeof header) && put((const uint8_t *)payload, length);
}

int remote_done(uint32_t sequence, uint64_t start, uint64_t end, const void *more, size_t length) {
    uint8_t payload[48 + sizeof(remote_window)];
    if (!writing) {
        remote_sha_start(&written);
        writing = 1;
    }
    remote_sha_digest(&written, payload);
    remote_put64(payload + 32, start);
    remote_put64(payload + 40, end);
    if (length > 0) memcpy(payload + 48, more, length);
    return remote_write(REMOTE_DONE, sequence, payload, 48 + length) && flush();
}

int remote_failed(uint32_t sequence, const char *text) {
    return remote_write(REMOTE_FAILED, sequence, text, strlen(text)) && flush();
}
