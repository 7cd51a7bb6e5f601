"""`[update]`: how much of the link an update may use, and when."""

from dataclasses import dataclass
from pathlib import Path

from edge_agent.config.checks import check_not_negative, check_positive
from edge_agent.config.quiet import QuietHours


@dataclass(frozen=True, slots=True)
class UpdateConfig:
    max_bytes_per_s: int | None = None  # of what is fetched, as it travels; None: no cap
    quiet_hours: str = ""  # "22:00-06:00", local time: nothing is fetched in them
    spread_s: float = 0.0  # each device begins at its own moment within this time
    ca_file: Path | None = None  # for https:// sources; None: the system's certificate authorities

    def __post_init__(self) -> None:
        check_positive(max_bytes_per_s=self.max_bytes_per_s)
        check_not_negative(spread_s=self.spread_s)
        if self.quiet_hours:
            QuietHours.parse(self.quiet_hours)

    @property
    def quiet(self) -> QuietHours | None:
        return QuietHours.parse(self.quiet_hours) if self.quiet_hours else None
