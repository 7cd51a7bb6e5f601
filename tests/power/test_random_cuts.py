"""Cuts on cuts: the power goes, or the process is killed, again and again, wherever chance will have it."""

import tempfile
from pathlib import Path
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import Reason
from edge_agent.update.machine import Idle
from tests.power.exploration import Story, problems_after_cut, problems_at_the_end, problems_on_disk, tell_cut
from tests.power.stories import NAMES, story
from tests.sim.device import SimDevice
from tests.sim.disk import Survival

_CUTS = st.tuples(st.integers(1, 60), st.sampled_from([*Survival, None]), st.integers(0, 1000))


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(NAMES), cuts=st.lists(_CUTS, min_size=1, max_size=6))
def test_no_series_of_power_cuts_and_kills_does_harm(name: str, cuts: list[tuple[int, Survival | None, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        told = story(name, Path(folder))
        device = told.make()
        for operation, survival, seed in cuts:
            tell_cut(told, device, operation)
            if survival is None:
                device.lose_process()
            else:
                device.lose_power(survival, Random(seed))
            assert list(problems_after_cut(device, told.rotten)) == []

        told.act(device.boot())
        _check_end(told, device)


def _check_end(told: Story, device: SimDevice) -> None:
    record = device.record
    assert isinstance(record.phase, Idle)
    assert list(problems_on_disk(device.disk)) == []
    assert device.server.serving == record.current
    if not any(rejection.reason is Reason.CRASH_LOOP for rejection in record.rejected):
        assert list(problems_at_the_end(told, device)) == []
    # Else three of the cuts were in the trial, which looks like a model that takes the machine down with it.
