/* A model on the device: taken in, opened, its regions read and written. See device.h and store.h. */
#include "store.h"

#include <string.h>

#include "board.h"
#include "frame.h"

#define PIECE (64u * 1024u) /* bytes of a checksum between two looks at the line */

static uint32_t declared, declared_sum, have; /* bytes, CRC-32, bytes that came */
static snn_model *model;
static const uint8_t *place; /* where it lies: the room for models, or the firmware's own */
static uint32_t index_bytes, context_bytes;

model_store store;

/* The default first. */
#if defined(__ARM_FEATURE_DSP) && defined(__thumb2__)
const char *const model_kernels = "dsp swar reference vector";
static const snn_kernels *const sets[] = {&snn_kernels_dsp, &snn_kernels_swar, &snn_kernels_reference,
                                          &snn_kernels_vector};
#else
const char *const model_kernels = "swar reference vector dsp";
static const snn_kernels *const sets[] = {&snn_kernels_swar, &snn_kernels_reference, &snn_kernels_vector,
                                          &snn_kernels_dsp};
#endif

static uint64_t aligned(uint64_t bytes) {
    return (bytes + SNN_ALIGNMENT - 1u) / SNN_ALIGNMENT * SNN_ALIGNMENT;
}

static void forget(void) {
    model = NULL;
    store.context = NULL;
    forget_results();
}

void model_start(void) {
    declared = declared_sum = have = 0;
    place = board()->model;
    forget();
}

void model_describe(uint8_t *at) {
    at[0] = model != NULL ? 3 : have == 0 ? 0 : have == declared ? 2 : 1;
    frame_put32(at + 4, declared);
    frame_put32(at + 8, have);
    if (model != NULL) memcpy(at + 12, store.info.hash, 32);
}

/* The checksum of what lies there; 0 when another session broke it off. */
static int sum_of(const uint8_t *data, uint32_t size, uint32_t *sum) {
    uint32_t at = 0;
    *sum = 0;
    while (at < size) {
        uint32_t part = size - at < PIECE ? size - at : PIECE;
        *sum = frame_crc32(*sum, data + at, part);
        at += part;
        if (!device_breathe(at, size)) return 0;
    }
    return 1;
}

/* Whether a model lies there already: its header tells, its sum proves. */
static int lies_at(const uint8_t *data, uint32_t room, uint32_t size, uint32_t sum, const uint8_t hash[32]) {
    uint32_t found;
    return size >= 128 && size <= room && frame_u32(data + 16) == size && memcmp(data + 32, hash, 32) == 0 &&
           sum_of(data, size, &found) && found == sum;
}

/* size u32, crc u32, hash [32] of the program: how much of this model is there already. */
static void begin(const uint8_t *payload, size_t size, device_reply *reply) {
    const board_facts *facts = board();
    uint32_t wanted, sum;
    uint8_t hash[32];
    if (size != 40) {
        device_refuse(reply, DUT_E_LENGTH, (uint32_t)size, 40);
        return;
    }
    wanted = frame_u32(payload);
    sum = frame_u32(payload + 4);
    memcpy(hash, payload + 8, sizeof hash);
    if (wanted != declared || sum != declared_sum) {
        int built_in = lies_at(facts->image, facts->image_bytes, wanted, sum, hash);
        if (!built_in && wanted > facts->model_bytes) {
            device_refuse(reply, DUT_E_SPACE, wanted, facts->model_bytes);
            return;
        }
        forget();
        place = built_in ? facts->image : facts->model;
        declared = wanted;
        declared_sum = sum;
        /* A loader, or a session before a restart, may have put it into the room for models. */
        have = built_in || lies_at(facts->model, facts->model_bytes, wanted, sum, hash) ? wanted : 0;
    }
    frame_put32(reply->data + 4, have);
    frame_put32(reply->data + 8, facts->model_bytes);
    reply->size = 12;
}

void engine_refused(device_reply *reply, snn_status status) {
    device_refuse(reply, status == SNN_E_MEMORY ? DUT_E_SPACE : DUT_E_ENGINE, (uint32_t)status, 0);
}

/* What OPEN needs of the arena, in order: the engine's index, one context; the rest is for results. */
static snn_status open_model(const snn_kernels *kernels, uint32_t *needs) {
    const board_facts *facts = board();
    size_t bytes = 0;
    snn_status status = snn_model_size(place, declared, kernels, &bytes);
    if (status != SNN_OK) return status;
    *needs = bytes > UINT32_MAX / 2u ? UINT32_MAX : (uint32_t)bytes;
    if (bytes > facts->arena_bytes) return SNN_E_MEMORY;
    index_bytes = (uint32_t)bytes;
    status = snn_model_open(place, declared, facts->arena, bytes, kernels, &model);
    if (status == SNN_OK) status = snn_context_size(model, 1, &bytes);
    if (status != SNN_OK) return status;
    *needs = bytes > UINT32_MAX / 2u ? UINT32_MAX : (uint32_t)aligned(index_bytes) + (uint32_t)bytes;
    if (bytes > facts->arena_bytes || aligned(index_bytes) + bytes > facts->arena_bytes) return SNN_E_MEMORY;
    context_bytes = (uint32_t)bytes;
    store.work = facts->arena + aligned(index_bytes) + aligned(context_bytes);
    store.work_bytes = (uint32_t)(facts->arena + facts->arena_bytes - store.work);
    if (aligned(index_bytes) + aligned(context_bytes) > facts->arena_bytes) store.work_bytes = 0;
    snn_model_info(model, &store.info);
    store.unit = reads_frames() ? store.info.inputs : 4u;
    store.row = reads_frames() ? 4u * store.info.outputs : store.info.rank;
    return snn_context_open(model, 1, facts->arena + aligned(index_bytes), bytes, &store.context);
}

