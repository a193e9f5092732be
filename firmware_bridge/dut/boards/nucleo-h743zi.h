/* ST Nucleo-144 with the STM32H743ZI: 2 MB of flash, 128 KB of DTCM for variables and the engine. Models of up
 * to 512 KB can come over the line into the AXI SRAM; larger ones are built in and read in place. */
#ifndef EDGESNN_BOARD_H
#define EDGESNN_BOARD_H

#define BOARD_NAME        "nucleo-h743zi (Cortex-M7)"
#define BOARD_CPU_HZ      400000000u
#define BOARD_TICK_HZ     400000000u
#define BOARD_FLASH       0x08000000
#define BOARD_FLASH_BYTES 0x00200000
#define BOARD_RAM         0x20000000
#define BOARD_RAM_BYTES   0x00020000
#define BOARD_MODEL       0x24000000
#define BOARD_MODEL_BYTES 0x00080000
#define BOARD_UART_RX_IRQ 39
#define BOARD_UART_TX_IRQ 39

#endif
