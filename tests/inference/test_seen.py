"""What is remembered of the release that serves: the last frames, of that release alone."""

from edge_agent.inference.ipc import Figures
from edge_agent.inference.seen import Recent
from tests.sim.clock import FakeClock


def _figures(frames: int, digest: str = "old", score_bin: str = "18") -> Figures:
    return Figures(
        "main",
        frames,
        frames,
        frames,
        0,
        0,
        {"invoke": {"10": frames}},
        {"invoke": 2.0},
        digest,
        1,
        {score_bin: frames - 1},
    )


def test_frames_add_up() -> None:
    recent = Recent(FakeClock())
    for _ in range(3):
        recent.hear(_figures(10))
    seen = recent.seen()

    assert (seen.digest, seen.frames, seen.empty) == ("old", 30, 3)
    assert (seen.scores, seen.invoke.count) == ({18: 27}, 30)


def test_another_release_begins_anew() -> None:
    recent = Recent(FakeClock())
    recent.hear(_figures(10))
    recent.hear(_figures(5, "new"))

    assert (recent.seen().digest, recent.seen().frames) == ("new", 5)


def test_old_frames_are_forgotten_by_number_and_by_age() -> None:
    clock = FakeClock()
    recent = Recent(clock)
    recent.hear(_figures(1000))
    recent.hear(_figures(1000))
    assert recent.seen().frames == 2000
    recent.hear(_figures(7))
    assert recent.seen().frames == 1007
    for _ in range(2):
        clock.advance(300.0)
        recent.hear(_figures(3))
    assert recent.seen().frames == 6
