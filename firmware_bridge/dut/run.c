/* Running tokens or frames on the open model, and what is asked of its context. See store.h. */
#include <string.h>

#include "../engine/remote/sha256.h"
#include "board.h"
#include "frame.h"
#include "store.h"

/* One request to run tokens or frames. */
typedef struct job {
    uint32_t count, repeat, warmup, steps, total; /* steps: that are reported; total: with the warm-up */
    uint32_t done;
    int all, spikes, marks;
    uint64_t start, end;
    uint32_t best;
} job;

/* The work area of a run: its inputs, the ticks of every step, what every step or the last frame left. */
static uint8_t *input_of(uint32_t index) { return store.work + (size_t)index * store.unit; }
static uint8_t *ticks_of(const job *run) { return store.work + inputs_bytes(run->count); }
static uint8_t *row_of(const job *run, uint32_t step) {
    return ticks_of(run) + (run->all ? 4u * (size_t)run->steps + (size_t)step * store.row : 0);
}

static snn_status run_input(job *run, uint32_t input, uint32_t step) {
    snn_status status;
    if (reads_frames()) { /* rows are aligned as int32: the work area is, and all that stands before them */
        int32_t *out = (int32_t *)(void *)row_of(run, step);
        return snn_frames(store.context, (const int8_t *)input_of(input), 1, out, 0);
    }
    status = snn_step(store.context, frame_u32(input_of(input)), NULL);
    /* Logits of every step are made where all of them are asked for, as in any other engine's step. */
    if (status == SNN_OK && (run->all || run->done + 1u == run->total)) run->best = snn_argmax(store.context);
    return status;
}

static snn_status run_step(job *run, uint32_t input, int counted) {
    uint32_t at = counted ? run->done - (run->total - run->steps) : 0;
    uint64_t before = board_now(), after;
    snn_status status = run_input(run, input, at);
    after = board_now();
    if (counted) {
        if (at == 0) run->start = before;
        run->end = after;
        if (run->all) {
            uint64_t took = after - before;
            frame_put32(ticks_of(run) + 4u * (size_t)at, took > UINT32_MAX ? UINT32_MAX : (uint32_t)took);
            if (!reads_frames()) memcpy(row_of(run, at), snn_codes(store.context), store.row);
        }
    }
    run->done++;
    return status;
}

/* 1 when it ran to its end. */
static int run_all(job *run, int fresh, snn_status *status) {
    uint32_t pass, i, passes = run->repeat == 0 ? 1 : run->repeat;
    for (i = 0; i < run->warmup; i++) {
        *status = run_step(run, i % run->count, 0);
        if (*status != SNN_OK || !device_breathe(run->done, run->total)) return 0;
    }
    snn_count_spikes(store.context, run->spikes);
    if (run->marks) board_pin(1);
    for (pass = 0; pass < passes; pass++) {
        if (fresh) snn_reset(store.context);
        for (i = 0; i < run->count; i++) {
            *status = run_step(run, i, 1);
            if (*status != SNN_OK || !device_breathe(run->done, run->total)) return 0;
        }
    }
    return 1;
}

/* Little-endian, as the hash and the line want them, whatever this processor's order. */
static void order_bytes(int32_t *values, uint32_t count) {
    uint32_t c;
    for (c = 0; c < count; c++) {
        uint8_t bytes[4];
        frame_put32(bytes, (uint32_t)values[c]);
        memcpy(&values[c], bytes, 4);
    }
}

/* SHA-256 of all outputs of frames in order, little-endian int32. */
static int hash_outputs(const job *run, uint8_t digest[32]) {
    uint32_t steps = run->all ? run->steps : 1, i;
    remote_sha sha;
    remote_sha_start(&sha);
    for (i = 0; i < steps; i++) {
        order_bytes((int32_t *)(void *)row_of(run, i), store.info.outputs);
        remote_sha_add(&sha, row_of(run, i), store.row);
        if (!device_breathe(i + 1, steps)) return 0;
    }
    remote_sha_digest(&sha, digest);
    return 1;
}

/* SHA-256 of all logits in order, little-endian int32, made again from what every step left. */
static int hash_logits(const job *run, uint8_t digest[32]) {
    uint32_t steps = run->all ? run->steps : 1, i, first;
    remote_sha sha;
    remote_sha_start(&sha);
    for (i = 0; i < steps; i++) {
        if (run->all) (void)snn_recall(store.context, (const int8_t *)row_of(run, i));
        for (first = 0; first < store.info.vocab; first += BLOCK) {
            uint32_t part = store.info.vocab - first < BLOCK ? store.info.vocab - first : BLOCK;
            (void)snn_logits_range(store.context, first, part, store.block);
            order_bytes(store.block, part);
            remote_sha_add(&sha, store.block, (size_t)part * 4u);
        }
        if (!device_breathe(i + 1, steps)) return 0;
    }
    remote_sha_digest(&sha, digest);
    return 1;
}

