/* Registers of the CMSDK peripherals that Arm's MPS boards share, and what startup.c and cmsdk.c share. */
#ifndef EDGESNN_BOARD_CMSDK_H
#define EDGESNN_BOARD_CMSDK_H

#include <stdint.h>

#include BOARD_HEADER

#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))

#define UART_DATA  REGISTER(BOARD_UART + 0x00)
#define UART_STATE REGISTER(BOARD_UART + 0x04) /* bit 0: the transmitter is full, bit 1: a byte came */
#define UART_CTRL  REGISTER(BOARD_UART + 0x08) /* bits 0, 1: on; 2, 3: interrupts, each transmit and receive */
#define UART_INT   REGISTER(BOARD_UART + 0x0C)
#define UART_BAUD  REGISTER(BOARD_UART + 0x10)
#define FPGA_LED   REGISTER(BOARD_FPGAIO + 0x00)
#define FPGA_COUNT REGISTER(BOARD_FPGAIO + 0x18)
#define FPGA_SCALE REGISTER(BOARD_FPGAIO + 0x1C)

#define SCB_AIRCR      REGISTER(0xE000ED0C)
#define SCB_SHCSR      REGISTER(0xE000ED24)
#define SCB_CFSR       REGISTER(0xE000ED28)
#define SCB_BFAR       REGISTER(0xE000ED38)
#define SCB_CPACR      REGISTER(0xE000ED88)
#define NVIC_ENABLE(n) REGISTER(0xE000E100 + 4 * ((n) / 32))

void uart_received(void);
void uart_sent(void);
void fault(const uint32_t *frame, uint32_t kind);
int main(void);

#endif
