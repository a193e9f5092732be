/* Sessions, turns and resends; see device.h and ../PROTOCOL.md. */
#include "device.h"

#include <string.h>

#include "../engine/snn.h"
#include "ascii.h"
#include "board.h"
#include "frame.h"

/* Longest reply to HELLO: numbers, the model, three texts. */
#define HELLO_MAX 256u

static frame_reader reader;
static uint8_t answer[DUT_PAYLOAD_MAX]; /* payload of the reply to the last request */
static uint8_t wire[FRAME_WIRE_MAX];    /* and its frame, for resends */
static size_t wire_size;
static uint32_t session, number; /* number: the last request that was obeyed */
static int working, ends;        /* a request is at work; it shall end */
static uint8_t hello_kept[12];   /* what came while it was */
static int hello_waits, start_cause;
static uint32_t requests, resends, damaged, busy_told, pin_rises;

static void send_now(uint8_t cmd, const uint8_t *payload, size_t size) {
    uint8_t frame[HELLO_MAX + 16u];
    board_put(frame, frame_write(frame, 0, 0, cmd, payload, size));
}

static size_t put_text(uint8_t *at, size_t room, const char *text) {
    size_t length = strlen(text);
    if (length + 1u > room) length = room - 1u;
    memcpy(at, text, length);
    at[length] = 0;
    return length + 1u;
}

static void hello(const uint8_t *ask) {
    const board_facts *facts = board();
    uint8_t told[HELLO_MAX] = {0};
    uint32_t nonce = frame_u32(ask + 4);
    size_t size = 96;
    int speaks = ask[1] <= DUT_VERSION && ask[2] >= DUT_VERSION_LEAST;
    if ((ask[0] & DUT_OPEN_SESSION) != 0 && speaks && nonce != 0 && nonce != session) {
        session = nonce;
        number = 0;
        wire_size = 0;
    }
    told[1] = speaks ? (uint8_t)(ask[2] < DUT_VERSION ? ask[2] : DUT_VERSION) : 0;
    told[2] = (uint8_t)DUT_VERSION_LEAST;
    told[3] = (uint8_t)DUT_VERSION;
    frame_put32(told + 4, nonce);
    frame_put32(told + 8, session);
    frame_put32(told + 12, facts->tick_hz);
    frame_put32(told + 16, facts->cpu_hz);
    frame_put32(told + 20, DUT_PAYLOAD_MAX);
    frame_put32(told + 24, DUT_INLINE_MAX);
    frame_put32(told + 28, facts->model_bytes);
    frame_put32(told + 32, facts->arena_bytes);
    frame_put32(told + 36, facts->flash_bytes);
    frame_put32(told + 40, facts->static_bytes);
    told[44] = (uint8_t)start_cause;
    told[45] = (uint8_t)working;
    model_describe(told + 48);
    size += put_text(told + size, 32, DEVICE_FIRMWARE);
    size += put_text(told + size, 32, SNN_ENGINE_VERSION);
    size += put_text(told + size, 48, facts->name);
    size += put_text(told + size, 48, model_kernels);
    send_now(DUT_HELLO | DUT_REPLY, told, size);
}

static void finish(uint8_t cmd, const device_reply *reply) {
    number++;
    wire_size = frame_write(wire, session, number, (uint8_t)(cmd | DUT_REPLY), reply->data, reply->size);
    board_put(wire, wire_size);
}

void device_refuse(device_reply *reply, int status, uint32_t value, uint32_t limit) {
    reply->data[0] = (uint8_t)status;
    frame_put32(reply->data + 4, value);
    frame_put32(reply->data + 8, limit);
    reply->size = 12;
}

static void statistics(device_reply *reply) {
    const uint32_t values[] = {requests,  resends,   damaged,           board_dropped(),
                               busy_told, pin_rises, board_stack_used()};
    unsigned i;
    for (i = 0; i < sizeof values / sizeof *values; i++) frame_put32(reply->data + 4 + 4 * i, values[i]);
    reply->size = 4 + sizeof values;
}

