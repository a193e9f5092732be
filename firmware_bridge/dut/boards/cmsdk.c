/* UART, microsecond clock and marker of Arm's MPS boards: the CMSDK peripherals. See chip.h. */
#include "../board.h"
#include "chip.h"

#define UART_DATA  REGISTER(BOARD_UART + 0x00)
#define UART_STATE REGISTER(BOARD_UART + 0x04) /* bit 0: the transmitter is full, bit 1: a byte came */
#define UART_CTRL  REGISTER(BOARD_UART + 0x08) /* bits 0, 1: on; 2, 3: interrupts, each transmit and receive */
#define UART_INT   REGISTER(BOARD_UART + 0x0C)
#define UART_BAUD  REGISTER(BOARD_UART + 0x10)
#define FPGA_LED   REGISTER(BOARD_FPGAIO + 0x00)
#define FPGA_COUNT REGISTER(BOARD_FPGAIO + 0x18)
#define FPGA_SCALE REGISTER(BOARD_FPGAIO + 0x1C)

static uint32_t clock_high, clock_last;

void chip_start(void) {
    FPGA_SCALE = BOARD_CPU_HZ / 1000000 - 1;
    UART_BAUD = BOARD_CPU_HZ / BOARD_BAUD < 16 ? 16 : BOARD_CPU_HZ / BOARD_BAUD;
    UART_CTRL = 0xFu;
    (void)UART_DATA; /* what came before there was a receiver stalls an emulator for a second */
}

int chip_take(void) {
    UART_INT = 2u;
    return (UART_STATE & 2u) != 0 ? (int)(UART_DATA & 0xFFu) : -1;
}

int chip_give(uint8_t byte) {
    UART_INT = 1u;
    if ((UART_STATE & 1u) != 0) return 0;
    UART_DATA = byte;
    return 1;
}

/* Its interrupt comes after every byte that was sent; what is left to do is to take notice of the last. */
void chip_sends(int on) {
    if (!on) UART_INT = 1u;
}
int chip_busy(void) { return (UART_STATE & 1u) != 0; }
int chip_restarted(void) { return 1; }
void chip_tick(void) {}

/* The counter wraps every 71 minutes; whoever sleeps longer than that has nothing to time. */
uint64_t board_now(void) {
    uint32_t now = FPGA_COUNT;
    if (now < clock_last) clock_high++;
    clock_last = now;
    return (uint64_t)clock_high << 32 | now;
}

void board_pin(int high) { FPGA_LED = high ? FPGA_LED | 1u : FPGA_LED & ~1u; }
