"""Sensors on the I2C bus: the hook for drivers, and the example driver on a bus that answers as the chip would."""

import errno
import math
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config.row_sources import I2cSource
from edge_agent.errors import SourceError
from edge_agent.inference.frame import Wanted
from edge_agent.inference.sources.i2c import I2cDriver, I2cRows
from examples.i2c.mpu6050 import Mpu6050, open_mpu6050
from tests.inference.sources.rows import gaps, open_source, take_all, unusable, values
from tests.sim.clock import FakeClock

MPU6050 = "examples.i2c.mpu6050:open_mpu6050"
REST = (0, 0, 16_384, -521, 131, 0, -131)  # lying flat, 35 °C, turning by 1 °/s


class SimBus:
    """A bus with one MPU-6050: registers, auto-increment, and no answer once it is unplugged."""

    def __init__(self, raw: Sequence[int] = REST, *, identity: int = 0x68) -> None:
        self.registers = bytearray(128)
        self.registers[0x6B] = 0x40  # asleep, as it is when it gets its current
        self.registers[0x75] = identity
        self.measure(raw)
        self.plugged = True
        self.closed = False

    def measure(self, raw: Sequence[int]) -> None:
        self.registers[0x3B : 0x3B + 14] = struct.pack(">7h", *raw)

    def read_byte_data(self, i2c_addr: int, register: int) -> int:
        self._answer(i2c_addr)
        return self.registers[register]

    def write_byte_data(self, i2c_addr: int, register: int, value: int) -> None:
        self._answer(i2c_addr)
        self.registers[register] = value

    def read_i2c_block_data(self, i2c_addr: int, register: int, length: int) -> list[int]:
        self._answer(i2c_addr)
        assert not self.registers[0x6B] & 0x40, "asleep it measures nothing"
        return list(self.registers[register : register + length])

    def close(self) -> None:
        self.closed = True

    def _answer(self, address: int) -> None:
        if not self.plugged or address != 0x68:
            raise OSError(errno.EREMOTEIO, "Remote I/O error")


def rows_of(bus: Any, driver: str = MPU6050, **config: Any) -> I2cRows:
    return I2cRows(I2cSource("i2c", driver, **config), FakeClock(), open_bus=lambda _: bus)


# --- the example driver -------------------------------------------------------------------------------------


def test_the_mpu_6050_gives_meters_per_second_squared_radians_and_degrees() -> None:
    driver: I2cDriver = open_mpu6050(SimBus(), 0x68, {})
    found = dict(zip(driver.channels, driver.read(), strict=True))
    assert found == pytest.approx(
        {
            "accel_x": 0, "accel_y": 0, "accel_z": 9.80665, "temp": -521 / 340 + 36.53,
            "anglvel_x": math.radians(1), "anglvel_y": 0, "anglvel_z": -math.radians(1),
        }
    )  # fmt: skip
    assert found["temp"] == pytest.approx(35, abs=0.01)


@given(raw=st.lists(st.integers(-32_768, 32_767), min_size=7, max_size=7), full_scale_g=st.sampled_from([2, 4, 8, 16]))
def test_every_reading_is_within_its_full_scale(raw: list[int], full_scale_g: int) -> None:
    bus = SimBus(raw)
    driver = open_mpu6050(bus, 0x68, {"full_scale_g": full_scale_g})
    assert bus.registers[0x1C] == {2: 0x00, 4: 0x08, 8: 0x10, 16: 0x18}[full_scale_g]
    accel = driver.read()[:3]
    assert all(abs(value) <= full_scale_g * 9.80665 for value in accel)
    assert accel[0] == pytest.approx(raw[0] / 32_768 * full_scale_g * 9.80665)


def test_the_chip_is_awake_while_it_is_used_and_asleep_afterwards() -> None:
    bus = SimBus()
    with rows_of(bus) as source:
        assert bus.registers[0x6B] == 0x01
        take_all(source, ("accel_z",), at_most=1)
    assert bus.registers[0x6B] == 0x40
    assert bus.closed


# --- the hook -----------------------------------------------------------------------------------------------


def test_rows_have_the_channels_that_are_wanted_and_follow_the_chip() -> None:
    bus = SimBus()
    with rows_of(bus) as source:
        first = take_all(source, ("accel_z", "accel_x"), at_most=1)
        bus.measure((16_384, 0, 0, 0, 0, 0, 0))
        second = take_all(source, ("accel_z", "accel_x"), at_most=1)
    items = [*first, *second]
    assert values(items) == [pytest.approx((9.80665, 0)), pytest.approx((0, 9.80665))]
    assert gaps(items) == [True, False]
    assert items[0].name == "i2c-1:0x68:1"