static int find_at(const uint8_t *data, uint32_t room) {
    uint32_t size, needs;
    if (room < 128 || memcmp(data, "EDGESNN", 8) != 0) return 0;
    size = frame_u32(data + 16);
    if (size < 128 || size > room) return 0;
    place = data;
    declared = have = size;
    declared_sum = frame_crc32(0, data, size);
    if (open_model(sets[0], &needs) == SNN_OK) return 1; /* the engine looks at the model's own sum */
    model_start();
    return 0;
}

int model_find(void) {
    const board_facts *facts = board();
    uint32_t needs;
    if (model != NULL) return 1;
    if (declared != 0) { /* of a session */
        if (have != declared) return 0; /* a part of one is there */
        if (open_model(sets[0], &needs) == SNN_OK) return 1;
        model_start();
        return 0;
    }
    return find_at(facts->image, facts->image_bytes) || find_at(facts->model, facts->model_bytes);
}

static void open_it(const uint8_t *payload, size_t size, device_reply *reply) {
    uint32_t sum, needs = 0;
    uint8_t *at = reply->data;
    unsigned set;
    snn_status status;
    if (size != 4 || payload[0] >= sizeof sets / sizeof *sets) {
        device_refuse(reply, DUT_E_RANGE, size != 4 ? (uint32_t)size : payload[0], sizeof sets / sizeof *sets - 1);
        return;
    }
    set = payload[0];
    if (have == 0 || have != declared) {
        device_refuse(reply, DUT_E_ORDER, have, declared);
        return;
    }
    forget();
    if (!sum_of(place, declared, &sum)) return;
    if (sum != declared_sum) {
        device_refuse(reply, DUT_E_SUM, sum, declared_sum);
        if (place == board()->model) {
            have = 0; /* it can be sent again */
        } else {
            model_start();
        }
        return;
    }
    status = open_model(sets[set], &needs);
    if (status != SNN_OK) {
        forget();
        if (status == SNN_E_MEMORY) {
            device_refuse(reply, DUT_E_SPACE, needs, board()->arena_bytes);
        } else {
            engine_refused(reply, status);
        }
        return;
    }
    frame_put32(at + 4, store.info.vocab);
    frame_put32(at + 8, store.info.rank);
    frame_put32(at + 12, store.info.timesteps);
    frame_put32(at + 16, store.info.window);
    frame_put32(at + 20, (uint32_t)store.info.exponent);
    frame_put32(at + 24, (uint32_t)store.info.state_bytes);
    frame_put32(at + 28, index_bytes);
    frame_put32(at + 32, context_bytes);
    frame_put32(at + 36, store.work_bytes);
    memcpy(at + 40, store.info.hash, 32);
    frame_put32(at + 72, store.info.inputs);
    frame_put32(at + 76, store.info.outputs);
    reply->size = 80;
}

/* A state of tokens is bits, eight of its elements a byte; one of frames is numbers, as they lie. */
static uint32_t state_wire_bytes(uint32_t elements) { return reads_frames() ? elements : (elements + 7u) / 8u; }

static void write_region(const uint8_t *payload, size_t size, device_reply *reply) {
    const uint8_t *data = payload + 8;
    uint32_t offset, count, whole, i;
    if (size < 9) {
        device_refuse(reply, DUT_E_LENGTH, (uint32_t)size, 9);
        return;
    }
    offset = frame_u32(payload + 4);
    count = (uint32_t)size - 8u;
    if (payload[0] == DUT_MODEL) {
        if (offset != have || count > declared - have) {
            device_refuse(reply, offset != have ? DUT_E_ORDER : DUT_E_RANGE, offset != have ? offset : count,
                          offset != have ? have : declared - have);
            return;
        }
        forget();
        memcpy(board()->model + offset, data, count);
        have += count;
    } else if (payload[0] == DUT_INPUTS && model != NULL) {
        if (!reads_frames() && (offset % 4u != 0 || count % 4u != 0)) {
            device_refuse(reply, DUT_E_RANGE, offset, 4);
            return;
        }
        if (offset > store.work_bytes || count > store.work_bytes - offset) {
            device_refuse(reply, DUT_E_SPACE, offset + count, store.work_bytes);
            return;
        }
        forget_results();
        memcpy(store.work + offset, data, count);
    } else if (payload[0] == DUT_STATE && model != NULL) {
        if (store.info.state_bytes > store.work_bytes) {
            device_refuse(reply, DUT_E_SPACE, (uint32_t)store.info.state_bytes, store.work_bytes);
            return;
        }
        whole = state_wire_bytes((uint32_t)store.info.state_bytes);
        if (offset > whole || count > whole - offset) {
            device_refuse(reply, DUT_E_RANGE, offset + count, whole);
            return;
        }
        forget_results();
        store.saved = (uint32_t)store.info.state_bytes;
        if (reads_frames()) memcpy(store.work + offset, data, count);
        for (i = 0; !reads_frames() && i < 8u * count; i++) { /* a byte of the wire is eight of the state, lowest bit first */
            size_t at = 8u * (size_t)offset + i;
            if (at < store.saved) store.work[at] = (uint8_t)(data[i / 8u] >> (i % 8u) & 1u);
        }
    } else {
        device_refuse(reply, payload[0] - 2u < 2u ? DUT_E_MODEL : DUT_E_RANGE, payload[0], DUT_STATE);
        return;
    }
    frame_put32(reply->data + 4, offset + count);
    reply->size = 8;
}

