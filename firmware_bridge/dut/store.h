/* What model.c and run.c share: the open model and the memory that the engine left. */
#ifndef EDGESNN_DUT_STORE_H
#define EDGESNN_DUT_STORE_H

#include "../engine/snn.h"
#include "device.h"
#include "wire.h"

#define BLOCK 256u /* logits that are made together */

typedef struct model_store {
    snn_context *context;
    snn_info info;
    uint32_t unit;       /* bytes of an input: a token, or a frame */
    uint32_t row;        /* bytes that a step leaves: readout codes, or the outputs of a frame */
    uint8_t *work;       /* what the arena has left: inputs, ticks and rows of a run, or a saved state */
    uint32_t work_bytes;
    uint32_t kept_steps; /* of the last run, whose ticks stand behind its inputs */
    uint32_t kept_rows;  /* and behind them its rows: of every step, or of the last frame */
    uint32_t kept_at;    /* where the ticks stand */
    uint32_t saved;      /* bytes of a state in `work` */
    int32_t block[BLOCK];
} model_store;

extern model_store store;

/* Bytes of so many inputs, with what lies behind them aligned. */
static inline uint64_t inputs_bytes(uint32_t count) { return ((uint64_t)count * store.unit + 3u) / 4u * 4u; }
static inline int reads_frames(void) { return store.info.inputs > 0; }
static inline uint8_t *kept_row(uint32_t index) {
    return store.work + store.kept_at + 4u * (size_t)store.kept_steps + (size_t)index * store.row;
}
/* What is kept of the last run goes: something else stands in its place. */
static inline void forget_results(void) { store.kept_steps = store.kept_rows = store.saved = 0; }

/* Commands that need an open model. */
void run_infer(const uint8_t *payload, size_t size, device_reply *reply);
void run_top(const uint8_t *payload, size_t size, device_reply *reply);
void run_save(device_reply *reply);
void run_restore(const uint8_t *payload, size_t size, device_reply *reply);
void engine_refused(device_reply *reply, snn_status status);

#endif
