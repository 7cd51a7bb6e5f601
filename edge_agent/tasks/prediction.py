"""What every task gives: a list of predictions. No numpy here, so the supervisor can read them too."""

from dataclasses import dataclass

from edge_agent.transform.placement import Box

__all__ = ["Box", "Prediction"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """One thing a model says: a class, a detected object, or a raw output value."""

    index: int
    score: float
    label: str | None = None
    box: Box | None = None

    def to_json(self) -> dict[str, object]:
        """`{"label", "index", "score", "box": [left, top, right, bottom]}`; box only where there is one."""
        tree: dict[str, object] = {"label": self.label, "index": self.index, "score": round(self.score, 6)}
        if self.box is not None:
            corners = (self.box.left, self.box.top, self.box.right, self.box.bottom)
            tree["box"] = [round(corner, 2) for corner in corners]
        return tree
