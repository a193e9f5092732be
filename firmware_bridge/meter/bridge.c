/* The bridge's state machine; see bridge.h. */
#include "bridge.h"

#include <string.h>

enum command {
    HELLO = 0x10,
    START = 0x11,
    STOP = 0x12,
    SET_MODE = 0x13,
    SET_ADC = 0x14,
    SET_SHUNT_CAL = 0x15,
    GET_CONFIG = 0x16,
    GET_MARK = 0x18,
    BOOTLOADER = 0x1F
};
enum answer { DATA = 0x01, MARK = 0x02, ACK = 0x80, NACK = 0x81, HELLO_ACK = 0x90, CONFIG = 0x96 };
enum refusal { BAD_PARAMETER = 1, CHANNEL_ABSENT = 2, UNKNOWN_COMMAND = 3, BAD_LENGTH = 4, GRANTED = 0 };

#define MARK_STATE 0x40u  /* this mark follows samples: nothing changed, all edges until it were told */
#define MARK_ANSWER 0x80u /* this mark answers GET_MARK: nothing changed */
#define EDGES_MASK 0x1Fu
#define ALL_CHANNELS 0xFFu
#define SHUNT_CAL_MAX 0x7FFFu /* the register has 15 bits */

static int has(const bridge *core, unsigned channel) { return ((unsigned)core->present >> channel & 1u) != 0; }

static void put_u16(uint8_t *p, uint16_t value) {
    p[0] = (uint8_t)(value & 0xFFu);
    p[1] = (uint8_t)(value >> 8);
}

static void put_u32(uint8_t *p, uint32_t value) {
    put_u16(p, (uint16_t)(value & 0xFFFFu));
    put_u16(p + 2, (uint16_t)(value >> 16));
}

static void send(bridge *core, uint8_t type, const uint8_t *payload, size_t size) {
    uint8_t wire[FRAME_WIRE_MAX];
    size_t length = frame_write(wire, type, payload, size);
    core->hooks.send(core->hooks.user, wire, length);
}

static void send_mark(bridge *core, uint32_t t_us, uint8_t flags) {
    uint8_t payload[5];
    put_u32(payload, t_us);
    payload[4] = (uint8_t)(core->level | (core->edges & EDGES_MASK) << 1 | flags);
    send(core, MARK, payload, sizeof payload);
}

static void flush(bridge *core) {
    if (core->records == 0) return;
    put_u16(core->payload, core->sequence);
    core->payload[2] = core->records;
    send(core, DATA, core->payload, 3u + (size_t)core->records * BRIDGE_RECORD_BYTES);
    core->sequence = (uint16_t)(core->sequence + 1u);
    core->records = 0;
    send_mark(core, core->hooks.now_us(core->hooks.user), MARK_STATE);
}

void bridge_init(bridge *core, const bridge_hooks *hooks, const uint8_t *board_id, const uint8_t *version,
                 uint8_t present, uint16_t shunt_cal, int level) {
    unsigned i;
    memset(core, 0, sizeof *core);
    core->hooks = *hooks;
    memcpy(core->board_id, board_id, sizeof core->board_id);
    memcpy(core->version, version, sizeof core->version);
    core->present = present;
    core->level = level != 0;
    for (i = 0; i < BRIDGE_CHANNELS; i++) {
        /* 280 us each: what the foreign client calls its default rate */
        const bridge_channel start = {0, 3, 3, 0, 0};
        core->channel[i] = start;
        core->channel[i].shunt_cal = shunt_cal;
    }
    frame_reader_reset(&core->reader);
}

static enum refusal set_adc(bridge *core, const uint8_t *p) {
    unsigned i;
    if (p[0] != ALL_CHANNELS && p[0] >= BRIDGE_CHANNELS) return BAD_PARAMETER;
    if (p[1] > 1u || p[2] > 7u || p[3] > 7u || p[4] > 7u) return BAD_PARAMETER;
    if (p[0] != ALL_CHANNELS && !has(core, p[0])) return CHANNEL_ABSENT;
    flush(core); /* one frame holds samples of one setting */
    for (i = 0; i < BRIDGE_CHANNELS; i++) {
        if ((p[0] != ALL_CHANNELS && p[0] != i) || !has(core, i)) continue;
        core->channel[i].range = p[1];
        core->channel[i].bus_time = p[2];
        core->channel[i].shunt_time = p[3];
        core->channel[i].average = p[4];
        core->hooks.apply(core->hooks.user, i, &core->channel[i]);
    }
    return GRANTED;
}

static enum refusal set_shunt_cal(bridge *core, const uint8_t *p) {
    unsigned value = (unsigned)p[1] | (unsigned)p[2] << 8;
    if (p[0] >= BRIDGE_CHANNELS || value == 0u || value > SHUNT_CAL_MAX) return BAD_PARAMETER;
    if (!has(core, p[0])) return CHANNEL_ABSENT;
    flush(core);
    core->channel[p[0]].shunt_cal = (uint16_t)value;
    core->hooks.apply(core->hooks.user, p[0], &core->channel[p[0]]);
    return GRANTED;
}

static enum refusal set_mode(bridge *core, uint8_t mode) {
    if (mode > 1u) return BAD_PARAMETER;
    if (mode == 1u && core->present != 3u) return CHANNEL_ABSENT;
    core->dual = mode;
    return GRANTED;
}

