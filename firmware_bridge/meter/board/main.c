/* The bridge on an RP2040 or RP2350 board. NOT COMPILED HERE: this project has no pico-sdk and no board.
 *
 * Core 1 measures: the INA228's ALERT line and the sync input interrupt it, each edge is stamped with the
 * microsecond timer, conversions are read over I2C, and all goes into one queue in the order of time. Core 0
 * talks: it empties the queue into the bridge's core and moves bytes to and from USB.
 */
#include <stdio.h>

#include "../bridge.h"
#include "hardware/gpio.h"
#include "hardware/i2c.h"
#include "hardware/timer.h"
#include "ina228.h"
#include "pico/bootrom.h"
#include "pico/multicore.h"
#include "pico/stdio_usb.h"
#include "pico/stdlib.h"
#include "pico/unique_id.h"
#include "pico/util/queue.h"

/* The wires of README.md. */
#define PIN_SDA 4u
#define PIN_SCL 5u
#define PIN_ALERT 6u
#define PIN_SYNC 7u
#define BUS i2c0
#define BUS_HZ 1000000u /* fast mode plus: 3.3 kS/s take about 250 us of each 300 us */

/* SHUNT_CAL = 13107.2e6 * 8 uA * R: 1573 for 15 mOhm. */
#ifndef METER_SHUNT_CAL
#define METER_SHUNT_CAL 1573u
#endif

#define EVENTS 1024u

typedef enum event_kind { EVENT_SAMPLE, EVENT_EDGE } event_kind;

typedef struct event {
    event_kind kind;
    uint32_t t_us;
    int32_t vbus;
    int32_t current;
    int level;
} event;

typedef struct order {
    bool stream;
    bridge_channel settings;
} order;

static queue_t events, orders;
static volatile uint32_t dropped;      /* core 1 counts up: samples, */
static volatile uint32_t edges_lost;   /* and edges */
static volatile bool ready, streaming; /* core 1 only, interrupt and loop */
static volatile uint32_t ready_us;
static order current_order; /* core 0 only */

static void on_gpio(uint pin, uint32_t what) {
    uint32_t now = time_us_32();
    if (pin == PIN_ALERT) {
        ready_us = now;
        ready = true;
    } else if (pin == PIN_SYNC) {
        event edge = {EVENT_EDGE, 0, 0, 0, 0};
        edge.t_us = now;
        /* both edges at once: the level now is the later one */
        edge.level = (what & GPIO_IRQ_EDGE_RISE) && (what & GPIO_IRQ_EDGE_FALL) ? gpio_get(pin)
                     : (what & GPIO_IRQ_EDGE_RISE)                              ? 1
                                                                                : 0;
        if (!queue_try_add(&events, &edge)) edges_lost++;
    }
}

static void obey_order(const order *what) {
    streaming = what->stream;
    ready = false;
    ina228_configure(BUS, &what->settings);
}

/* Core 1. */
static void measure(void) {
    order what;
    gpio_set_irq_enabled_with_callback(PIN_ALERT, GPIO_IRQ_EDGE_FALL, true, on_gpio);
    gpio_set_irq_enabled(PIN_SYNC, GPIO_IRQ_EDGE_RISE | GPIO_IRQ_EDGE_FALL, true);
    for (;;) {
        if (queue_try_remove(&orders, &what)) obey_order(&what);
        if (!ready) continue;
        ready = false;
        {
            event sample = {EVENT_SAMPLE, 0, 0, 0, 0};
            sample.t_us = ready_us;
            if (!ina228_read(BUS, &sample.vbus, &sample.current)) continue;
            if (streaming && !queue_try_add(&events, &sample)) dropped++;
        }
    }
}

static void hook_send(void *user, const uint8_t *data, size_t size) {
    (void)user;
    stdio_usb.out_chars((const char *)data, (int)size);
}

static void hook_apply(void *user, unsigned channel, const bridge_channel *settings) {
    (void)user;
    if (channel != 0) return;
    current_order.settings = *settings;
    queue_add_blocking(&orders, &current_order);
}

static void hook_stream(void *user, int on) {
    event stale;
    (void)user;
    while (queue_try_remove(&events, &stale)) {
        /* edges count even while nothing streams */
        if (stale.kind == EVENT_EDGE) bridge_mark((bridge *)user, stale.t_us, stale.level);
    }
    current_order.stream = on != 0;
    queue_add_blocking(&orders, &current_order);
}

static uint32_t hook_now(void *user) {
    (void)user;
    return time_us_32();
}

static void hook_bootloader(void *user) {
    (void)user;
    reset_usb_boot(0, 0);
}

static void wires(void) {
    i2c_init(BUS, BUS_HZ);
    gpio_set_function(PIN_SDA, GPIO_FUNC_I2C);
    gpio_set_function(PIN_SCL, GPIO_FUNC_I2C);
    gpio_pull_up(PIN_SDA);
    gpio_pull_up(PIN_SCL);
    gpio_init(PIN_ALERT);
    gpio_pull_up(PIN_ALERT); /* open drain */
    gpio_init(PIN_SYNC);
    gpio_pull_down(PIN_SYNC);
}

/* What waits in the queue, in order. */
static void deliver(bridge *core) {
    event next;
    uint32_t lost = dropped, missed = edges_lost;
    static uint32_t told, admitted;
    if (lost != told) bridge_dropped(core, lost - told);
    if (missed != admitted) bridge_edges_lost(core, missed - admitted);
    told = lost;
    admitted = missed;
    while (queue_try_remove(&events, &next)) {
        if (next.kind == EVENT_EDGE) {
            bridge_mark(core, next.t_us, next.level);
        } else {
            bridge_sample(core, 0, next.t_us, next.vbus, next.current);
        }
    }
}

int main(void) {
    static bridge core;
    static const uint8_t version[3] = {1, 0, 0};
    const bridge_hooks hooks = {&core, hook_send, hook_apply, hook_stream, hook_now, hook_bootloader};
    pico_unique_board_id_t id;
    bool present;

    stdio_init_all();
    wires();
    queue_init(&events, sizeof(event), EVENTS);
    queue_init(&orders, sizeof(order), 8);
    pico_get_unique_board_id(&id);
    present = ina228_present(BUS);
    bridge_init(&core, &hooks, id.id, version, present ? 1 : 0, METER_SHUNT_CAL, gpio_get(PIN_SYNC));
    current_order.settings = core.channel[0];
    multicore_launch_core1(measure);
    for (;;) {
        int byte = getchar_timeout_us(0);
        deliver(&core);
        bridge_poll(&core, time_us_32());
        if (byte != PICO_ERROR_TIMEOUT) {
            uint8_t data = (uint8_t)byte;
            bridge_receive(&core, &data, 1);
        }
    }
}
