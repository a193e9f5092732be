/* Throws damaged frames at the firmware; built with sanitizers by the tests:  fuzz_frames SEED FRAMES MODEL
 *
 * A session is begun, a small model is taken, and then frames come whose bytes, lengths and fields are wrong in
 * every way but their sum, or whose bytes are damaged on the way. Any finding of a sanitizer ends the process. It
 * prints how many frames were answered, and how many runs were among them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../board.h"
#include "../device.h"
#include "../frame.h"

#define PLACE (256u << 10)

static uint8_t model_place[PLACE] __attribute__((aligned(64)));
static uint8_t arena_place[PLACE] __attribute__((aligned(64)));
static board_facts facts = {"fuzz", 1000000u, 0, model_place, PLACE, arena_place, PLACE, 0, 0, NULL, 0};
static uint8_t line[1u << 16];
static size_t head, tail;
static unsigned long answers, runs;
static uint32_t number, session = 1, inputs; /* inputs: samples of a frame, 0 where the model reads tokens */
static int closed; /* a request was refused because no model is open */
static uint64_t state, now;
static frame_reader answers_read;

static uint32_t next(uint32_t below) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)((state * 0x2545F4914F6CDD1Du) >> 32) % below;
}

const board_facts *board(void) { return &facts; }
int board_get(void) { return head < tail ? line[head++] : -1; }
uint32_t board_dropped(void) { return 0; }
void board_wait(void) {}
uint64_t board_now(void) { return now++; }
void board_pin(int high) { (void)high; }
uint32_t board_stack_used(void) { return 0; }
void board_reboot(int cause) {
    device_start(cause);
    number = 0;
}
void board_fault(void) { device_fault(3, 1, 2, 3, 4); }

void board_put(const uint8_t *data, size_t size) {
    size_t i;
    frame_view view;
    for (i = 0; i < size; i++) {
        if (!frame_take(&answers_read, data[i], &view)) continue;
        answers++;
        if (view.cmd == (DUT_HELLO | DUT_REPLY)) {
            session = frame_u32(view.payload + 8);
            if (frame_u32(view.payload + 4) == session) number = number * (view.size == 0);
        } else if (view.cmd >= DUT_REPLY && view.seq == (uint8_t)(number + 1) &&
                   view.payload[0] != DUT_BUSY) {
            number++;
            closed |= view.payload[0] == DUT_E_MODEL;
            if (view.cmd == (DUT_OPEN | DUT_REPLY) && view.payload[0] == DUT_OK) inputs = frame_u32(view.payload + 72);
            runs += view.cmd == (DUT_INFER | DUT_REPLY) && view.payload[0] == DUT_OK;
        }
    }
}

static void send(uint8_t cmd, uint32_t of_session, uint32_t of_number, const uint8_t *payload, size_t size,
                 int harm) {
    uint8_t wire[FRAME_WIRE_MAX];
    size_t length = frame_write(wire, of_session, of_number, cmd, payload, size);
    for (; harm > 0; harm--) {
        size_t at = next((uint32_t)length);
        switch (next(4)) {
        case 0: wire[at] ^= (uint8_t)(1u << next(8)); break;
        case 1: wire[at] = (uint8_t)next(256); break;
        case 2: length = at + 1; break;
        default: memmove(wire + at, wire + at + 1, length - at - 1); length -= length > 1; break;
        }
    }
    head = 0;
    tail = length;
    memcpy(line, wire, length);
    device_poll();
    if (head != tail) abort(); /* a byte was left */
}

static uint32_t number_for_field(void) {
    static const uint32_t values[] = {0,  1,  2,   3,   4,   7,    8,    12,    16,    40,         64,         65,
                                      127, 128, 255, 256, 1148, 1152, 65535, 65536, 0x7FFFFFFF, 0x80000000,
                                      0xFFFFFFFC, 0xFFFFFFFF};
    return next(2) ? values[next(sizeof values / sizeof *values)] : next(4096);
}

static void open_session(void) {
    uint8_t ask[12] = {DUT_OPEN_SESSION, DUT_VERSION, DUT_VERSION};
    frame_put32(ask + 4, 1 + next(1000000));
    send(DUT_HELLO, 0, 0, ask, sizeof ask, 0);
}

static void load(const uint8_t *model, size_t size) {
    uint8_t payload[DUT_PAYLOAD_MAX];
    size_t at;
    frame_put32(payload, (uint32_t)size);
    frame_put32(payload + 4, frame_crc32(0, model, size));
    memcpy(payload + 8, model + 32, 32);
    send(DUT_BEGIN, session, number + 1, payload, 40, 0);
    for (at = 0; at < size; at += 1024) {
        size_t part = size - at < 1024 ? size - at : 1024;
        memset(payload, 0, 8);
        payload[0] = DUT_MODEL;
        frame_put32(payload + 4, (uint32_t)at);
        memcpy(payload + 8, model + at, part);
        send(DUT_WRITE, session, number + 1, payload, 8 + part, 0);
    }
    memset(payload, 0, 4);
    send(DUT_OPEN, session, number + 1, payload, 4, 0);
}

int main(int argc, char **argv) {
    static uint8_t model[PLACE];
    uint8_t payload[DUT_PAYLOAD_MAX];
    FILE *file = argc == 4 ? fopen(argv[3], "rb") : NULL;
    size_t size = file == NULL ? 0 : fread(model, 1, sizeof model, file);
    unsigned long frame, frames;
    if (size < 128) return 2;
    fclose(file);
    state = strtoull(argv[1], NULL, 10) * 0x9E3779B97F4A7C15u + 1;
    frames = strtoul(argv[2], NULL, 10);
    device_start(0);
    open_session();
    load(model, size);
    for (frame = 0; frame < frames; frame++) {
        size_t length = next(3) ? next(80) : next(DUT_PAYLOAD_MAX + 1), i;
        uint8_t cmd = (uint8_t)(next(8) ? 1 + next(14) : next(256));
        int harm = next(4) == 0 ? (int)next(4) : 0;
        if (cmd == DUT_REBOOT && next(50) != 0) cmd = DUT_INFER;
        for (i = 0; i < length; i++) payload[i] = (uint8_t)next(256);
        for (i = 0; i + 4 <= length && i < 24; i += 4) {
            if (next(4) != 0) frame_put32(payload + i, number_for_field());
        }
        if (length > 0 && next(4) != 0) payload[0] = (uint8_t)next(10);
        if (cmd == DUT_INFER && length >= 16) { /* long runs take the time of many frames */
            if (next(8) != 0) frame_put32(payload + 4, next(12));
            frame_put32(payload + 8, next(4));
            frame_put32(payload + 12, next(2) ? 0 : next(4));
            size_t unit = inputs > 0 ? inputs : 4, whole = unit * (size_t)frame_u32(payload + 4);
            if (length > 16 + whole && next(8) != 0) length = 16 + whole;
            if (inputs > 0) { /* of -3..4 */
                for (i = 16; i < length; i++) payload[i] = (uint8_t)(next(1024) ? next(8) - 3u : next(256));
            } else {
                for (i = 16; i + 4 <= length; i += 4) frame_put32(payload + i, next(64) ? next(5) : next(12));
            }
            length -= (length - 16) % unit;
        }
        send(cmd, session, number + (next(16) != 0), payload, length, harm);
        if (frame % 500 == 499 || session == 0) open_session();
        if (closed || session == 0 || frame % 500 == 499) load(model, size);
        closed = 0;
    }
    printf("%lu frames, %lu answers, %lu runs\n", frames, answers, runs);
    return 0;
}