static size_t region_size(uint8_t region) {
    switch (region) {
    case DUT_STATE: return state_wire_bytes(store.saved);
    case DUT_LOGITS:
        return !reads_frames() ? (size_t)store.info.vocab * 4u : store.kept_rows > 0 ? store.row : 0;
    case DUT_CODES: return (size_t)store.kept_rows * store.row;
    case DUT_TICKS: return (size_t)store.kept_steps * 4u;
    default: return 0;
    }
}

static void read_region(const uint8_t *payload, size_t size, device_reply *reply) {
    uint32_t offset, count, i;
    uint8_t *out = reply->data + 4;
    size_t whole;
    if (size != 12) {
        device_refuse(reply, DUT_E_LENGTH, (uint32_t)size, 12);
        return;
    }
    if (model == NULL) {
        device_refuse(reply, DUT_E_MODEL, 0, 0);
        return;
    }
    offset = frame_u32(payload + 4);
    count = frame_u32(payload + 8);
    whole = region_size(payload[0]);
    if (count < 1 || count > DUT_PAYLOAD_MAX - 4u || offset > whole || count > whole - offset) {
        device_refuse(reply, DUT_E_RANGE, offset, (uint32_t)whole);
        return;
    }
    if (reads_frames()) {
        const uint8_t *from = payload[0] == DUT_STATE    ? store.work
                              : payload[0] == DUT_TICKS  ? store.work + store.kept_at
                              : payload[0] == DUT_LOGITS ? kept_row(store.kept_rows - 1u)
                                                         : kept_row(0);
        memcpy(out, from + offset, count);
    } else if (payload[0] == DUT_STATE) {
        memset(out, 0, count);
        for (i = 0; i < 8u * count && 8u * (size_t)offset + i < store.saved; i++) {
            out[i / 8u] |= (uint8_t)((store.work[8u * (size_t)offset + i] & 1u) << (i % 8u));
        }
    } else if (payload[0] == DUT_LOGITS) {
        snn_status status;
        uint32_t first = offset / 4u, done = 0;
        if (offset % 4u != 0 || count % 4u != 0) {
            device_refuse(reply, DUT_E_RANGE, offset, 4);
            return;
        }
        while (done < count / 4u) {
            uint32_t part = count / 4u - done < BLOCK ? count / 4u - done : BLOCK;
            status = snn_logits_range(store.context, first + done, part, store.block);
            if (status != SNN_OK) {
                engine_refused(reply, status);
                return;
            }
            for (i = 0; i < part; i++) frame_put32(out + 4u * (size_t)(done + i), (uint32_t)store.block[i]);
            done += part;
        }
    } else {
        memcpy(out, (payload[0] == DUT_TICKS ? store.work + store.kept_at : kept_row(0)) + offset, count);
    }
    reply->size = 4u + count;
}

int model_obey(uint8_t command, const uint8_t *payload, size_t size, device_reply *reply) {
    switch (command) {
    case DUT_BEGIN: begin(payload, size, reply); return 1;
    case DUT_WRITE: write_region(payload, size, reply); return 1;
    case DUT_OPEN: open_it(payload, size, reply); return 1;
    case DUT_READ: read_region(payload, size, reply); return 1;
    case DUT_RESET:
    case DUT_INFER:
    case DUT_TOP:
    case DUT_SAVE:
    case DUT_RESTORE: break;
    default: return 0;
    }
    if (model == NULL) {
        device_refuse(reply, DUT_E_MODEL, 0, 0);
    } else if (command == DUT_RESET) {
        snn_reset(store.context);
    } else if (command == DUT_INFER) {
        run_infer(payload, size, reply);
    } else if (command == DUT_TOP) {
        run_top(payload, size, reply);
    } else if (command == DUT_SAVE) {
        run_save(reply);
    } else {
        run_restore(payload, size, reply);
    }
    return 1;
}
