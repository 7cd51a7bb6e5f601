"""How the parts are stopped."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from edge_agent.config.agent import parse_config
from edge_agent.service.compose import open_workers
from edge_agent.service.inbox import Inbox
from tests.sim.worker import FakeWorkers


def test_every_worker_is_asked_to_end_before_the_first_one_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = FakeWorkers()
    fakes.install(monkeypatch)
    pipeline = {"model": "birds", "source": {"kind": "folder", "path": "/nowhere"}}
    config = parse_config({"pipeline": dict.fromkeys(("a", "b", "c"), pipeline)})

    with ExitStack() as stack:
        for worker in open_workers(config, Inbox(), stack).values():
            worker.stages["main"].serve("a" * 64, Path("/nowhere"))
        assert fakes.calls == []

    assert sorted(fakes.calls[:3]) == ["end a", "end b", "end c"]
    assert sorted(fakes.calls[3:]) == ["wait for a", "wait for b", "wait for c"]
