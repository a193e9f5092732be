/* INA228 over I2C, for the pico-sdk. NOT COMPILED HERE: this project has no pico-sdk and no board to try it on.
 * Registers and fields: TI data sheet SLYS021, section "Register maps".
 */
#ifndef EDGESNN_METER_INA228_H
#define EDGESNN_METER_INA228_H

#include <stdbool.h>

#include "../bridge.h"
#include "hardware/i2c.h"

#define INA228_ADDRESS 0x40u /* A0 and A1 to ground */

/* Whether an INA228 answers at the address (its MANUFACTURER_ID is "TI", its DEVICE_ID 0x228). */
bool ina228_present(i2c_inst_t *bus);

/* Writes range, SHUNT_CAL and ADC_CONFIG: a new conversion of bus and shunt begins, over and over. ALERT is
 * pulled low when a conversion is ready. */
bool ina228_configure(i2c_inst_t *bus, const bridge_channel *settings);

/* Reads VBUS and CURRENT, sign-extended, and releases ALERT. */
bool ina228_read(i2c_inst_t *bus, int32_t *vbus, int32_t *current);

#endif
