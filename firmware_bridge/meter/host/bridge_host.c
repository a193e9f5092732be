/* The bridge's core on a computer, for tests: events from standard input, what the bridge sends to standard
 * output. No INA228 and no clock: both come as events, little-endian:
 *
 *     T u32 now                             what the timer says
 *     R u16 n, n bytes                      from the host
 *     S u8 channel, u32 t, i32 vbus, i32 i  a conversion
 *     M u32 t, u8 level                     an edge of the sync input
 *     P u32 now                             time passes
 *     D u32 n                               samples were thrown away
 *     E u32 n                               edges were thrown away
 *     I u8 present, u16 shunt_cal, u8 level, u32 now, 8 bytes board id, 3 bytes version    switch on again
 *
 * After every event it writes: u32 n and the n bytes that were sent, u8 the last thing a hook was told
 * (0 nothing, 1 apply, 2 stream on, 3 stream off, 4 boot loader).
 */
#include <stdio.h>
#include <stdlib.h>

#include "../bridge.h"

typedef struct board {
    uint8_t out[1u << 20];
    size_t held;
    uint32_t now_us;
    uint8_t told;
} board;

static void send(void *user, const uint8_t *data, size_t size) {
    board *here = (board *)user;
    size_t i;
    for (i = 0; i < size && here->held < sizeof here->out; i++) here->out[here->held++] = data[i];
}

static void apply(void *user, unsigned channel, const bridge_channel *settings) {
    (void)channel;
    (void)settings;
    ((board *)user)->told = 1;
}

static void stream(void *user, int on) { ((board *)user)->told = on ? 2 : 3; }
static uint32_t now_us(void *user) { return ((board *)user)->now_us; }
static void bootloader(void *user) { ((board *)user)->told = 4; }

static void need(uint8_t *data, size_t size) {
    if (fread(data, 1, size, stdin) != size) exit(2);
}

static uint32_t u32_at(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static int32_t i32_at(const uint8_t *p) {
    uint32_t value = u32_at(p);
    return value & 0x80000000u ? -(int32_t)(~value) - 1 : (int32_t)value;
}

static void event(board *here, bridge *core, int kind) {
    static uint8_t data[65536];
    const bridge_hooks hooks = {here, send, apply, stream, now_us, bootloader};
    size_t size;
    switch (kind) {
        case 'I':
            need(data, 19);
            here->now_us = u32_at(data + 4);
            bridge_init(core, &hooks, data + 8, data + 16, data[0], (uint16_t)(data[1] | data[2] << 8), data[3]);
            break;
        case 'R':
            need(data, 2);
            size = (size_t)data[0] | (size_t)data[1] << 8;
            need(data, size);
            bridge_receive(core, data, size);
            break;
        case 'S':
            need(data, 13);
            here->now_us = u32_at(data + 1);
            bridge_sample(core, data[0], u32_at(data + 1), i32_at(data + 5), i32_at(data + 9));
            break;
        case 'M':
            need(data, 5);
            here->now_us = u32_at(data);
            bridge_mark(core, u32_at(data), data[4]);
            break;
        case 'P':
            need(data, 4);
            here->now_us = u32_at(data);
            bridge_poll(core, u32_at(data));
            break;
        case 'T':
            need(data, 4);
            here->now_us = u32_at(data);
            break;
        case 'E':
            need(data, 4);
            bridge_edges_lost(core, u32_at(data));
            break;
        case 'D':
            need(data, 4);
            bridge_dropped(core, u32_at(data));
            break;
        default: exit(3);
    }
}

int main(void) {
    static board here;
    static bridge core;
    static const uint8_t nothing[BRIDGE_BOARD_ID_BYTES];
    const bridge_hooks hooks = {&here, send, apply, stream, now_us, bootloader};
    int kind, more;
    bridge_init(&core, &hooks, nothing, nothing, 1, 4096, 0);
    while ((kind = getchar()) != EOF) {
        uint8_t head[4];
        here.held = 0;
        here.told = 0;
        event(&here, &core, kind);
        head[0] = (uint8_t)(here.held & 0xFFu);
        head[1] = (uint8_t)(here.held >> 8 & 0xFFu);
        head[2] = (uint8_t)(here.held >> 16 & 0xFFu);
        head[3] = (uint8_t)(here.held >> 24 & 0xFFu);
        fwrite(head, 1, sizeof head, stdout);
        fwrite(here.out, 1, here.held, stdout);
        fwrite(&here.told, 1, 1, stdout);
        /* a batch of events is answered at once: 'F' asks for it */
        more = getchar();
        if (more == 'F') {
            fflush(stdout);
        } else if (more == EOF || ungetc(more, stdin) == EOF) {
            break;
        }
    }
    return 0;
}
