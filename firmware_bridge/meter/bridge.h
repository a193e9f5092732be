/* The bridge between an INA228 and a host: commands in, samples and marks out. The protocol is in PROTOCOL.md.
 *
 * The core knows no hardware. The board gives it bytes from the host (bridge_receive), samples
 * (bridge_sample), edges of the sync input (bridge_mark) and time (bridge_poll); it calls the board through
 * hooks. All calls must come from one thread of control. C99, no malloc, no float.
 *
 * Order matters: an edge must be told before the first sample that ended after it, so that a host that has a
 * sample has every mark before its end. Behind every frame of samples goes a mark that says how many edges there
 * were, so that no lost edge stays hidden.
 */
#ifndef EDGESNN_METER_BRIDGE_H
#define EDGESNN_METER_BRIDGE_H

#include "frame.h"

#define BRIDGE_PROTOCOL 1u
#define BRIDGE_CHANNELS 2u
#define BRIDGE_BOARD_ID_BYTES 8u
/* Bytes of one record, and as many of them as a frame holds. */
#define BRIDGE_RECORD_BYTES 13u
#define BRIDGE_RECORDS_MAX ((FRAME_PAYLOAD_MAX - 3u) / BRIDGE_RECORD_BYTES)
/* A sample waits at most this long for others to share its frame. */
#define BRIDGE_HOLD_US 10000u

/* How one channel converts: codes of the INA228's ADC_CONFIG register, and its SHUNT_CAL register. */
typedef struct bridge_channel {
    uint8_t range; /* ADCRANGE: 0 is 163.84 mV and 8 uA a count, 1 is 40.96 mV and 2 uA a count */
    uint8_t bus_time;
    uint8_t shunt_time;
    uint8_t average;
    uint16_t shunt_cal;
} bridge_channel;

typedef struct bridge_hooks {
    void *user; /* handed back to every hook */
    /* Sends one whole frame; the board may drop it when its way out is full. */
    void (*send)(void *user, const uint8_t *data, size_t size);
    /* Writes the settings of a channel to its INA228. */
    void (*apply)(void *user, unsigned channel, const bridge_channel *settings);
    /* Begins (1: a fresh conversion starts now) or ends (0) to deliver samples. */
    void (*stream)(void *user, int on);
    /* The microsecond timer that samples and marks are stamped with. */
    uint32_t (*now_us)(void *user);
    /* Restarts into the boot loader; may not return. */
    void (*bootloader)(void *user);
} bridge_hooks;

typedef struct bridge {
    bridge_hooks hooks;
    frame_reader reader;
    bridge_channel channel[BRIDGE_CHANNELS];
    uint8_t board_id[BRIDGE_BOARD_ID_BYTES];
    uint8_t version[3];
    uint8_t present; /* bit i: channel i */
    uint8_t dual;
    uint8_t streaming;
    uint8_t level;
    uint8_t edges; /* modulo 32 */
    uint8_t records;
    uint16_t sequence;
    uint32_t drops;
    uint32_t oldest_us;
    uint8_t payload[3u + BRIDGE_RECORDS_MAX * BRIDGE_RECORD_BYTES];
} bridge;

/* Everything off; `shunt_cal` is the SHUNT_CAL that suits the board's shunt; `level` that of the sync input. */
void bridge_init(bridge *core, const bridge_hooks *hooks, const uint8_t *board_id, const uint8_t *version,
                 uint8_t present, uint16_t shunt_cal, int level);

/* Takes bytes from the host and answers. */
void bridge_receive(bridge *core, const uint8_t *data, size_t size);

/* Takes one conversion: the timer at its end, the VBUS register and the CURRENT register, sign-extended. */
void bridge_sample(bridge *core, unsigned channel, uint32_t t_us, int32_t vbus, int32_t current);

/* Takes an edge of the sync input and the level after it. Tell every edge, streaming or not. */
void bridge_mark(bridge *core, uint32_t t_us, int level);

/* Counts edges that the board noticed and could not tell: the host sees that some are missing. */
void bridge_edges_lost(bridge *core, uint32_t edges);

/* Counts samples that the board had to throw away. */
void bridge_dropped(bridge *core, uint32_t samples);

/* Sends what has waited for long; call it at least every millisecond. */
void bridge_poll(bridge *core, uint32_t now_us);

#endif
