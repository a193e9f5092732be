/* COBS and CRC-32; see frame.h. */
#include "frame.h"

uint32_t frame_u32(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

void frame_put32(uint8_t *at, uint32_t value) {
    unsigned i;
    for (i = 0; i < 4u; i++) at[i] = (uint8_t)(value >> (8u * i));
}

void frame_put64(uint8_t *at, uint64_t value) {
    frame_put32(at, (uint32_t)value);
    frame_put32(at + 4, (uint32_t)(value >> 32));
}

/* By half bytes: a table of 64 bytes in place of 1 KiB. */
uint32_t frame_crc32(uint32_t crc, const uint8_t *data, size_t size) {
    static const uint32_t table[16] = {0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu,
                                       0x76DC4190u, 0x6B6B51F4u, 0x4DB26158u, 0x5005713Cu,
                                       0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu,
                                       0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu};
    size_t i;
    crc = ~crc;
    for (i = 0; i < size; i++) {
        crc ^= data[i];
        crc = crc >> 4 ^ table[crc & 15u];
        crc = crc >> 4 ^ table[crc & 15u];
    }
    return ~crc;
}

uint32_t frame_sum(uint32_t session, uint32_t number, uint8_t cmd, uint8_t seq, const uint8_t *payload,
                   size_t size) {
    uint8_t head[10];
    frame_put32(head, session);
    frame_put32(head + 4, number);
    head[8] = cmd;
    head[9] = seq;
    return frame_crc32(frame_crc32(0, head, sizeof head), payload, size);
}

/* A frame on its way through COBS: `code` is where the length of the open block will stand. */
typedef struct stuffing {
    uint8_t *wire;
    size_t at, code;
} stuffing;

static void stuff(stuffing *s, const uint8_t *data, size_t size) {
    size_t i;
    for (i = 0; i < size; i++) {
        if (s->at - s->code == 255u) { /* the block holds 254 bytes: it ends without a zero */
            s->wire[s->code] = 255u;
            s->code = s->at++;
        }
        if (data[i] == 0u) {
            s->wire[s->code] = (uint8_t)(s->at - s->code);
            s->code = s->at++;
        } else {
            s->wire[s->at++] = data[i];
        }
    }
}

size_t frame_write(uint8_t *wire, uint32_t session, uint32_t number, uint8_t cmd, const uint8_t *payload,
                   size_t size) {
    stuffing s;
    uint8_t head[2], sum[4];
    if (size > DUT_PAYLOAD_MAX) return 0;
    head[0] = cmd;
    head[1] = (uint8_t)number;
    frame_put32(sum, frame_sum(session, number, cmd, head[1], payload, size));
    wire[0] = 0u;
    s.wire = wire;
    s.code = 1;
    s.at = 2;
    stuff(&s, head, sizeof head);
    stuff(&s, payload, size);
    stuff(&s, sum, sizeof sum);
    wire[s.code] = (uint8_t)(s.at - s.code);
    wire[s.at++] = 0u;
    return s.at;
}

/* Undoes COBS in place: what is written never passes what is read. The length, 0 when it is no COBS. */
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

int frame_take(frame_reader *reader, uint8_t byte, frame_view *view) {
    size_t length, held = reader->held;
    int overrun = reader->overrun;
    if (byte != 0u) {
        if (held < sizeof reader->data) {
            reader->data[reader->held++] = byte;
        } else {
            reader->overrun = 1;
        }
        return 0;
    }
    reader->held = 0;
    reader->overrun = 0;
    if (overrun) return 0;
    length = unstuff(reader->data, held);
    if (length < 6u || length > FRAME_RAW_MAX) return 0;
    view->cmd = reader->data[0];
    view->seq = reader->data[1];
    view->payload = reader->data + 2;
    view->size = length - 6u;
    view->crc = frame_u32(reader->data + length - 4u);
    return 1;
}
