/* COBS and CRC-16/CCITT-FALSE; see frame.h. */
#include "frame.h"

uint16_t frame_crc16(const uint8_t *data, size_t size) {
    uint16_t crc = 0xFFFFu;
    size_t i;
    for (i = 0; i < size; i++) {
        /* one byte at a time without a table: the polynomial x^16 + x^12 + x^5 + 1 folds into shifts */
        uint16_t x = (uint16_t)((crc >> 8) ^ data[i]);
        x = (uint16_t)(x ^ (x >> 4));
        crc = (uint16_t)((uint32_t)crc << 8 ^ (uint32_t)x << 12 ^ (uint32_t)x << 5 ^ (uint32_t)x);
    }
    return crc;
}

/* One byte of a frame on its way through COBS: `code` is where the length of the open block will stand. */
static void stuff(uint8_t *wire, size_t *at, size_t *code, uint8_t byte) {
    if (*at - *code == 255u) { /* the block holds 254 bytes: it ends without a zero */
        wire[*code] = 255u;
        *code = (*at)++;
    }
    if (byte == 0u) {
        wire[*code] = (uint8_t)(*at - *code);
        *code = (*at)++;
    } else {
        wire[(*at)++] = byte;
    }
}

size_t frame_write(uint8_t *wire, uint8_t type, const uint8_t *payload, size_t size) {
    uint8_t raw[FRAME_RAW_MAX];
    size_t at = 1, code = 0, i;
    uint16_t crc;
    if (size > FRAME_PAYLOAD_MAX) return 0;
    raw[0] = type;
    for (i = 0; i < size; i++) raw[i + 1u] = payload[i];
    crc = frame_crc16(raw, size + 1u);
    raw[size + 1u] = (uint8_t)(crc & 0xFFu);
    raw[size + 2u] = (uint8_t)(crc >> 8);
    for (i = 0; i < size + 3u; i++) stuff(wire, &at, &code, raw[i]);
    wire[code] = (uint8_t)(at - code);
    wire[at++] = 0u;
    return at;
}

void frame_reader_reset(frame_reader *reader) {
    reader->held = 0;
    reader->overrun = 0;
}

/* Undoes COBS in place: what is written never passes what is read. Returns the length, 0 when it is no COBS. */
static size_t unstuff(uint8_t *data, size_t size) {
    size_t from = 0, to = 0;
    while (from < size) {
        size_t code = data[from++];
        size_t end = from + code - 1u;
        if (code == 0u || end > size) return 0;
        while (from < end) data[to++] = data[from++];
        if (code != 255u && from < size) data[to++] = 0u;
    }
    return to;
}

int frame_reader_take(frame_reader *reader, uint8_t byte, uint8_t *type, const uint8_t **payload, size_t *size) {
    size_t length, whole = reader->held;
    int overrun = reader->overrun;
    uint16_t crc;
    if (byte != 0u) {
        if (reader->held < sizeof reader->data) {
            reader->data[reader->held++] = byte;
        } else {
            reader->overrun = 1;
        }
        return 0;
    }
    frame_reader_reset(reader);
    if (overrun) return 0;
    length = unstuff(reader->data, whole);
    if (length < 3u || length > FRAME_RAW_MAX) return 0;
    crc = frame_crc16(reader->data, length - 2u);
    if (reader->data[length - 2u] != (uint8_t)(crc & 0xFFu) || reader->data[length - 1u] != (uint8_t)(crc >> 8)) {
        return 0;
    }
    *type = reader->data[0];
    *payload = reader->data + 1;
    *size = length - 3u;
    return 1;
}
