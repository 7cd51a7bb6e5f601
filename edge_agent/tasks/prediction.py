"""What every task gives: a list of predictions. No numpy here, so the supervisor can read them too."""

from dataclasses import dataclass

from edge_agent.transform.placement import Box

__all__ = ["Box", "Keypoint", "Prediction"]


@dataclass(frozen=True, slots=True)
class Keypoint:
    """A point of a body, face or hand. x and y in source px; they may lie outside of the picture."""

    x: float
    y: float
    score: float
    name: str | None = None

    def to_json(self) -> dict[str, object]:
        """`{"name", "x", "y", "score"}`."""
        return {"name": self.name, "x": round(self.x, 2), "y": round(self.y, 2), "score": round(self.score, 6)}


@dataclass(frozen=True, slots=True)
class Prediction:
    """One thing a model says: a class, an object, a body's keypoints, the share of a class's pixels, or a value."""

    index: int
    score: float
    label: str | None = None
    box: Box | None = None
    keypoints: tuple[Keypoint, ...] = ()
    share: float | None = None  # segmentation: of the picture's pixels, 0 to 1
    value: float | None = None  # regression, raw and anomaly: what was measured
    unit: str | None = None  # of the value

    def to_json(self) -> dict[str, object]:
        """`{"label", "index", "score", "box": [left, top, right, bottom], ...}`; what there is not is left out."""
        tree: dict[str, object] = {"label": self.label, "index": self.index, "score": round(self.score, 6)}
        if self.box is not None:
            corners = (self.box.left, self.box.top, self.box.right, self.box.bottom)
            tree["box"] = [round(corner, 2) for corner in corners]
        if self.keypoints:
            tree["keypoints"] = [keypoint.to_json() for keypoint in self.keypoints]
        if self.share is not None:
            tree["share"] = round(self.share, 6)
        if self.value is not None:
            tree["value"] = float(f"{self.value:.7g}")
        if self.unit is not None:
            tree["unit"] = self.unit
        return tree
