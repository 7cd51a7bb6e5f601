"""Hours of the day in which a device is to leave its link alone."""

import re
from dataclasses import dataclass

_SPAN = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True, slots=True)
class QuietHours:
    """A part of every day, by the clock on the wall; it may go over midnight."""

    begin_min: int  # since midnight
    end_min: int  # no longer in it

    @classmethod
    def parse(cls, text: str) -> "QuietHours":
        """`HH:MM-HH:MM`, or ValueError."""
        found = _SPAN.fullmatch(text)
        if found is None:
            raise ValueError(f'quiet_hours {text!r} must be "HH:MM-HH:MM", "22:00-06:00" for example')
        hours = [int(part) for part in found.groups()]
        begin_min, end_min = hours[0] * 60 + hours[1], hours[2] * 60 + hours[3]
        if begin_min == end_min:
            raise ValueError(f"quiet_hours {text!r} begin when they end")
        return cls(begin_min, end_min)

    def hold(self, minute: int) -> bool:
        """Whether this minute of the day is one of them."""
        if self.begin_min < self.end_min:
            return self.begin_min <= minute < self.end_min
        return minute >= self.begin_min or minute < self.end_min

    @property
    def end(self) -> str:
        return f"{self.end_min // 60:02}:{self.end_min % 60:02}"
