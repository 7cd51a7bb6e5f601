"""What can go wrong on the laptop, beside the classes of `edge_agent.errors`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_agent.errors import EdgeError


class RecipeError(EdgeError):
    """What was asked for cannot be followed: a recipe file, an option, or an output name. Lists every problem."""


class CalibrationError(EdgeError):
    """The representative data is missing, unreadable, or not what the model takes."""


class ConversionError(EdgeError):
    """The source cannot be made into a model that loads and answers."""


class RolloutStoppedError(EdgeError):
    """A rollout is halted or paused, by a rule or by somebody. The CLI exits with 3."""


class QualityGateError(EdgeError):
    """The model was converted, but a limit of the recipe says no. The CLI exits with 3.

    `table` and `figures` are what it was judged by, for people and for scripts; `notes` what was guessed on the way,
    `report` where it is told with pictures, once that is written.
    """

    def __init__(
        self, message: str, *, hint: str, table: str, figures: Mapping[str, Any], notes: tuple[str, ...]
    ) -> None:
        super().__init__(message, hint=hint)
        self.table = table
        self.figures = figures
        self.notes = notes
        self.report: Path | None = None
