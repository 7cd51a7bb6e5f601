"""One input of `edge-agent infer`, how it is read, and what of a file is left out.

Values only; making them is left to `inputs` and `row_inputs`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.errors import InputError, counted
from edge_agent.transform.picture import WHOLE, Picture, Rotation, View
from edge_agent.transform.prepared import Prepared


@dataclass(frozen=True, slots=True)
class Reading:
    """How the files are read."""

    every: int = 1  # n-th picture of a video
    rotate_deg: Rotation = 0  # clockwise, before the region is cut out
    roi: tuple[float, float, float, float] | None = None  # left, top, right, bottom as shares 0 to 1 of the picture
    columns: tuple[str, ...] = ()  # of a CSV or of JSON objects; (): those the model names, else all
    time_column: str | None = None  # of a CSV: no value; a window begins where it goes back

    def __post_init__(self) -> None:
        if self.roi is not None:
            left, top, right, bottom = self.roi
            if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
                raise InputError(
                    f"a region of {', '.join(f'{side:g}' for side in self.roi)}: expected shares left < right and "
                    "top < bottom, 0 to 1"
                )


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """One input, ready for the model."""

    name: str
    prepared: Prepared
    captured: float  # perf_counter when it had been read and was about to be prepared
    picture: Picture | None = None
    view: View = WHOLE
    began_anew: bool = False  # what came before does not belong to it: a model that remembers is to forget


Say = Callable[[str], None]


@dataclass(slots=True)
class LeftOut:
    """The frames or rows of one file that are of no use: the first is said at once, their number at the end."""

    noun: str  # what one of them is called
    say: Say
    hint: str = "mend it, or leave it out"  # what to do about the first
    count: int = 0
    first: str = ""

    def add(self, problem: str, hint: str | None = None) -> None:
        if not self.count:
            self.first, self.hint = problem, hint or self.hint
            self.say(f"left out: {problem}")
        self.count += 1

    def check(self, name: str) -> None:
        """Raises:
        InputError: something has been left out.
        """
        if self.count:
            raise InputError(
                f"{name}: {counted(self.count, self.noun)} left out; the first: {self.first}", hint=self.hint
            )
