/* INA228 over I2C, for the pico-sdk. NOT COMPILED HERE; see ina228.h. */
#include "ina228.h"

enum { CONFIG = 0x00, ADC_CONFIG = 0x01, SHUNT_CAL = 0x02, VBUS = 0x05, CURRENT = 0x07, DIAG_ALRT = 0x0B };
enum { MANUFACTURER_ID = 0x3E, DEVICE_ID = 0x3F };

#define CONFIG_ADCRANGE 0x0010u      /* bit 4 */
#define ADC_CONTINUOUS_BOTH 0xB000u  /* bits 15-12: bus and shunt, continuous */
#define DIAG_CONVERSION_READY 0x4000u /* bit 14, CNVR: ALERT follows the conversion-ready flag */
#define TIMEOUT_US 2000u

static bool write16(i2c_inst_t *bus, uint8_t reg, uint16_t value) {
    uint8_t data[3];
    data[0] = reg;
    data[1] = (uint8_t)(value >> 8); /* registers are big-endian */
    data[2] = (uint8_t)(value & 0xFFu);
    return i2c_write_timeout_us(bus, INA228_ADDRESS, data, sizeof data, false, TIMEOUT_US) == (int)sizeof data;
}

static bool read_bytes(i2c_inst_t *bus, uint8_t reg, uint8_t *data, size_t size) {
    return i2c_write_timeout_us(bus, INA228_ADDRESS, &reg, 1, true, TIMEOUT_US) == 1 &&
           i2c_read_timeout_us(bus, INA228_ADDRESS, data, size, false, TIMEOUT_US) == (int)size;
}

static bool read16(i2c_inst_t *bus, uint8_t reg, uint16_t *value) {
    uint8_t data[2];
    if (!read_bytes(bus, reg, data, sizeof data)) return false;
    *value = (uint16_t)(data[0] << 8 | data[1]);
    return true;
}

/* 24 bits of which the upper 20 are the value. */
static bool read20(i2c_inst_t *bus, uint8_t reg, int32_t *value) {
    uint8_t data[3];
    uint32_t raw;
    if (!read_bytes(bus, reg, data, sizeof data)) return false;
    raw = ((uint32_t)data[0] << 16 | (uint32_t)data[1] << 8 | data[2]) >> 4;
    *value = raw & 0x80000u ? (int32_t)raw - 0x100000 : (int32_t)raw;
    return true;
}

bool ina228_present(i2c_inst_t *bus) {
    uint16_t maker, device;
    if (!read16(bus, MANUFACTURER_ID, &maker) || !read16(bus, DEVICE_ID, &device)) return false;
    return maker == 0x5449u && device >> 4 == 0x228u;
}

bool ina228_configure(i2c_inst_t *bus, const bridge_channel *settings) {
    uint16_t adc = (uint16_t)(ADC_CONTINUOUS_BOTH | (unsigned)settings->bus_time << 9 |
                              (unsigned)settings->shunt_time << 6 | settings->average);
    return write16(bus, CONFIG, settings->range ? CONFIG_ADCRANGE : 0u) &&
           write16(bus, SHUNT_CAL, settings->shunt_cal) && write16(bus, DIAG_ALRT, DIAG_CONVERSION_READY) &&
           write16(bus, ADC_CONFIG, adc);
}

bool ina228_read(i2c_inst_t *bus, int32_t *vbus, int32_t *current) {
    uint16_t flags; /* reading DIAG_ALRT clears the conversion-ready flag */
    return read20(bus, VBUS, vbus) && read20(bus, CURRENT, current) && read16(bus, DIAG_ALRT, &flags);
}
