"""Sensors of the kernel, on a made-up sysfs tree as the kernel's ABI document describes it."""

import errno
import shutil
from pathlib import Path
from typing import Any

import pytest

from edge_agent.config.row_sources import IioSource
from edge_agent.errors import SourceError
from edge_agent.inference.frame import Wanted
from tests.inference.sources.rows import gaps, open_source, take_all, unusable, values

# What an LSM6DSL, a BME280 and an ADS1015 have, but for what is not read here.
IMU = {
    "name": "lsm6dsl_accel", "in_accel_x_raw": "-120", "in_accel_y_raw": "60", "in_accel_z_raw": "16384",
    "in_accel_scale": "0.000598", "in_accel_scale_available": "0.000598 0.001196", "sampling_frequency": "12.5",
    "in_timestamp_en": "0",
}  # fmt: skip
CLIMATE = {
    "name": "bme280", "in_temp_input": "21530", "in_pressure_input": "101.325", "in_humidityrelative_input": "45678",
    "in_temp_oversampling_ratio": "2",
}  # fmt: skip
ADC = {
    "name": "ads1015", "label": "tank", "in_voltage0_raw": "100", "in_voltage0_scale": "3", "in_voltage1_raw": "10",
    "in_voltage_scale": "2", "in_voltage0-voltage1_raw": "7", "in_voltage-voltage_scale": "0.5",
    "in_temp_raw": "200", "in_temp_offset": "-100", "in_temp_scale": "10", "in_angl_raw": "5", "scale": "4",
    "out_voltage0_raw": "1",
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "devices"
    for number, files in enumerate((IMU, CLIMATE, ADC)):
        write_device(root, number, files)
    (root / "trigger0").mkdir()
    (root / "trigger0" / "name").write_text("bme280\n")
    return root


def write_device(root: Path, number: int, files: dict[str, str]) -> Path:
    directory = root / f"iio:device{number}"
    directory.mkdir(parents=True)
    for name, text in files.items():
        (directory / name).write_text(f"{text}\n")
    return directory


def one_row(root: Path, device: str, *channels: str) -> tuple[float, ...]:
    with open_source(IioSource("iio", device, root=root)) as source:
        (row,) = values(take_all(source, channels, at_most=1))
    return row


def test_raw_values_become_those_of_the_abi_by_a_scale_they_share(root: Path) -> None:
    assert one_row(root, "lsm6dsl_accel", "accel_z", "accel_x") == pytest.approx((9.797632, -0.07176))


def test_values_that_the_driver_has_worked_out_are_taken_as_they_are(root: Path) -> None:
    assert one_row(root, "bme280", "temp", "pressure", "humidityrelative") == (21530.0, 101.325, 45678.0)


@pytest.mark.parametrize(
    ("channel", "value"),
    [
        ("voltage0", 300.0),  # its own scale
        ("voltage1", 20.0),  # that of all voltages
        ("voltage0-voltage1", 3.5),  # that of all differences
        ("temp", 1000.0),  # (200 - 100) x 10
        ("angl", 20.0),  # that of all there is
        ("angl[rad]", 20.0),
    ],
)
def test_scale_and_offset_are_the_channel_s_own_or_those_it_shares(root: Path, channel: str, value: float) -> None:
    assert one_row(root, "ads1015", channel) == (value,)


@pytest.mark.parametrize("device", ["ads1015", "iio:device2", "tank"])
def test_a_device_is_found_by_its_name_its_directory_or_its_label(root: Path, device: str) -> None:
    assert len(one_row(root, device)) == 5  # every input, no output, no trigger


def test_a_worked_out_value_comes_before_a_raw_one(root: Path) -> None:
    (root / "iio:device1" / "in_temp_raw").write_text("7\n")
    assert one_row(root, "bme280", "temp") == (21530.0,)


def test_rows_are_read_anew_and_only_the_first_begins_a_window(root: Path) -> None:
    with open_source(IioSource("iio", "bme280", root=root)) as source:
        first = take_all(source, ("temp",), at_most=1)
        (root / "iio:device1" / "in_temp_input").write_text("22000\n")
        second = take_all(source, ("temp",), at_most=1)
    assert values([*first, *second]) == [(21530.0,), (22000.0,)]
    assert gaps([*first, *second]) == [True, False]


def test_a_wrong_name_of_a_device_or_channel_names_the_nearest_and_all_others(root: Path) -> None:
    with pytest.raises(SourceError, match=r"no IIO device bme208; did you mean bme280\? Found: .*ads1015.*tank") as one:
        open_source(IioSource("iio", "bme208", root=root)).__enter__()
    with (
        open_source(IioSource("iio", "lsm6dsl_accel", root=root)) as source,
        pytest.raises(SourceError, match=r"has no acc_x \(did you mean accel_x\?\); it has accel_x, accel_y") as other,
    ):
        source.take(Wanted(("acc_x",)))
    assert one.value.hint
    assert other.value.hint


def test_two_devices_of_one_name_are_told_apart_by_their_directories(root: Path) -> None:
    write_device(root, 7, CLIMATE)
    with pytest.raises(SourceError, match="2 IIO devices are called bme280: iio:device1, iio:device7") as caught:
        open_source(IioSource("iio", "bme280", root=root)).__enter__()
    assert 'device = "iio:device1"' in str(caught.value.hint)
    assert one_row(root, "iio:device7", "temp") == (21530.0,)


def test_a_device_that_vanishes_is_a_source_error_and_is_found_when_it_is_back(root: Path) -> None:
    config = IioSource("iio", "bme280", root=root)
    with open_source(config) as source:
        assert values(take_all(source, ("temp",), at_most=1)) == [(21530.0,)]
        shutil.rmtree(root / "iio:device1")
        with pytest.raises(SourceError, match="bme280 cannot be read: No such file"):
            source.take(Wanted(("temp",)))
    with pytest.raises(SourceError, match="no IIO device bme280"):
        open_source(config).__enter__()
    write_device(root, 5, CLIMATE)
    assert one_row(root, "bme280", "temp") == (21530.0,)


def test_a_machine_without_such_sensors_is_told_how_they_come(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no IIO devices here") as caught:
        open_source(IioSource("iio", "bme280", root=tmp_path / "none")).__enter__()
    assert "dtoverlay=" in str(caught.value.hint)


def test_a_device_of_outputs_only_is_refused(root: Path) -> None:
    write_device(root, 8, {"name": "dac", "out_voltage0_raw": "1", "in_rot_quaternion_raw": "1 2 3 4"})
    with pytest.raises(SourceError, match="no channel that can be read by itself"):
        open_source(IioSource("iio", "dac", root=root)).__enter__()


# --- readings that fail -------------------------------------------------------------------------------------


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Files that fail when they are read, by the number of their error: no file of a test can do so by itself."""
    failures: dict[str, int] = {}
    read_text = Path.read_text

    def read(path: Path, *args: Any, **more: Any) -> str:
        if path.name in failures:
            raise OSError(failures[path.name], "as the test says", str(path))
        return read_text(path, *args, **more)

    monkeypatch.setattr(Path, "read_text", read)
    return failures


def test_a_reading_that_fails_now_and_then_is_a_missing_value(root: Path, failing: dict[str, int]) -> None:
    config = IioSource("iio", "bme280", root=root, missing="hold")
    with open_source(config) as source:
        first = take_all(source, ("temp", "pressure"), at_most=1)
        failing["in_temp_input"] = errno.EIO
        second = take_all(source, ("temp", "pressure"), at_most=20)
    assert values([*first, *second]) == [(21530.0, 101.325)] * 21


def test_a_sensor_that_can_never_be_read_is_a_source_error(root: Path, failing: dict[str, int]) -> None:
    failing["in_temp_input"] = errno.ETIMEDOUT
    with open_source(IioSource("iio", "bme280", root=root)) as source:
        items = take_all(source, ("temp",), at_most=9)
        assert len(unusable(items)) == 9
        with pytest.raises(SourceError, match="could not be read 10 times in a row") as caught:
            source.take(Wanted(("temp",)))
    assert "wiring" in str(caught.value.hint)


def test_a_sensor_whose_buffer_is_in_use_says_so(root: Path, failing: dict[str, int]) -> None:
    failing["in_temp_input"] = errno.EBUSY
    with open_source(IioSource("iio", "bme280", root=root)) as source, pytest.raises(SourceError) as caught:
        source.take(Wanted(("temp",)))
    assert "buffer" in str(caught.value.hint)
