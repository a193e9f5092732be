/* The engine as a WebAssembly module: one student and one context an instance, all memory its own.
 *
 * The page reserves room, copies program.snn there and calls snn_web_open; the addresses of the buffers that
 * it reads and writes do not change from then on. Numbers are unsigned 32-bit words: a page holds no more. */
#include "snn_internal.h"

#define EXPORT(name) __attribute__((export_name(#name)))
#define PAGE         65536u

extern unsigned char __heap_base;

static size_t used; /* first free byte, 0 before the first call */
static snn_model *model;
static snn_context *context;

/* What a page asks for once. Addresses are bytes from the start of the memory. */
static struct facts {
    uint32_t timesteps, vocab, rank, window, exponent, chunk;
    uint32_t tokens;  /* uint32 [chunk], what snn_web_prefill and snn_web_sequence read */
    uint32_t logits;  /* int32 [chunk][vocab] */
    uint32_t codes;   /* int8 [rank], of the last token or of snn_web_logits_of */
    uint32_t top;     /* uint32 [SNN_TOP_MAX] ids, then int32 [SNN_TOP_MAX] logits */
    uint32_t state;   /* uint8 [state_bytes] */
    uint32_t state_bytes;
    uint32_t hash;    /* uint8 [32] */
    uint32_t kernels; /* text, ended by 0 */
} facts;

static void *at(uint32_t address) { return (void *)(size_t)address; }
static uint32_t address_of(const void *p) { return (uint32_t)(size_t)p; }

/* Room for `bytes`, aligned for the engine; 0 when the browser gives no more memory. */
EXPORT(reserve) uint32_t snn_web_reserve(uint32_t bytes) {
    size_t start = (used ? used : (size_t)&__heap_base) + (SNN_ALIGNMENT - 1);
    size_t pages = __builtin_wasm_memory_size(0), end;
    start = start / SNN_ALIGNMENT * SNN_ALIGNMENT;
    if (bytes > 0xFFFFFFFFu - PAGE - start) return 0;
    end = start + bytes;
    if (end > pages * PAGE) {
        size_t more = (end - pages * PAGE + PAGE - 1) / PAGE;
        if (__builtin_wasm_memory_grow(0, more) == (size_t)-1) return 0;
    }
    used = end;
    return (uint32_t)start;
}

/* Open the program of `size` bytes that lies at `data`. */
EXPORT(open) uint32_t snn_web_open(uint32_t data, uint32_t size, uint32_t chunk) {
    snn_info info;
    size_t bytes;
    uint32_t room;
    snn_status status = snn_model_size(at(data), size, SNN_KERNELS_DEFAULT, &bytes);
    if (status != SNN_OK) return status;
    if (bytes > 0xFFFFFFFFu || (room = snn_web_reserve((uint32_t)bytes)) == 0) return SNN_E_MEMORY;
    status = snn_model_open(at(data), size, at(room), bytes, SNN_KERNELS_DEFAULT, &model);
    if (status != SNN_OK) return status;
    status = snn_context_size(model, chunk, &bytes);
    if (status != SNN_OK) return status;
    if (bytes > 0xFFFFFFFFu || (room = snn_web_reserve((uint32_t)bytes)) == 0) return SNN_E_MEMORY;
    status = snn_context_open(model, chunk, at(room), bytes, &context);
    if (status != SNN_OK) return status;
    snn_model_info(model, &info);
    facts.timesteps = info.timesteps;
    facts.vocab = info.vocab;
    facts.rank = info.rank;
    facts.window = info.window;
    facts.exponent = (uint32_t)info.exponent;
    facts.chunk = chunk;
    facts.state_bytes = (uint32_t)info.state_bytes;
    facts.codes = address_of(snn_codes(context));
    facts.hash = address_of(info.hash);
    facts.kernels = address_of(info.kernels);
    if ((uint64_t)chunk * info.vocab * 4 > 0xFFFFFFFFu || info.state_bytes > 0xFFFFFFFFu) return SNN_E_MEMORY;
    facts.tokens = snn_web_reserve(chunk * 4);
    facts.logits = snn_web_reserve(chunk * info.vocab * 4);
    facts.top = snn_web_reserve(SNN_TOP_MAX * 8);
    facts.state = snn_web_reserve(facts.state_bytes);
    return facts.tokens && facts.logits && facts.top && facts.state ? SNN_OK : SNN_E_MEMORY;
}

EXPORT(facts) uint32_t snn_web_facts(void) { return address_of(&facts); }
EXPORT(status_name) uint32_t snn_web_status_name(uint32_t status) {
    return address_of(snn_status_name((snn_status)status));
}
EXPORT(reset) void snn_web_reset(void) { snn_reset(context); }

/* One token; its logits are the first row. */
EXPORT(step) uint32_t snn_web_step(uint32_t token) { return snn_step(context, token, at(facts.logits)); }

/* `count` tokens of the buffer; logits of the last one, where they are wanted. */
EXPORT(prefill) uint32_t snn_web_prefill(uint32_t count, uint32_t wanted) {
    if (count > facts.chunk) return SNN_E_ARGUMENT;
    return snn_prefill(context, at(facts.tokens), count, wanted ? at(facts.logits) : NULL);
}

/* `count` tokens of the buffer; logits of all of them. */
EXPORT(sequence) uint32_t snn_web_sequence(uint32_t count) {
    if (count > facts.chunk) return SNN_E_ARGUMENT;
    return snn_sequence(context, at(facts.tokens), count, at(facts.logits));
}

/* Logits of the codes that the page put back. */
EXPORT(logits_of) uint32_t snn_web_logits_of(void) {
    return snn_logits_of(context, at(facts.codes), at(facts.logits));
}

EXPORT(top) uint32_t snn_web_top(uint32_t k) {
    return snn_top(context, k, at(facts.top), (int32_t *)at(facts.top) + SNN_TOP_MAX);
}

EXPORT(save) uint32_t snn_web_save(void) {
    uint64_t position;
    return snn_save(context, 1, at(facts.state), &position);
}

EXPORT(restore) uint32_t snn_web_restore(void) { return snn_restore(context, at(facts.state), 0); }

/* Copies and fills that are too long to be written out. Without these names the module would import them; a
 * compiler that knew the loops for what they are would call the function inside itself. */
#undef memcpy
#undef memset
#undef memcmp

__attribute__((no_builtin)) void *memcpy(void *to, const void *from, size_t bytes) {
    unsigned char *t = to;
    const unsigned char *f = from;
    while (bytes--) *t++ = *f++;
    return to;
}

__attribute__((no_builtin)) void *memset(void *to, int value, size_t bytes) {
    unsigned char *t = to;
    while (bytes--) *t++ = (unsigned char)value;
    return to;
}

__attribute__((no_builtin)) int memcmp(const void *one, const void *other, size_t bytes) {
    const unsigned char *a = one, *b = other;
    for (; bytes; bytes--, a++, b++) {
        if (*a != *b) return *a < *b ? -1 : 1;
    }
    return 0;
}
