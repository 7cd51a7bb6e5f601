"""What a device trusts: the clock that expiry is judged by, the class of device, and files of older agents."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import SimpleQueue

import pytest

from converter.publish.keys import Keys, make_keys, read_keys
from edge_agent.clock import is_synchronized
from edge_agent.disk import Disk
from edge_agent.errors import EdgeError, Reason, TrustError
from edge_agent.release import trust
from edge_agent.release.document import Target
from edge_agent.release.trust import verify
from edge_agent.service.documents import Documents
from edge_agent.service.trusted import FLOOR_FILE, Channel
from tests.sim.clock import FakeClock
from tests.sim.disk import SimDisk
from tests.sim.trusting import NOW, STABLE, Device, ask_here, document, target

DAY_S = 86_400.0
BETA = Channel("m", "beta")
IN_1970 = datetime.fromtimestamp(0, UTC)
IN_2099 = datetime(2099, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "_ask_child", ask_here)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    make_keys(tmp_path, now=NOW)
    return read_keys(tmp_path)


@pytest.mark.parametrize("now", [IN_1970, IN_2099])
def test_a_clock_that_nobody_has_set_does_not_decide_what_has_expired(keys: Keys, now: datetime) -> None:
    device = Device(keys.root, now=now)
    device.synchronized = False
    assert device.hear(document(keys, "1", 1)).version == "1"
    assert device.hear(document(keys, "2", 2)).version == "2"


def test_a_clock_that_a_time_server_has_set_does(keys: Keys) -> None:
    device = Device(keys.root, now=IN_2099)
    assert device.refuses(document(keys, "1", 1)) is Reason.EXPIRED
    device.synchronized = False
    assert device.hear(document(keys, "1", 1)).version == "1"


def test_a_device_that_no_time_server_reaches_notices_expiry_by_the_time_that_it_has_run(keys: Keys) -> None:
    device = Device(keys.root, now=IN_1970)
    device.synchronized = False
    first = document(keys, "1", 1)
    device.hear(first)
    device.clock.advance(89 * DAY_S)
    assert device.hear(first).version == "1"
    device.clock.advance(2 * DAY_S)
    assert device.refuses(first) is Reason.EXPIRED
    later = document(keys, "1", 2, NOW + timedelta(days=91))
    assert device.hear(later).version == "1"


def test_the_newest_time_of_signing_outlives_a_restart_and_never_falls(keys: Keys) -> None:
    device = Device(keys.root, now=IN_1970)
    device.synchronized = False
    device.hear(document(keys, "1", 1, NOW + timedelta(days=100), channel="beta"), BETA)
    device.restart()
    assert device.refuses(document(keys, "1", 1)) is Reason.EXPIRED
    device.hear(document(keys, "1", 2, NOW + timedelta(days=50)))
    assert device.floor_s() == (NOW + timedelta(days=100)).timestamp()


def test_a_device_that_trusted_before_there_was_a_file_for_it_takes_the_floor_from_what_it_trusted(keys: Keys) -> None:
    device = Device(keys.root)
    device.hear(document(keys, "1", 1, created="2027-05-01T00:00:00+00:00"))
    Disk(device.disk).remove(FLOOR_FILE)
    device.synchronized = False
    device.restart()
    assert device.refuses(document(keys, "2", 2)) is Reason.EXPIRED


@pytest.mark.parametrize("rotten", [b"", b"\xff", b"[]", b'{"signed_s": "x"}', b"[" * 100_000])
def test_a_rotten_floor_is_as_if_never_known(keys: Keys, rotten: bytes) -> None:
    device = Device(keys.root)
    device.hear(document(keys, "1", 1))
    Disk(device.disk).write_atomic(FLOOR_FILE, rotten)
    assert device.restart() == target("1")
    assert device.hear(document(keys, "2", 2)) == target("2")


@pytest.mark.parametrize(
    ("of_document", "of_device", "taken"),
    [("", "", True), ("", "pi5", True), ("pi5", "pi5", True), ("pi5", "pi3", False), ("pi5", "", False)],
)
def test_a_release_is_for_its_class_of_device_or_for_all(
    keys: Keys,
    of_document: str,
    of_device: str,
    taken: bool,  # noqa: FBT001
) -> None:
    device = Device(keys.root, device_class=of_device)
    content = document(keys, "1", 1, device_class=of_document)
    if taken:
        assert device.hear(content).device_class == of_document
        return
    with pytest.raises(
        TrustError, match=f"'pi5', and this device has {'class' if of_device else 'no class'}"
    ) as caught:
        device.hear(content)
    assert caught.value.reason is Reason.WRONG_TARGET
    assert "[device] class" in str(caught.value.hint)


def test_a_document_that_expires_while_the_device_runs_is_told_and_nothing_is_forgotten(keys: Keys) -> None:
    heard: SimpleQueue[Target | EdgeError] = SimpleQueue()
    disk, clock = SimDisk(), FakeClock(NOW.timestamp())
    documents = Documents(
        Disk(disk), keys.root, clock, verify,
        on_target=lambda _, found: heard.put(found), on_refusal=lambda _, error: heard.put(error),
    )  # fmt: skip
    with documents:
        documents.offer(STABLE, document(keys, "1", 1))
        assert heard.get(timeout=30) == target("1")
        told = heard.get(timeout=30)  # the clock does not wait for us
        assert isinstance(told, TrustError)
        assert told.reason is Reason.EXPIRED
        again = datetime.fromtimestamp(clock.now_s(), UTC)
        documents.offer(STABLE, document(keys, "2", 2, again + timedelta(days=3650 / 4)))
        while isinstance(told, EdgeError):
            told = heard.get(timeout=30)
    assert told == target("2")


# --- whether the clock is right ----------------------------------------------------------------------------------


def test_the_flag_of_timesyncd_says_that_the_clock_is_right(tmp_path: Path, kernel: Callable[[int], None]) -> None:
    kernel(5)
    assert not is_synchronized(tmp_path / "synchronized")
    (tmp_path / "synchronized").touch()
    assert is_synchronized(tmp_path / "synchronized")


@pytest.mark.parametrize(("state", "right"), [(0, True), (1, True), (4, True), (5, False), (-1, False)])
def test_so_does_the_kernel_where_anybody_disciplines_its_clock(
    tmp_path: Path,
    kernel: Callable[[int], None],
    state: int,
    right: bool,  # noqa: FBT001
) -> None:
    kernel(state)
    assert is_synchronized(tmp_path / "none") is right


def test_the_real_kernel_answers_and_its_answer_is_that_of_adjtimex(tmp_path: Path) -> None:
    import ctypes

    state = ctypes.CDLL(None).adjtimex(ctypes.byref((ctypes.c_long * 64)()))
    assert is_synchronized(tmp_path / "none") is (0 <= state < 5)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let adjtimex(2) answer so."""

    class Library:
        def __init__(self, state: int) -> None:
            self.adjtimex = lambda _: state

    return lambda state: monkeypatch.setattr("ctypes.CDLL", lambda _: Library(state))


def test_what_is_kept_is_json_with_the_keys_that_the_time_stands_on(keys: Keys) -> None:
    device = Device(keys.root)
    device.hear(document(keys, "1", 1))
    kept = json.loads(Disk(device.disk).read(FLOOR_FILE))
    assert kept == {"signed_s": NOW.timestamp(), "keys": [signer.public_key.keyid for signer in keys.online]}
