/* Arm MPS2+ with the Cortex-M7 image (AN500): 4 MB of SRAM for code, 4 MB for data, 16 MB of PSRAM. */
#ifndef EDGESNN_BOARD_H
#define EDGESNN_BOARD_H

#define BOARD_NAME        "mps2-an500 (Cortex-M7)"
#define BOARD_CPU_HZ      25000000
#define BOARD_TICK_HZ     1000000
#define BOARD_FLASH       0x00000000
#define BOARD_FLASH_BYTES 0x00400000
#define BOARD_RAM         0x20000000
#define BOARD_RAM_BYTES   0x00400000
#define BOARD_MODEL       0x60000000
#define BOARD_MODEL_BYTES 0x01000000
#define BOARD_UART        0x40004000
#define BOARD_UART_RX_IRQ 0
#define BOARD_UART_TX_IRQ 1
#define BOARD_FPGAIO      0x40028000

#endif
