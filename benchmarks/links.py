"""A pull over slow links: which share of the line carries chunks, at round trips of 20 and 100 ms and 1 and 4 MB/s.

The links are simulated (`tests/sim/slow_link.py`); the pull is the device's own, into a store on the disk: over MQTT
with window 8, and over HTTPS from a file of which it asks ranges. `ratio` and `https_ratio` are the worst of each
four. A line's share is payload bytes by its rate and the time from the first question to
the last byte on the disk.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.pull import fetch_s, publish_noise, pull_s
from benchmarks.range_server import serve
from converter.publish.export import export
from converter.publish.parcel import Parcel
from edge_agent.clock import SystemClock
from edge_agent.disk import open_disk
from edge_agent.link.https import HttpsSource
from edge_agent.link.pace import Pace
from edge_agent.release.pack_file import SUFFIX
from edge_agent.update.store import ReleaseStore
from tests.sim.broker import run_mosquitto
from tests.sim.certificates import make_authority
from tests.sim.slow_link import slow_link

_LINKS = ((20, 1), (20, 4), (100, 1), (100, 4))  # ms, MB/s
_SECONDS = 4  # of the line at its rate


def main() -> dict[str, float]:
    """Measure, print one JSON line and a table, and return the figures."""
    shares: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary, run_mosquitto(Path(temporary)) as broker:
        for rtt_ms, megabytes_per_s in _LINKS:
            folder = Path(temporary) / f"{rtt_ms}-{megabytes_per_s}"
            folder.mkdir()
            parcel = publish_noise(folder, broker.settings, _SECONDS * megabytes_per_s * 1_000_000)
            rate = megabytes_per_s * 1e6
            line = partial(slow_link, rtt_s=rtt_ms / 1000, bytes_per_s=rate)
            with line(broker.port) as port:
                mqtt_s = pull_s(parcel, replace(broker.settings, port=port), folder / "state")
            https_s = _pull_https_s(parcel, folder, line)
            carried = sum(len(payload) for payload in parcel.chunks.values())
            name = f"rtt_{rtt_ms}_ms_{megabytes_per_s}_mb_s"
            shares |= {name: round(carried / rate / mqtt_s, 3), f"https_{name}": round(carried / rate / https_s, 3)}
    worst = {
        "ratio": min(share for name, share in shares.items() if not name.startswith("https")),
        "https_ratio": min(share for name, share in shares.items() if name.startswith("https")),
    }
    figures = {**shares, **worst}
    print(json.dumps({"benchmark": "links", **figures}))
    for name, share in shares.items():
        print(f"{name:28}{share:>8}", file=sys.stderr)
    return figures


def _pull_https_s(parcel: Parcel, folder: Path, line: Callable[[int], AbstractContextManager[int]]) -> float:
    release = parcel.target.digest
    export(parcel, folder / "web")
    authority = make_authority(folder, "ca")
    certificate = authority.issue("server", address="127.0.0.1")
    state, clock = folder / "https", SystemClock()
    store = ReleaseStore(open_disk(state), state)
    with serve(folder / "web" / f"{release}{SUFFIX}", *certificate) as server, line(server) as port:
        source = HttpsSource(f"https://127.0.0.1:{port}", release, Pace(clock), clock, ca_file=authority.file)
        return fetch_s(parcel, store, source)


if __name__ == "__main__":
    main()
