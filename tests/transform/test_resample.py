"""Resampled sound is the same sound: nothing clicks, nothing is folded down, nothing gets lost."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_agent.errors import FrameError
from edge_agent.transform.resample import Resampler
from tests.sim.sound import Samples, tone

PAIRS = [(44_100, 16_000), (48_000, 16_000), (8_000, 16_000), (11_025, 16_000), (16_000, 44_100), (96_000, 16_000)]
RATES = [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000]


def at_once(samples: Samples, from_hz: int, to_hz: int) -> NDArray[np.float64]:
    resampler = Resampler(from_hz, to_hz)
    return np.concatenate([resampler.push(samples), resampler.finish()]).astype(np.float64)


def level_db(samples: NDArray[np.float64]) -> float:
    return float(20 * np.log10(np.sqrt(2 * np.mean(samples**2)) + 1e-12))


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
@pytest.mark.parametrize("share", [0.01, 0.3, 0.8, 0.88])
def test_a_tone_stays_that_tone_and_everything_else_is_80_db_down(from_hz: int, to_hz: int, share: float) -> None:
    hz = share * min(from_hz, to_hz) / 2
    found = at_once(tone(hz, from_hz), from_hz, to_hz)
    begin = to_hz // 8  # what is heard at the ends begins and ends abruptly
    place_s = np.arange(len(found))[begin:-begin] / to_hz
    waves = np.stack([np.sin(2 * np.pi * hz * place_s), np.cos(2 * np.pi * hz * place_s)], axis=1)
    weights = np.linalg.lstsq(waves, found[begin:-begin], rcond=None)[0]
    rest = found[begin:-begin] - waves @ weights
    assert weights[0] == pytest.approx(0.5, rel=0.001)  # 0.01 dB
    assert weights[1] == pytest.approx(0.0, abs=1e-4)  # not shifted
    assert level_db(rest) < level_db(waves @ weights) - 80


@pytest.mark.parametrize(("from_hz", "to_hz"), [pair for pair in PAIRS if pair[0] > pair[1]])
@pytest.mark.parametrize("share", [1.0, 1.01, 1.1, 1.35])
def test_a_tone_that_the_lower_rate_cannot_hold_is_gone(from_hz: int, to_hz: int, share: float) -> None:
    found = at_once(tone(share * to_hz / 2, from_hz, loud=1.0), from_hz, to_hz)
    assert level_db(found[to_hz // 8 : -to_hz // 8]) < -80


def test_what_is_constant_stays_constant() -> None:
    found = at_once(np.full(4_410, 0.25, np.float32), 44_100, 16_000)
    assert np.abs(found[200:-200] - 0.25).max() < 1e-7


@given(st.sampled_from(RATES), st.sampled_from(RATES), st.lists(st.integers(0, 700), max_size=12))
def test_block_by_block_is_bit_for_bit_all_at_once(from_hz: int, to_hz: int, sizes: list[int]) -> None:
    samples = np.random.default_rng(len(sizes)).uniform(-1, 1, sum(sizes)).astype(np.float32)
    resampler = Resampler(from_hz, to_hz)
    ends = np.cumsum([0, *sizes])
    found = [resampler.push(samples[begin:end]) for begin, end in pairwise(ends)]
    joined = np.concatenate([*found, resampler.finish(), np.zeros(0, np.float32)])
    assert joined.tolist() == at_once(samples, from_hz, to_hz).tolist()
    assert len(joined) == -(-len(samples) * to_hz // from_hz)


def test_after_clear_it_is_as_new() -> None:
    resampler = Resampler(44_100, 16_000)
    resampler.push(tone(100, 44_100))
    resampler.clear()
    found = np.concatenate([resampler.push(tone(440, 44_100)), resampler.finish()])
    assert found.tolist() == at_once(tone(440, 44_100), 44_100, 16_000).tolist()


def test_the_same_rate_changes_nothing() -> None:
    assert at_once(tone(440, 16_000), 16_000, 16_000).tolist() == tone(440, 16_000).tolist()


def test_it_holds_back_no_more_than_half_its_filter() -> None:
    assert len(Resampler(48_000, 16_000).push(np.zeros(4_800, np.float32))) == 1_600 - 48


@pytest.mark.parametrize(
    ("from_hz", "to_hz", "said"),
    [(0, 16_000, "found 0"), (16_000, 10**9, "found 1000000000"), (96_001, 16_000, "too little in common")],
)
def test_rates_that_it_cannot_convert_are_refused(from_hz: int, to_hz: int, said: str) -> None:
    with pytest.raises(FrameError, match=said):
        Resampler(from_hz, to_hz)
