/* Frames on the wire: COBS( type | payload | crc16 little-endian ) and a closing zero byte.
 *
 * The CRC is CRC-16/CCITT-FALSE (polynomial 0x1021, start 0xFFFF, nothing reflected or inverted) over type and
 * payload. Inside a frame no byte is zero, so a receiver that lost its place finds it again at the next zero.
 * C99, no malloc, no float.
 */
#ifndef EDGESNN_METER_FRAME_H
#define EDGESNN_METER_FRAME_H

#include <stddef.h>
#include <stdint.h>

/* Longest frame before COBS: type, payload and CRC. */
#define FRAME_RAW_MAX 300u
#define FRAME_PAYLOAD_MAX (FRAME_RAW_MAX - 3u)
/* COBS adds one byte per 254 begun; then the closing zero. */
#define FRAME_WIRE_MAX (FRAME_RAW_MAX + 2u + 1u)

typedef struct frame_reader {
    uint8_t data[FRAME_WIRE_MAX];
    size_t held;
    int overrun; /* more bytes came than a frame has: all is dropped until the next zero */
} frame_reader;

uint16_t frame_crc16(const uint8_t *data, size_t size);

/* Writes the frame to `wire` (FRAME_WIRE_MAX bytes); returns its length, 0 when the payload is too long. */
size_t frame_write(uint8_t *wire, uint8_t type, const uint8_t *payload, size_t size);

void frame_reader_reset(frame_reader *reader);

/* Takes one byte. Returns 1 when it closed a whole frame with a right CRC: then *type, *payload (inside the
 * reader, until its next byte) and *size tell it. What is damaged is dropped without a word. */
int frame_reader_take(frame_reader *reader, uint8_t byte, uint8_t *type, const uint8_t **payload, size_t *size);

#endif
