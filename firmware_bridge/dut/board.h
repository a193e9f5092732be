/* What a board gives to the firmware: one small file each in boards/, and host/loopback.c for a computer. */
#ifndef EDGESNN_DUT_BOARD_H
#define EDGESNN_DUT_BOARD_H

#include <stddef.h>
#include <stdint.h>

typedef struct board_facts {
    const char *name;
    uint32_t tick_hz;     /* of board_now */
    uint32_t cpu_hz;      /* 0 where it is not known */
    uint8_t *model;       /* where a model lies or is written to; 64-byte aligned */
    uint32_t model_bytes;
    uint8_t *arena; /* for the engine's index, context and results; 64-byte aligned */
    uint32_t arena_bytes;
    uint32_t flash_bytes;  /* of code and constants */
    uint32_t static_bytes; /* RAM of variables and stack, without the two above */
    const uint8_t *image;  /* a model that is part of the firmware, read in place; 64-byte aligned */
    uint32_t image_bytes;  /* 0 where there is none */
} board_facts;

const board_facts *board(void);

/* The next byte that came, or -1. */
int board_get(void);
/* Bytes that came when there was no room for them, so far. */
uint32_t board_dropped(void);
void board_put(const uint8_t *data, size_t size);
/* Sleeps until something may have come. */
void board_wait(void);
uint64_t board_now(void);
void board_pin(int high);
/* Bytes of stack that were ever used, or 0 where nobody looks. */
uint32_t board_stack_used(void);
/* Starts again and tells `cause` to device_start. */
void board_reboot(int cause);
/* Provokes a fault of the processor: a test of the way that one is told by. */
void board_fault(void);

#endif
