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
    uint8_t *work; /* what the arena has left: tokens, ticks and codes of a run, or a saved state */
    uint32_t work_bytes;
    uint32_t kept_steps; /* of the last run, whose ticks and codes stand behind its tokens */
    uint32_t kept_at;    /* where */
    uint32_t saved;      /* bytes of a state in `work` */
    int32_t block[BLOCK];
} model_store;

extern model_store store;

/* Commands that need an open model. */
void run_infer(const uint8_t *payload, size_t size, device_reply *reply);
void run_top(const uint8_t *payload, size_t size, device_reply *reply);
void run_save(device_reply *reply);
void run_restore(const uint8_t *payload, size_t size, device_reply *reply);
void engine_refused(device_reply *reply, snn_status status);

#endif
