/* Frames on the wire: 00 | COBS( cmd u8 | seq u8 | payload | crc u32 ) | 00, numbers little-endian.
 *
 * Inside a frame no byte is zero, so a receiver that lost its place finds it again at the next zero. The CRC-32
 * (IEEE 802.3, reflected; zlib's) runs over session u32, number u32, cmd, seq and payload: session and number
 * are known to both ends and are not sent, so a frame of another session or another turn is no frame at all.
 * C99, no heap, no float.
 */
#ifndef EDGESNN_DUT_FRAME_H
#define EDGESNN_DUT_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "wire.h"

#define FRAME_RAW_MAX (DUT_PAYLOAD_MAX + 6u)
/* COBS adds one byte per 254 begun; then the zero at either end. */
#define FRAME_WIRE_MAX (FRAME_RAW_MAX + FRAME_RAW_MAX / 254u + 3u)

typedef struct frame_reader {
    uint8_t data[FRAME_WIRE_MAX];
    size_t held;
    int overrun; /* more bytes came than a frame has: all is dropped until the next zero */
} frame_reader;

/* A frame whose sum was not looked at yet. */
typedef struct frame_view {
    uint8_t cmd, seq;
    const uint8_t *payload; /* inside the reader, until its next byte */
    size_t size;
    uint32_t crc;
} frame_view;

uint32_t frame_u32(const uint8_t *at);
void frame_put32(uint8_t *at, uint32_t value);
void frame_put64(uint8_t *at, uint64_t value);

/* CRC-32 goes on from `crc`; begin with 0. */
uint32_t frame_crc32(uint32_t crc, const uint8_t *data, size_t size);
uint32_t frame_sum(uint32_t session, uint32_t number, uint8_t cmd, uint8_t seq, const uint8_t *payload,
                   size_t size);

/* Writes a frame to `wire` (FRAME_WIRE_MAX bytes); its length, 0 when the payload is too long. */
size_t frame_write(uint8_t *wire, uint32_t session, uint32_t number, uint8_t cmd, const uint8_t *payload,
                   size_t size);

/* Takes one byte; 1 when it closed something that is a frame but for its sum. */
int frame_take(frame_reader *reader, uint8_t byte, frame_view *view);

#endif
