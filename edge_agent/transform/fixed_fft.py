"""The Fourier transform of int16 values in int16 arithmetic, bit for bit as KISS FFT does it with FIXED_POINT=16.

Models for microcontrollers were trained on its roundings. Behavior: mborgerding/kissfft 1.3.0, `kiss_fft.c` and
`tools/kiss_fftr.c`: decimation in time by 4 (by 2 where 4 does not divide), each stage scaled down by its radix and
every product rounded to 15 bits.
"""

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Complex = tuple[Integers, Integers]  # real and imaginary part

_LARGEST = 32_767


def real_fft(values: Integers) -> Complex:
    """The lower half of the spectrum, [..., n / 2 + 1], of real `values` [..., n] within int16; n a power of two."""
    half = values.shape[-1] // 2
    even, odd = _fft((values[..., 0::2], values[..., 1::2]))  # as if they were one complex signal of half the length
    lines = np.arange(1, half // 2 + 1)
    low = _divide((even[..., lines], odd[..., lines]), 2)
    high = _divide((even[..., half - lines], _int16(-odd[..., half - lines])), 2)
    both = _int16(low[0] + high[0]), _int16(low[1] + high[1])
    turned = _multiply(
        (_int16(low[0] - high[0]), _int16(low[1] - high[1])), _turn(-np.pi * (lines / half + 0.5))
    )  # fmt: skip
    real = np.zeros((*values.shape[:-1], half + 1), np.int64)
    imaginary = np.zeros_like(real)
    constant, highest = _divide((even[..., 0], odd[..., 0]), 2)
    real[..., 0], real[..., half] = _int16(constant + highest), _int16(constant - highest)
    real[..., lines], imaginary[..., lines] = (both[0] + turned[0]) >> 1, (both[1] + turned[1]) >> 1
    # the line in the middle is written twice, by the reference too
    real[..., half - lines], imaginary[..., half - lines] = (both[0] - turned[0]) >> 1, (turned[1] - both[1]) >> 1
    return real, imaginary


def _fft(values: Complex) -> Complex:
    size = values[0].shape[-1]
    if size == 1:
        return values
    radix = 4 if size % 4 == 0 else 2
    apart = tuple(part.reshape(*part.shape[:-1], size // radix, radix).swapaxes(-1, -2) for part in values)
    real, imaginary = _divide(_fft((apart[0], apart[1])), radix)
    places = np.arange(size // radix)
    parts = [(real[..., 0, :], imaginary[..., 0, :])] + [
        _multiply((real[..., k, :], imaginary[..., k, :]), _turn(-2 * np.pi * k * places / size))
        for k in range(1, radix)
    ]
    joined = _join_four(*parts) if radix == 4 else [_add(*parts), _subtract(*parts)]
    return tuple(np.concatenate(part, axis=-1) for part in zip(*joined, strict=True))  # type: ignore[return-value]  # two


def _join_four(first: Complex, second: Complex, third: Complex, fourth: Complex) -> list[Complex]:
    across, along = _subtract(first, third), _add(first, third)
    total, difference = _add(second, fourth), _subtract(second, fourth)
    return [
        _add(along, total),
        (_int16(across[0] + difference[1]), _int16(across[1] - difference[0])),
        _subtract(along, total),
        (_int16(across[0] - difference[1]), _int16(across[1] + difference[0])),
    ]


def _turn(angle: NDArray[np.float64]) -> Complex:
    real, imaginary = (np.floor(0.5 + _LARGEST * part(angle)).astype(np.int64) for part in (np.cos, np.sin))
    return real, imaginary


def _multiply(one: Complex, other: Complex) -> Complex:
    real = _rounded(one[0] * other[0] - one[1] * other[1])
    return real, _rounded(one[0] * other[1] + one[1] * other[0])


def _divide(value: Complex, by: int) -> Complex:
    """Not quite: times 32767 // by."""
    return _rounded(value[0] * (_LARGEST // by)), _rounded(value[1] * (_LARGEST // by))


def _add(one: Complex, other: Complex) -> Complex:
    return _int16(one[0] + other[0]), _int16(one[1] + other[1])


def _subtract(one: Complex, other: Complex) -> Complex:
    return _int16(one[0] - other[0]), _int16(one[1] - other[1])


def _rounded(product: Integers) -> Integers:
    return _int16((product + (1 << 14)) >> 15)


def _int16(value: Integers) -> Integers:
    """What is left of it in 16 bits."""
    return value.astype(np.int16).astype(np.int64)