static void obey(uint8_t cmd, const uint8_t *payload, size_t size) {
    device_reply reply;
    int reboots = 0;
    memset(answer, 0, 12);
    reply.data = answer;
    reply.size = 4;
    working = 1;
    ends = 0;
    requests++;
    ascii_forget();
    if (cmd == DUT_STATISTICS) {
        statistics(&reply);
    } else if (cmd == DUT_CLOCK) {
        frame_put64(answer + 4, board_now());
        reply.size = 12;
    } else if (cmd == DUT_PIN || cmd == DUT_REBOOT) {
        if (size != 4 || payload[0] > 1) {
            if (size != 4) {
                device_refuse(&reply, DUT_E_LENGTH, (uint32_t)size, 4);
            } else {
                device_refuse(&reply, DUT_E_RANGE, payload[0], 1);
            }
        } else if (cmd == DUT_PIN) {
            pin_rises += payload[0];
            board_pin(payload[0]);
        } else {
            reboots = 1 + payload[0];
        }
    } else if (!model_obey(cmd, payload, size, &reply)) {
        device_refuse(&reply, DUT_E_COMMAND, cmd, 0);
    }
    working = 0;
    if (!ends) finish(cmd, &reply);
    if (reboots == 1) board_reboot(DUT_CAUSE_ASKED);
    if (reboots == 2) board_fault();
    if (hello_waits) {
        hello_waits = 0;
        hello(hello_kept);
    }
}

static int is_hello(const frame_view *view) {
    return view->cmd == DUT_HELLO && view->size == 12 &&
           view->crc == frame_sum(0, 0, DUT_HELLO, view->seq, view->payload, 12);
}

static int is_turn(const frame_view *view, uint32_t turn) {
    return session != 0 && view->seq == (uint8_t)turn &&
           view->crc == frame_sum(session, turn, view->cmd, view->seq, view->payload, view->size);
}

void device_poll(void) {
    frame_view view;
    int byte;
    while ((byte = board_get()) >= 0) {
        if (ascii_take((uint8_t)byte)) {
            memset(&reader, 0, sizeof reader);
            continue;
        }
        if (!frame_take(&reader, (uint8_t)byte, &view)) continue;
        if (is_hello(&view)) {
            hello(view.payload);
        } else if (is_turn(&view, number + 1)) {
            obey(view.cmd, view.payload, view.size);
        } else if (wire_size != 0 && is_turn(&view, number)) {
            resends++;
            board_put(wire, wire_size);
        } else {
            damaged++;
        }
    }
}

int device_breathe(uint32_t done, uint32_t total) {
    frame_view view;
    int byte;
    while ((byte = board_get()) >= 0) {
        if (!frame_take(&reader, (uint8_t)byte, &view)) continue;
        if (is_hello(&view)) {
            if ((view.payload[0] & DUT_OPEN_SESSION) != 0 && frame_u32(view.payload + 4) != session) {
                memcpy(hello_kept, view.payload, sizeof hello_kept); /* its host gave up, or is another one */
                hello_waits = ends = 1;
                return 0;
            }
            hello(view.payload);
        } else if (is_turn(&view, number + 1)) {
            uint8_t busy[12] = {DUT_BUSY}, frame[32];
            frame_put32(busy + 4, done);
            frame_put32(busy + 8, total);
            busy_told++;
            board_put(frame, frame_write(frame, session, number + 1, view.cmd | DUT_REPLY, busy, sizeof busy));
        } else {
            damaged++;
        }
    }
    return 1;
}

void device_start(int cause) {
    uint8_t told[4] = {0};
    memset(&reader, 0, sizeof reader);
    session = number = 0;
    wire_size = 0;
    working = hello_waits = 0;
    start_cause = cause;
    model_start();
    ascii_start();
    told[0] = (uint8_t)cause;
    told[1] = (uint8_t)DUT_VERSION;
    send_now(DUT_BOOTED, told, sizeof told);
}

void device_fault(uint32_t kind, uint32_t pc, uint32_t lr, uint32_t status, uint32_t address) {
    uint8_t told[20];
    frame_put32(told, kind);
    frame_put32(told + 4, pc);
    frame_put32(told + 8, lr);
    frame_put32(told + 12, status);
    frame_put32(told + 16, address);
    send_now(DUT_FAULT, told, sizeof told);
    board_reboot(DUT_CAUSE_FAULT);
}