def test_a_chip_that_is_unplugged_is_told_how_to_be_found_and_set_up_again_when_it_is_back() -> None:
    bus = SimBus()
    with rows_of(bus) as source:
        take_all(source, ("accel_z",), at_most=1)
        bus.plugged = False
        with pytest.raises(SourceError, match="0x68 of I2C bus 1 does not answer: Remote I/O error") as caught:
            source.take(Wanted(("accel_z",)))
    assert "i2cdetect -y 1" in str(caught.value.hint)
    assert bus.closed
    with pytest.raises(SourceError, match="does not answer"):
        rows_of(bus).__enter__()
    bus.plugged, bus.closed = True, False
    bus.registers[0x6B] = 0x40
    with rows_of(bus) as source:
        assert gaps(take_all(source, ("accel_z",), at_most=1)) == [True]


def test_another_chip_at_the_address_and_a_wrong_option_are_refused_in_the_driver_s_words() -> None:
    bus = SimBus(identity=0x58)
    with pytest.raises(SourceError, match=r"calls itself 0x58, which is no MPU-6050"):
        rows_of(bus).__enter__()
    assert bus.closed
    with pytest.raises(SourceError, match="full_scale_g must be one of 2, 4, 8, 16, found 3"):
        rows_of(SimBus(), options={"full_scale_g": 3}).__enter__()


def test_a_wrong_channel_names_the_nearest() -> None:
    with rows_of(SimBus()) as source, pytest.raises(SourceError, match=r"no acc_x \(did you mean accel_x\?\)"):
        source.take(Wanted(("acc_x",)))


# --- drivers that are not what they should be -----------------------------------------------------------------


def open_short(bus: Any, address: int, options: Mapping[str, Any]) -> Mpu6050:
    class Short(Mpu6050):
        def read(self) -> tuple[float, ...]:
            return (1.0, 2.0)

    return Short(bus, address, 2)


def open_broken(bus: Any, address: int, options: Mapping[str, Any]) -> Mpu6050:
    class Broken(Mpu6050):
        def read(self) -> tuple[float, ...]:
            raise KeyError("no such register")

    return Broken(bus, address, 2)


def open_missing(bus: Any, address: int, options: Mapping[str, Any]) -> Mpu6050:
    class Missing(Mpu6050):
        def read(self) -> tuple[float, ...]:
            return (math.nan,) * 7

    return Missing(bus, address, 2)


def open_nothing(bus: Any, address: int, options: Mapping[str, Any]) -> object:
    return object()


NO_FUNCTION = 5


@pytest.mark.parametrize(
    ("driver", "message"),
    [
        ("nowhere.mpu:open", "cannot be imported: ModuleNotFoundError"),
        (f"{__name__}:open_other", "cannot be imported: AttributeError"),
        (f"{__name__}:NO_FUNCTION", "is no function"),
        (f"{__name__}:", "cannot be imported"),
        (":open", "cannot be imported"),
        ("mpu6050", "there is no plugin mpu6050 of the group edge_deploy.i2c"),
        (f"{__name__}:open_nothing", "gave a object, which has no channels, read, close"),
        (f"{__name__}:open_short", "gave 2 values for 7 channels"),
        (f"{__name__}:open_broken", "failed: KeyError: 'no such register'"),
    ],
)
def test_a_driver_that_is_none_is_told_with_a_hint(driver: str, message: str) -> None:
    bus = SimBus()
    with pytest.raises(SourceError, match=message) as caught, rows_of(bus, driver) as source:
        source.take(Wanted())
    assert caught.value.hint


def test_a_value_that_a_driver_does_not_have_is_missing() -> None:
    with rows_of(SimBus(), f"{__name__}:open_missing") as source:
        items = take_all(source, ("accel_x",), at_most=1)
    assert "expected a number as accel_x, found nan" in unusable(items)[0]


# --- the bus ------------------------------------------------------------------------------------------------


def test_a_machine_without_that_bus_is_told_how_it_is_enabled() -> None:
    pytest.importorskip("smbus2", reason="needs smbus2, the extra `i2c`")
    assert not Path("/dev/i2c-77").exists()
    with pytest.raises(SourceError, match="/dev/i2c-77") as caught:
        open_source(I2cSource("i2c", MPU6050, bus=77)).__enter__()
    assert "raspi-config" in str(caught.value.hint)


def test_without_smbus2_the_hint_is_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "smbus2", None)
    with pytest.raises(SourceError, match="smbus2") as caught:
        open_source(I2cSource("i2c", MPU6050)).__enter__()
    assert caught.value.hint == "pip install 'edge-deploy[i2c]'"
