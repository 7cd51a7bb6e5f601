"""A device's fetch over its real link from a broker that is late, forgetful, out of order, or worse.

Whatever it does, what is installed in the end is the release that was signed, and nothing else is on the disk.
"""

from pathlib import Path
from queue import SimpleQueue
from typing import get_args

import pytest

from edge_agent.disk import open_disk
from edge_agent.errors import Reason
from edge_agent.link.broker import BrokerSettings
from edge_agent.link.device import DeviceEvent, DeviceLink
from edge_agent.link.topics import Topics
from edge_agent.release.chunks import pack
from edge_agent.update.fetch import fetch_release
from edge_agent.update.store import ReleaseStore
from tests.sim.hostile_broker import Mischief, run_hostile_broker
from tests.sim.releases import make_release, noise

TOPICS = Topics()
RELEASE = make_release("1.0.0", noise(900_000, "hostile"))
TOLD: dict[str, Reason] = {
    "lossy": Reason.MISSING_CHUNK,
    "deaf": Reason.MISSING_CHUNK,
    "amnesiac": Reason.MISSING_CHUNK,
    "refusing": Reason.MISSING_CHUNK,
    "garbling": Reason.CORRUPT_CHUNK,
}


@pytest.mark.parametrize("mischief", get_args(Mischief))
def test_the_release_that_was_signed_arrives_whatever_the_broker_does(mischief: Mischief, tmp_path: Path) -> None:
    retained = {TOPICS.blob(digest): pack(chunk) for digest, chunk in RELEASE.blobs.items()}
    store = ReleaseStore(open_disk(tmp_path), tmp_path)
    events: SimpleQueue[DeviceEvent] = SimpleQueue()
    troubles: list[Reason] = []
    with run_hostile_broker(retained, mischief) as broker:
        settings = BrokerSettings("127.0.0.1", broker.port)
        followed = [("birds", "stable")]
        with DeviceLink(settings, TOPICS, "porch", followed, events.put, backoff_s=(0.05, 0.2)) as link:
            report = fetch_release(
                RELEASE.target,
                store,
                link,
                cancelled=lambda: False,
                trouble=lambda reason, _: troubles.append(reason),
            )
        assert (broker.done > 0) == (mischief != "none")
    assert report is not None
    assert store.is_sound(RELEASE.digest)
    assert [path.name for path in (tmp_path / "releases").iterdir()] == [RELEASE.digest]
    assert list((tmp_path / "staging").iterdir()) == []
    # What is late on a busy machine may be thought missing, too.
    assert set(troubles) <= {TOLD.get(mischief, Reason.MISSING_CHUNK), Reason.MISSING_CHUNK}
    assert mischief not in TOLD or TOLD[mischief] in troubles
