/* What a chip gives to board.c and startup.c, and the registers that every Cortex-M has. */
#ifndef EDGESNN_BOARD_CHIP_H
#define EDGESNN_BOARD_CHIP_H

#include <stdint.h>

#include BOARD_HEADER

#ifndef BOARD_BAUD
#define BOARD_BAUD 115200u
#endif

#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))

#define SYST_CSR       REGISTER(0xE000E010)
#define SYST_RVR       REGISTER(0xE000E014)
#define SYST_CVR       REGISTER(0xE000E018)
#define NVIC_ENABLE(n) REGISTER(0xE000E100 + 4 * ((n) / 32))
#define SCB_ICSR       REGISTER(0xE000ED04)
#define SCB_VTOR       REGISTER(0xE000ED08)
#define SCB_AIRCR      REGISTER(0xE000ED0C)
#define SCB_CCR        REGISTER(0xE000ED14)
#define SCB_SHCSR      REGISTER(0xE000ED24)
#define SCB_CFSR       REGISTER(0xE000ED28)
#define SCB_BFAR       REGISTER(0xE000ED38)
#define SCB_CPACR      REGISTER(0xE000ED88)

static inline void quiet(void) { __asm__ volatile("cpsid i" ::: "memory"); }
static inline void loud(void) { __asm__ volatile("cpsie i" ::: "memory"); }

/* --- one file for each chip; also board_now and board_pin of ../board.h --- */

/* Clocks, UART with the interrupt of its receiver, clock of time, marker pin. */
void chip_start(void);
#define CHIP_LOST 0x100 /* in a byte: others before it were lost */
/* The next byte of the receiver, or -1. */
int chip_take(void);
/* Gives a byte to the transmitter; 0 when it is full. */
int chip_give(uint8_t byte);
/* Whether an interrupt shall come when the transmitter has room. */
void chip_sends(int on);
/* Whether the transmitter is still at work. */
int chip_busy(void);
/* Whether the firmware started itself, so that memory has what it had. */
int chip_restarted(void);
/* The interrupt of SysTick, where the chip's clock needs it. */
void chip_tick(void);

/* --- board.c and startup.c --- */

void uart_interrupt(void);
void fault(const uint32_t *frame, uint32_t kind);
int main(void);

#endif
