/* Numbers of the serial protocol; ../PROTOCOL.md says what they mean. */
#ifndef EDGESNN_DUT_WIRE_H
#define EDGESNN_DUT_WIRE_H

/* Versions that this firmware speaks. */
#ifndef DUT_VERSION
#define DUT_VERSION       2u
#define DUT_VERSION_LEAST 1u
#endif
#ifndef DUT_VERSION_LEAST
#define DUT_VERSION_LEAST DUT_VERSION
#endif

/* Longest payload; the widest readout (1,040 codes) and what stands before it fit one frame. */
#define DUT_PAYLOAD_MAX 1152u
/* Tokens that INFER brings itself; frames have as many bytes together. */
#define DUT_INLINE_MAX   256u
#define DUT_INLINE_BYTES (4u * DUT_INLINE_MAX)

enum { /* requests; the reply to one is its number with DUT_REPLY */
    DUT_HELLO = 1,
    DUT_BEGIN,
    DUT_WRITE,
    DUT_OPEN,
    DUT_READ,
    DUT_RESET,
    DUT_INFER,
    DUT_TOP,
    DUT_SAVE,
    DUT_RESTORE,
    DUT_PIN,
    DUT_CLOCK,
    DUT_STATISTICS,
    DUT_REBOOT
};
#define DUT_REPLY  0x80u
#define DUT_BOOTED 0xF0u /* nobody asked: the firmware has just started */
#define DUT_FAULT  0xF1u /* nobody asked: the processor met a fault; the firmware starts again */

enum { /* first byte of a reply */
    DUT_OK = 0,
    DUT_BUSY,      /* the request is still at work: done, of */
    DUT_E_COMMAND, /* unknown */
    DUT_E_LENGTH,  /* a payload of another length */
    DUT_E_RANGE,   /* a number out of range: value, limit */
    DUT_E_SPACE,   /* too little memory: bytes wanted, bytes there */
    DUT_E_SUM,     /* the checksum of the whole model differs: found, declared */
    DUT_E_ORDER,   /* a piece that does not follow the last one: where, expected */
    DUT_E_MODEL,   /* no model is open */
    DUT_E_ENGINE   /* the engine refused: snn_status */
};

enum { DUT_MODEL = 1, DUT_INPUTS, DUT_STATE, DUT_LOGITS, DUT_CODES, DUT_TICKS }; /* regions */

#define DUT_OPEN_SESSION 1u /* of HELLO: begin a session; without it, only look */
enum {                      /* flags of INFER */
    DUT_FRESH = 1,          /* from an empty context */
    DUT_ALL = 2,            /* logits, codes and ticks of every step, not of the last alone */
    DUT_MARK = 4,           /* the marker pin is high while what is reported runs */
    DUT_SPIKES = 8          /* count spikes */
};
enum { DUT_CAUSE_POWER = 0, DUT_CAUSE_ASKED, DUT_CAUSE_FAULT }; /* why the firmware started */

#endif
