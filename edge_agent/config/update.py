"""`[update]`: how much of the link an update may use, and when; how candidates are tried on this device."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from edge_agent.config.checks import Count, Seconds, Share, Table, from_to
from edge_agent.config.quiet import QuietHours

BENCH_CHANNEL = "bench"  # of every model: what is published there is only measured, and no stage can follow it


def _check_quiet_hours(text: str) -> None:
    if text:
        QuietHours.parse(text)


@dataclass(frozen=True, slots=True)
class UpdateConfig(Table):
    max_bytes_per_s: Count | None = None  # of what is fetched, as it travels; None: no cap
    quiet_hours: Annotated[str, _check_quiet_hours] = ""  # "22:00-06:00", local time: nothing is fetched in them
    spread_s: Annotated[float, from_to(0, 31_536_000, "s")] = 0.0  # each device begins at its own moment within it
    shadow_share: Share = 0.0  # of the frames, on which a candidate runs beside the current release; 0: on none
    shadow_frames: Count = 100
    shadow_longest_s: Seconds = 600.0
    bench: bool = True  # releases on a model's bench channel are measured here when they name this device
    ca_file: Path | None = None  # for https:// sources; None: the system's certificate authorities

    @property
    def quiet(self) -> QuietHours | None:
        return QuietHours.parse(self.quiet_hours) if self.quiet_hours else None
