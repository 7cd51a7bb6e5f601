"""A pull over slow links: which share of the line carries chunks, at round trips of 20 and 100 ms and 1 and 4 MB/s.

The links are simulated (`tests/sim/slow_link.py`); the pull is the device's own, window 8, into a store on the disk.
`ratio` is the worst of the four. A line's share is payload bytes by its rate and the time from the first question to
the last byte on the disk.
"""

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.pull import publish_noise, pull_s
from tests.sim.broker import run_mosquitto
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
            with slow_link(broker.port, rtt_s=rtt_ms / 1000, bytes_per_s=rate) as port:
                seconds = pull_s(parcel, replace(broker.settings, port=port), folder / "state")
            carried = sum(len(payload) for payload in parcel.chunks.values())
            shares[f"rtt_{rtt_ms}_ms_{megabytes_per_s}_mb_s"] = round(carried / rate / seconds, 3)
    figures = {**shares, "ratio": min(shares.values())}
    print(json.dumps({"benchmark": "links", **figures}))
    for name, share in shares.items():
        print(f"{name:24}{share:>8}", file=sys.stderr)
    return figures


if __name__ == "__main__":
    main()
