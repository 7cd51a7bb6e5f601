"""Rows become windows, and windows tensors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import FrameError, ModelError, Reason
from edge_agent.release.inputs import SignalInput
from edge_agent.transform.signal import SignalTransform, Windower
from edge_agent.transform.tensor import Quantization, TensorSpec

FLOAT = np.dtype(np.float32)
ROWS = np.arange(12, dtype=np.float64).reshape(4, 3)


def spec(shape: tuple[int, ...], dtype: np.dtype[np.generic] = FLOAT, q: Quantization | None = None) -> TensorSpec:
    return TensorSpec("window", shape, dtype, q)


@pytest.mark.parametrize("shape", [(1, 4, 3), (1, 12), (1, 4, 3, 1), (1, 1, 4, 3), (4, 3)])
def test_a_window_fills_every_shape_of_its_order(shape: tuple[int, ...]) -> None:
    array = SignalTransform(SignalInput(window=4), spec(shape)).apply(ROWS)
    assert array.shape == shape
    assert array.dtype == np.float32
    assert array.reshape(-1).tolist() == list(range(12))


@pytest.mark.parametrize("shape", [(1, 3, 4), (1, 13), (2, 4, 3), (1, 4), ()])
def test_another_order_or_size_is_incompatible(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError) as caught:
        SignalTransform(SignalInput(window=4, channels=("x", "y", "z")), spec(shape))
    assert caught.value.reason is Reason.INCOMPATIBLE
    assert caught.value.hint


def test_values_are_scaled_per_channel_and_quantized() -> None:
    source = SignalInput(window=4, mean=(1.0, 2.0, 3.0), std=(2.0,))
    tensor = spec((1, 4, 3), np.dtype(np.int8), Quantization(0.5, 10))
    expected = np.rint((ROWS - [1, 2, 3]) / 2 / 0.5) + 10
    assert np.array_equal(SignalTransform(source, tensor).apply(ROWS)[0], expected)


def test_a_wrong_number_of_means_is_incompatible() -> None:
    with pytest.raises(ModelError, match="2"):
        SignalTransform(SignalInput(window=4, mean=(1.0, 2.0), std=(1.0,)), spec((1, 4, 3)))


@pytest.mark.parametrize("rows", [np.zeros((3, 3)), np.zeros((4, 2)), np.zeros(12)])
def test_a_window_of_another_shape_is_a_frame_error(rows: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:
    with pytest.raises(FrameError, match="4 rows of 3 channels"):
        SignalTransform(SignalInput(window=4), spec((1, 4, 3))).apply(rows)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_missing_values_are_a_frame_error(value: float) -> None:
    rows = ROWS.copy()
    rows[2, 1] = value
    with pytest.raises(FrameError, match="not finite"):
        SignalTransform(SignalInput(window=4), spec((1, 4, 3))).apply(rows)


@given(window=st.integers(1, 7), stride=st.integers(1, 9), count=st.integers(0, 40))
def test_windows_begin_a_stride_apart(window: int, stride: int, count: int) -> None:
    windower = Windower(window, stride)
    found = [cut for number in range(count) if (cut := windower.push((number, -number))) is not None]
    expected = [list(range(start, start + window)) for start in range(0, count - window + 1, stride)]
    assert [cut[:, 0].tolist() for cut in found] == expected
    assert all(cut.shape == (window, 2) for cut in found)


def test_a_windower_that_is_cleared_begins_anew() -> None:
    windower = Windower(2, 5)
    assert windower.push((1,)) is None
    windower.clear()
    assert windower.push((2,)) is None
    assert windower.push((3,)) is not None
    windower.clear()
    assert windower.push((4,)) is None
    cut = windower.push((5,))
    assert cut is not None
    assert cut.tolist() == [[4], [5]]
