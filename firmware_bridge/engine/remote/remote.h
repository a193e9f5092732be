/* snn_remote: the engine on a device that is reached by a byte stream (adb, ssh), one program, one process.
 *
 *     snn_remote PROGRAM KERNELS FOLDER
 *
 * maps PROGRAM, takes command frames from standard input and answers with frames on standard output until
 * REMOTE_END or the end of the input. A file of command frames is a job: `snn_remote ... < job > results`.
 * KERNELS is a name or "-" for the default. FOLDER is the folder of this session or "-": while the process
 * lives it holds a lock there, and however it ends it removes the folder's files (a signal that cannot be
 * caught excepted: then the next session on the device does, see remote_reap).
 *
 * A frame is five little-endian words and its payload:
 *
 *     "SNRF"  type  sequence  length  CRC-32 of type, sequence, length and payload
 *
 * A reply carries the sequence number of its command. Every command is answered by one REMOTE_DONE or
 * REMOTE_FAILED, with any number of data frames before it. REMOTE_DONE begins with the SHA-256 of everything
 * that this process wrote before that frame: a stream that lost, doubled or changed a byte is found.
 */
#ifndef EDGESNN_REMOTE_H
#define EDGESNN_REMOTE_H

#include <stddef.h>
#include <stdint.h>

#include "sha256.h"

#define REMOTE_PROTOCOL    1u
#define REMOTE_HEADER      20u
#define REMOTE_REQUEST_MAX (16u << 20)
/* Data frames of long answers hold at most this many bytes. */
#define REMOTE_PART (1u << 16)
/* Most steps of a window: their stamps and codes stay in memory until it ends. */
#define REMOTE_WINDOW_MAX (1u << 22)
/* A folder whose process is dead is left alone for this long: its process may be about to start. */
#define REMOTE_GRACE_S    5
#define REMOTE_NO_LOCK_S  600
#define REMOTE_PREFIX     "edgesnn-"
#define REMOTE_PATH_MAX   512u

/* Of a program that reads frames, frames int8 [inputs] stand where tokens do, without gaps. */
enum { /* commands; u32 words unless said otherwise */
    REMOTE_HELLO = 1, /* -> TEXT "key=value" lines */
    REMOTE_RESET,     /* a new context */
    REMOTE_STEP,      /* token -> LOGITS of it; DONE with start and end */
    REMOTE_PREFILL,   /* tokens -> LOGITS of the last; the context goes on after them */
    REMOTE_SEQUENCE,  /* tokens -> LOGITS of each; the context is left alone */
    REMOTE_WINDOW,    /* repeat, warmup, tokens -> STAMPS; DONE with start, end and what is in `window` */
    REMOTE_PLAY,      /* pairs of busy and milliseconds */
    REMOTE_CLOCK,     /* DONE with start = end = now */
    REMOTE_FILES,     /* text: one glob pattern per line -> FILE for every match */
    REMOTE_AFFINITY,  /* processor numbers; none for all */
    REMOTE_END,       /* DONE, then the process ends */
    REMOTE_EXTEND,    /* tokens -> LOGITS of the last, behind the context that is there */
    REMOTE_SAVE,      /* STATE; DONE with u64 position */
    REMOTE_RESTORE    /* u64 position and the bytes of a STATE */
};
enum { /* replies */
    REMOTE_TEXT = 64,
    REMOTE_LOGITS, /* int32 [vocab], or [outputs] of a frame */
    REMOTE_STAMPS, /* u64 pairs: before and after each step, CLOCK_MONOTONIC in ns */
    REMOTE_FILE,   /* path, a zero byte, at most 4096 bytes of the file */
    REMOTE_DONE,   /* 32 bytes SHA-256, u64 start, u64 end, and after a window the block below */
    REMOTE_FAILED, /* text */
    REMOTE_STATE   /* what snn_save writes */
};

/* What REMOTE_DONE of a window carries besides: SHA-256 of all logits in order, processor and its frequency
 * in kHz (0 where the system does not tell) at the start and at the end. */
typedef struct remote_window {
    uint8_t logits[32];
    uint32_t cpu_start, khz_start, cpu_end, khz_end;
} remote_window;

/* Reads one command: its type, or 0 at the end of the input, or -1 when it is no frame. */
int remote_read(uint32_t *sequence, uint8_t **payload, uint32_t *length);
/* Every write answers 0 when nobody listens any more. */
int remote_write(uint32_t type, uint32_t sequence, const void *payload, size_t length);
int remote_done(uint32_t sequence, uint64_t start, uint64_t end, const void *more, size_t length);
int remote_failed(uint32_t sequence, const char *text);
uint32_t remote_u32(const uint8_t *at);
void remote_put32(uint8_t *at, uint32_t value);
void remote_put64(uint8_t *at, uint64_t value);

uint64_t remote_now(void);
/* Where this thread runs, and how fast that processor is said to run: kHz or 0. */
void remote_cpu(uint32_t *cpu, uint32_t *khz);
/* 0 when the system refuses. No processors: all that were there at the start. */
int remote_affinity(const uint8_t *words, uint32_t count);
int remote_files(uint32_t sequence, char *patterns);
/* A line of /proc/self/status in kilobytes, or 0. */
uint64_t remote_status_kb(const char *key);
/* The name of the emulator that runs this program, or "". */
void remote_emulator(char *name, size_t size);

/* Takes the folder's lock and arranges for its removal; 0 when another process holds it. */
int remote_folder(const char *folder);
void remote_clean(void);
/* Removes folders beside `folder` whose process is dead; how many. */
uint32_t remote_reap(const char *folder);

#endif
