/* The model that the firmware brings, in a section of its own: the linker script puts it where the processor
 * reads it in place. BOARD_IMAGE_FILE names program.snn. */
    .section .model, "a"
    .balign 64
    .incbin BOARD_IMAGE_FILE
