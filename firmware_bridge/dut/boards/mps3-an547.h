/* Arm MPS3 with the Corstone-300 image (AN547), Cortex-M55: 512 KB of ITCM, 512 KB of DTCM, DDR for models.
 * It starts in the secure state, so these are the secure addresses. */
#ifndef EDGESNN_BOARD_H
#define EDGESNN_BOARD_H

#define BOARD_NAME        "mps3-an547 (Cortex-M55)"
#define BOARD_CPU_HZ      32000000
#define BOARD_TICK_HZ     1000000
#define BOARD_FLASH       0x10000000
#define BOARD_FLASH_BYTES 0x00080000
#define BOARD_RAM         0x30000000
#define BOARD_RAM_BYTES   0x00080000
#define BOARD_MODEL       0x70000000
#define BOARD_MODEL_BYTES 0x01000000
#define BOARD_IMAGE       0x71000000 /* a model that the firmware brings: too large for the ITCM */
#define BOARD_IMAGE_BYTES 0x01000000
#define BOARD_UART        0x59303000
#define BOARD_UART_RX_IRQ 33
#define BOARD_UART_TX_IRQ 34
#define BOARD_FPGAIO      0x59302000

#endif
