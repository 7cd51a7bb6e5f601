"""Which class of a model a label means: data and models rarely spell the same thing alike."""

import re
from collections.abc import Sequence

_NUMBERED = re.compile(r"(\d+)[_\-. ]+(\S.*)")


class ClassNames:
    """The classes of a model, found by label or number."""

    def __init__(self, labels: Sequence[str], count: int) -> None:
        self.count = count
        self.labels = tuple(labels)
        self._places: dict[str, list[int]] = {}
        for index, label in enumerate(labels):
            self._places.setdefault(_plain(label), []).append(index)

    @classmethod
    def of_outputs(cls, labels: Sequence[str], values: int) -> "ClassNames":
        """Those of a model that tells so many scores. One alone is that of the only label, or of class 1."""
        if values == 1:
            labels = (f"not {labels[0]}", labels[0]) if labels else ()
        return cls(labels, max(values, 2))

    def name(self, index: int) -> str:
        return self.labels[index] if index < len(self.labels) and self.labels[index] else str(index)

    def index(self, label: str | int) -> int | None:
        """The class; None: there is none, or several (of those the number has to be given).

        Upper and lower case, `_`, `-` and blanks are the same. `3_cycling` is the label `cycling`, else class 3.
        """
        if isinstance(label, int):
            return label if 0 <= label < self.count else None
        places = self._places.get(_plain(label), [])
        if len(places) == 1:
            return places[0]
        numbered = _NUMBERED.fullmatch(label.strip())
        if numbered and not places:
            named = self._places.get(_plain(numbered[2]), [])
            if len(named) == 1:
                return named[0]
            if not self.labels:
                return self.index(int(numbered[1]))
        return self.index(int(label)) if re.fullmatch(r"\d{1,9}", label.strip()) else None


def _plain(label: str) -> str:
    return re.sub(r"[\s_\-]+", " ", label).strip().casefold()
