"""A driver for the MPU-6050 (GY-521 board): acceleration, rotation and temperature, in the units Linux uses too.

Use it by `source = { kind = "i2c", driver = "mpu6050:open_mpu6050", rate_hz = 50 }` with this folder in PYTHONPATH.
Registers as in InvenSense's "MPU-6000 and MPU-6050 Register Map and Descriptions", RM-MPU-6000A-00, revision 4.2.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

_CONFIG = 0x1A  # §4.3: DLPF_CFG, the low-pass filter
_GYRO_CONFIG = 0x1B  # §4.4
_ACCEL_CONFIG = 0x1C  # §4.5: AFS_SEL in bits 4 and 3
_ACCEL_XOUT_H = 0x3B  # §4.17: then y, z, temperature and gyroscope, 16 bits each, the high byte first
_PWR_MGMT_1 = 0x6B  # §4.28
_WHO_AM_I = 0x75  # §4.32

_SLEEP, _CLOCK_OF_GYRO_X = 0x40, 0x01
_IDENTITY = 0x68  # §4.32, whatever the address
_LSB_PER_G = {2: 16_384, 4: 8_192, 8: 4_096, 16: 2_048}  # §4.17, by full scale
_LSB_PER_DEG_S = 131  # §4.19, of ±250 °/s
_STANDARD_GRAVITY = 9.80665  # m/s² of 1 g


class Bus(Protocol):
    """What it needs of smbus2.SMBus."""

    def read_byte_data(self, i2c_addr: int, register: int) -> int: ...
    def write_byte_data(self, i2c_addr: int, register: int, value: int) -> None: ...
    def read_i2c_block_data(self, i2c_addr: int, register: int, length: int) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class Mpu6050:
    """One chip, awake and measuring."""

    bus: Bus
    address: int
    full_scale_g: int

    @property
    def channels(self) -> tuple[str, ...]:
        """m/s², rad/s and °C."""
        return ("accel_x", "accel_y", "accel_z", "temp", "anglvel_x", "anglvel_y", "anglvel_z")

    def read(self) -> tuple[float, ...]:
        """All in one transfer, so that they belong together (§4.17)."""
        content = bytes(self.bus.read_i2c_block_data(self.address, _ACCEL_XOUT_H, 14))
        *accel, temperature, rot_x, rot_y, rot_z = struct.unpack(">7h", content)
        per_lsb = _STANDARD_GRAVITY / _LSB_PER_G[self.full_scale_g]
        turning = (math.radians(raw / _LSB_PER_DEG_S) for raw in (rot_x, rot_y, rot_z))
        return (*(raw * per_lsb for raw in accel), temperature / 340 + 36.53, *turning)  # temperature: §4.18

    def close(self) -> None:
        """Let it sleep: 5 µA instead of 3.8 mA (PS-MPU-6000A-00 §6.3)."""
        self.bus.write_byte_data(self.address, _PWR_MGMT_1, _SLEEP)


def open_mpu6050(bus: Bus, address: int, options: Mapping[str, Any]) -> Mpu6050:
    """Wake it up. `options`: full_scale_g (2, 4, 8, 16; else 2)."""
    full_scale_g = options.get("full_scale_g", 2)
    if full_scale_g not in _LSB_PER_G:
        raise ValueError(f"full_scale_g must be one of {', '.join(map(str, _LSB_PER_G))}, found {full_scale_g!r}")
    identity = bus.read_byte_data(address, _WHO_AM_I)
    if identity != _IDENTITY:
        raise ValueError(f"the chip at 0x{address:02x} calls itself 0x{identity:02x}, which is no MPU-6050")
    bus.write_byte_data(address, _PWR_MGMT_1, _CLOCK_OF_GYRO_X)
    bus.write_byte_data(address, _CONFIG, 4)  # lets 21 Hz through: less than half of 50 rows a second
    bus.write_byte_data(address, _GYRO_CONFIG, 0)  # ±250 °/s
    bus.write_byte_data(address, _ACCEL_CONFIG, list(_LSB_PER_G).index(full_scale_g) << 3)
    return Mpu6050(bus, address, full_scale_g)
