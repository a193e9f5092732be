/* RAM that the engine takes of a model on a processor with pointers of 32 bits, reckoned on a computer. The engine
 * itself says what it takes here; what differs there is the size of three structs.
 *
 *     cc -shared -fPIC sizes.c ENGINE -o sizes.so
 */
#include <stdlib.h>

#include "../../engine/snn_internal.h"

/* Of Arm's procedure call standard (AAPCS32); a test compares with what boards say of themselves. */
#define MODEL_32   80u
#define OP_32      144u
#define CONTEXT_32 88u

static uint64_t there(uint64_t here, uint64_t size, uint64_t size_32) {
    return here - snn_aligned(size) + snn_aligned(size_32);
}

/* Bytes of the index and of one sequence; 0, or the snn_status of a model that cannot be opened. */
int board_sizes(const void *data, size_t size, uint64_t sizes[2]);
int board_sizes(const void *data, size_t size, uint64_t sizes[2]) {
    const snn_kernels *kernels = &snn_kernels_dsp;
    size_t index = 0, context = 0;
    snn_model *model = NULL;
    void *memory = NULL;
    snn_status status = snn_model_size(data, size, kernels, &index);
    if (status == SNN_OK && (memory = aligned_alloc(SNN_ALIGNMENT, snn_aligned(index))) == NULL) status = SNN_E_MEMORY;
    if (status == SNN_OK) status = snn_model_open(data, size, memory, index, kernels, &model);
    if (status == SNN_OK) status = snn_context_size(model, 1, &context);
    if (status == SNN_OK) {
        uint64_t ops = model->n_ops;
        sizes[0] = there(there(index, sizeof(snn_model), MODEL_32), ops * sizeof(snn_op), ops * OP_32);
        sizes[1] = there(context, sizeof(snn_context), CONTEXT_32);
    }
    free(memory);
    return (int)status;
}
