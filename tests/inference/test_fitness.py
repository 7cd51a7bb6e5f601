"""Rows at another rate than the model was trained on are said. Whether a source fits at all is in test_worker."""

from pathlib import Path

import numpy as np
import pytest

from edge_agent.config.row_sources import CsvSource, I2cSource
from edge_agent.config.sources import SourceConfig
from edge_agent.inference.fitness import other_rate
from edge_agent.release.inputs import SignalInput
from tests.inference.test_pipeline import model

CSV = Path("/nowhere")


def _told(rate_hz: float | None, source: SourceConfig) -> str | None:
    spec = SignalInput(channels=("x",), window=2, stride=2, sample_rate_hz=rate_hz)
    return other_rate(model(lambda _: [np.zeros((1, 3), np.float32)], spec, (1, 2, 1)), source)


def test_rows_at_another_rate_are_told_with_what_to_set() -> None:
    told = _told(50.0, I2cSource("i2c", "sensor:open", rate_hz=100.0))
    assert told is not None
    assert "gives 100 rows a second" in told
    assert "set rate_hz = 50" in told


@pytest.mark.parametrize(
    ("rate_hz", "source"),
    [
        (50.0, I2cSource("i2c", "sensor:open", rate_hz=50.5)),
        (None, I2cSource("i2c", "sensor:open", rate_hz=100.0)),
        (50.0, CsvSource("csv", CSV)),  # as fast as they are worked off
    ],
    ids=["near enough", "not stated", "no pace"],
)
def test_nothing_is_told_where_nothing_is_wrong(rate_hz: float | None, source: SourceConfig) -> None:
    assert _told(rate_hz, source) is None
