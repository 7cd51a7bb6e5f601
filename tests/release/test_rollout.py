"""Who belongs to a rollout: exact, the same everywhere, and nobody who was in it is ever out of it."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import schema
from edge_agent.release.rollout import Rollout, belongs, place_of

DIGEST = "ab" * 32
_IDS = st.from_regex(r"[a-z0-9_-]{1,64}", fullmatch=True)
_DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)


def test_the_place_of_a_device_is_what_is_written_and_will_always_be() -> None:
    """A change of this function moves devices in and out of rollouts that are under way."""
    head = int.from_bytes(hashlib.sha256(f"{DIGEST}/porch-pi".encode()).digest()[:8], "big")
    assert place_of("porch-pi", DIGEST) == head * 100 // 2**64
    assert [place_of(f"pi-{number}", DIGEST) for number in range(6)] == PLACES


PLACES = [95, 66, 51, 5, 85, 30]


@given(device=_IDS, digest=_DIGESTS, percents=st.tuples(st.integers(0, 100), st.integers(0, 100)))
def test_widening_never_removes_a_member(device: str, digest: str, percents: tuple[int, int]) -> None:
    narrow, wide = sorted(percents)
    if belongs(Rollout(percent=narrow), digest, device, ()):
        assert belongs(Rollout(percent=wide), digest, device, ())


@given(device=_IDS, digest=_DIGESTS)
def test_everybody_is_everybody_and_nobody_is_nobody(device: str, digest: str) -> None:
    assert belongs(Rollout(), digest, device, ())
    assert not belongs(Rollout(percent=0), digest, device, ())


@pytest.mark.parametrize("percent", [1, 5, 10, 50, 99])
def test_the_share_of_ten_thousand_devices_is_near_the_percentage(percent: int) -> None:
    members = sum(belongs(Rollout(percent=percent), DIGEST, f"pi-{number}", ()) for number in range(10_000))
    deviation = (10_000 * percent / 100 * (1 - percent / 100)) ** 0.5
    assert abs(members - 100 * percent) < 4 * deviation


def test_another_release_gives_the_devices_other_places() -> None:
    ids = [f"pi-{number}" for number in range(1000)]
    first, second = ({name for name in ids if place_of(name, digest) < 10} for digest in (DIGEST, "cd" * 32))
    assert len(first & second) < 40


def test_canaries_belong_to_it_at_any_percentage_by_id_or_label() -> None:
    rollout = Rollout(percent=0, canary_devices=("porch-pi",), canary_labels=("lab", "desk"))

    assert belongs(rollout, DIGEST, "porch-pi", ())
    assert belongs(rollout, DIGEST, "attic-pi", ("outdoor", "lab"))
    assert not belongs(rollout, DIGEST, "attic-pi", ("outdoor",))
    assert not belongs(rollout, DIGEST, "porch", ("porch-pi",))


@pytest.mark.parametrize(
    "wrong", [{"percent": 101}, {"percent": -1}, {"canary_devices": ["No Id"]}, {"canary_labels": [""]}, {"state": "x"}]
)
def test_what_is_signed_wrongly_is_no_rollout(wrong: dict[str, object]) -> None:
    with pytest.raises(schema.SchemaError):
        schema.parse(Rollout, wrong, strict=False)