static int take_job(job *run, const uint8_t *payload, size_t size, device_reply *reply) {
    uint32_t given = (uint32_t)(size - 16u) / store.unit;
    uint64_t steps, room;
    memset(run, 0, sizeof *run);
    run->count = frame_u32(payload + 4);
    run->repeat = frame_u32(payload + 8);
    run->warmup = frame_u32(payload + 12);
    run->all = (payload[0] & DUT_ALL) != 0 || run->repeat != 0;
    run->spikes = (payload[0] & DUT_SPIKES) != 0;
    run->marks = (payload[0] & DUT_MARK) != 0;
    steps = (uint64_t)run->count * (run->repeat == 0 ? 1u : run->repeat);
    if (run->count < 1 || given > run->count || steps + run->warmup > UINT32_MAX ||
        (run->warmup != 0 && run->repeat == 0)) {
        device_refuse(reply, DUT_E_RANGE, run->count, UINT32_MAX);
        return 0;
    }
    room = run->all ? steps * (4u + (uint64_t)store.row) : reads_frames() ? store.row : 0;
    room += inputs_bytes(run->count);
    if (room > store.work_bytes) {
        device_refuse(reply, DUT_E_SPACE, room > UINT32_MAX ? UINT32_MAX : (uint32_t)room, store.work_bytes);
        return 0;
    }
    memcpy(store.work, payload + 16, (size_t)given * store.unit);
    run->steps = (uint32_t)steps;
    run->total = run->steps + run->warmup;
    return 1;
}

void run_infer(const uint8_t *payload, size_t size, device_reply *reply) {
    job run;
    uint8_t *at = reply->data, digest[32];
    int whole, fresh;
    snn_status status = SNN_OK;
    if (size < 16 || (size - 16) % store.unit != 0 || size > 16 + DUT_INLINE_BYTES) {
        device_refuse(reply, DUT_E_LENGTH, (uint32_t)size, 16 + DUT_INLINE_BYTES);
        return;
    }
    if (!take_job(&run, payload, size, reply)) return;
    forget_results();
    fresh = (payload[0] & DUT_FRESH) != 0 || run.repeat != 0;
    if (fresh) snn_reset(store.context);
    whole = run_all(&run, fresh, &status);
    if (run.marks) board_pin(0);
    if (status != SNN_OK) {
        engine_refused(reply, status);
        return;
    }
    whole = whole && (reads_frames() ? hash_outputs(&run, digest) : hash_logits(&run, digest));
    if (!whole) return; /* another session begins: nobody reads this reply */
    store.kept_steps = run.all ? run.steps : 0;
    store.kept_rows = run.all ? run.steps : (uint32_t)reads_frames();
    store.kept_at = (uint32_t)inputs_bytes(run.count);
    frame_put32(at + 4, run.steps);
    frame_put64(at + 8, run.start);
    frame_put64(at + 16, run.end);
    frame_put64(at + 24, snn_spikes(store.context));
    memcpy(at + 32, digest, 32);
    frame_put32(at + 64, run.best);
    reply->size = 68u;
    if (store.row <= DUT_PAYLOAD_MAX - 68u) { /* codes always are; wide outputs are read */
        const void *codes = snn_codes(store.context);
        memcpy(at + 68, reads_frames() ? kept_row(store.kept_rows - 1u) : codes, store.row);
        reply->size += store.row;
    }
    if (run.repeat != 0) snn_reset(store.context);
}

void run_top(const uint8_t *payload, size_t size, device_reply *reply) {
    uint32_t ids[SNN_TOP_MAX], k = size == 4 ? frame_u32(payload) : 0, i;
    int32_t values[SNN_TOP_MAX];
    snn_status status;
    if (k < 1 || k > SNN_TOP_MAX) {
        device_refuse(reply, DUT_E_RANGE, k, SNN_TOP_MAX);
        return;
    }
    status = snn_top(store.context, k, ids, values);
    if (status != SNN_OK) {
        engine_refused(reply, status);
        return;
    }
    for (i = 0; i < k; i++) {
        frame_put32(reply->data + 4 + 8u * (size_t)i, ids[i]);
        frame_put32(reply->data + 8 + 8u * (size_t)i, (uint32_t)values[i]);
    }
    reply->size = 4 + 8 * k;
}

void run_save(device_reply *reply) {
    uint64_t position = 0;
    if (store.info.state_bytes > store.work_bytes) {
        device_refuse(reply, DUT_E_SPACE, (uint32_t)store.info.state_bytes, store.work_bytes);
        return;
    }
    forget_results();
    (void)snn_save(store.context, 0, store.work, &position);
    store.saved = (uint32_t)store.info.state_bytes;
    frame_put32(reply->data + 4, store.saved);
    frame_put64(reply->data + 8, position);
    reply->size = 16;
}

void run_restore(const uint8_t *payload, size_t size, device_reply *reply) {
    snn_status status;
    if (size != 8 || store.saved != store.info.state_bytes) {
        device_refuse(reply, size != 8 ? DUT_E_LENGTH : DUT_E_ORDER, size != 8 ? (uint32_t)size : store.saved,
                      size != 8 ? 8 : (uint32_t)store.info.state_bytes);
        return;
    }
    status = snn_restore(store.context, store.work, frame_u32(payload) | (uint64_t)frame_u32(payload + 4) << 32);
    if (status != SNN_OK) engine_refused(reply, status);
}
