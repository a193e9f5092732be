/* The MLPerf Tiny device protocol on the same line as the frames (../PROTOCOL.md). */
#ifndef EDGESNN_DUT_ASCII_H
#define EDGESNN_DUT_ASCII_H

#include <stdint.h>

/* What the firmware says when it starts. */
void ascii_start(void);
/* The input is gone: a request of a frame may have written over it. */
void ascii_forget(void);
/* Takes a byte of the line; 1 when it ended a command, which has been obeyed. */
int ascii_take(uint8_t byte);

#endif