static void send_hello(bridge *core) {
    uint8_t payload[13];
    payload[0] = BRIDGE_PROTOCOL;
    memcpy(payload + 1, core->version, 3);
    memcpy(payload + 4, core->board_id, BRIDGE_BOARD_ID_BYTES);
    payload[12] = core->present;
    send(core, HELLO_ACK, payload, sizeof payload);
}

static void send_config(bridge *core) {
    uint8_t payload[20];
    unsigned i;
    payload[0] = core->dual;
    payload[1] = core->streaming;
    put_u32(payload + 2, core->drops);
    for (i = 0; i < BRIDGE_CHANNELS; i++) {
        uint8_t *p = payload + 6 + 7 * i;
        p[0] = (uint8_t)has(core, i);
        p[1] = core->channel[i].range;
        p[2] = core->channel[i].bus_time;
        p[3] = core->channel[i].shunt_time;
        p[4] = core->channel[i].average;
        put_u16(p + 5, core->channel[i].shunt_cal);
    }
    send(core, CONFIG, payload, sizeof payload);
}

/* The length of a command's payload; -1 for an unknown command. */
static int length_of(uint8_t type) {
    switch (type) {
        case HELLO:
        case SET_MODE: return 1;
        case SET_ADC: return 5;
        case SET_SHUNT_CAL: return 3;
        case START:
        case STOP:
        case GET_CONFIG:
        case GET_MARK:
        case BOOTLOADER: return 0;
        default: return -1;
    }
}

static void refuse(bridge *core, uint8_t type, enum refusal why) {
    uint8_t payload[2];
    payload[0] = type;
    payload[1] = (uint8_t)why;
    send(core, NACK, payload, sizeof payload);
}

static void grant(bridge *core, uint8_t type, enum refusal why) {
    if (why == GRANTED) {
        send(core, ACK, &type, 1);
    } else {
        refuse(core, type, why);
    }
}

static void obey(bridge *core, uint8_t type, const uint8_t *payload, size_t size) {
    int length = length_of(type);
    if (length < 0) {
        refuse(core, type, UNKNOWN_COMMAND);
        return;
    }
    if (size != (size_t)length) {
        refuse(core, type, BAD_LENGTH);
        return;
    }
    switch (type) {
        case HELLO:
            if (payload[0] == BRIDGE_PROTOCOL) {
                send_hello(core);
            } else {
                refuse(core, type, BAD_PARAMETER);
            }
            break;
        case START:
            flush(core);
            core->streaming = 0; /* edges that the hook still tells are from before */
            core->hooks.stream(core->hooks.user, 1);
            core->sequence = 0;
            core->streaming = 1;
            grant(core, type, GRANTED);
            send_mark(core, core->hooks.now_us(core->hooks.user), 0); /* time 0 and the level there */
            break;
        case STOP:
            flush(core);
            core->streaming = 0;
            core->hooks.stream(core->hooks.user, 0);
            grant(core, type, GRANTED);
            break;
        case SET_MODE: grant(core, type, set_mode(core, payload[0])); break;
        case SET_ADC: grant(core, type, set_adc(core, payload)); break;
        case SET_SHUNT_CAL: grant(core, type, set_shunt_cal(core, payload)); break;
        case GET_CONFIG: send_config(core); break;
        case GET_MARK: send_mark(core, core->hooks.now_us(core->hooks.user), MARK_ANSWER); break;
        default: core->hooks.bootloader(core->hooks.user); break;
    }
}

void bridge_receive(bridge *core, const uint8_t *data, size_t size) {
    size_t i, length;
    uint8_t type;
    const uint8_t *payload;
    for (i = 0; i < size; i++) {
        if (frame_reader_take(&core->reader, data[i], &type, &payload, &length)) {
            obey(core, type, payload, length);
        }
    }
}

void bridge_sample(bridge *core, unsigned channel, uint32_t t_us, int32_t vbus, int32_t current) {
    uint8_t *p = core->payload + 3u + (size_t)core->records * BRIDGE_RECORD_BYTES;
    if (!core->streaming || channel >= BRIDGE_CHANNELS || (channel == 1u && !core->dual)) return;
    if (core->records == 0) core->oldest_us = t_us;
    p[0] = (uint8_t)channel;
    put_u32(p + 1, t_us);
    put_u32(p + 5, (uint32_t)vbus);
    put_u32(p + 9, (uint32_t)current);
    core->records++;
    if (core->records == BRIDGE_RECORDS_MAX) flush(core);
}

void bridge_mark(bridge *core, uint32_t t_us, int level) {
    core->level = level != 0;
    core->edges = (uint8_t)((core->edges + 1u) & EDGES_MASK);
    if (core->streaming) send_mark(core, t_us, 0);
}

void bridge_edges_lost(bridge *core, uint32_t edges) {
    core->edges = (uint8_t)((core->edges + edges) & EDGES_MASK);
}

void bridge_dropped(bridge *core, uint32_t samples) { core->drops += samples; }

void bridge_poll(bridge *core, uint32_t now_us) {
    if (core->records != 0 && now_us - core->oldest_us >= BRIDGE_HOLD_US) flush(core);
}
