"""Latency histograms: buckets of equal ratio, so that any quantile is within 2.5 % and two of them simply add up.

Stands left of everything because the worker fills them, the trial judges by them and telemetry sends them.
Source of the idea: Masson, Rim, Lee, "DDSketch", VLDB 2019, §2.1 (without collapsing: the range is bounded).
"""

import math
from collections.abc import Iterable, Mapping

_RATIO = 1.05
_LOG_RATIO = math.log(_RATIO)
_SMALLEST_MS = 0.001  # everything faster counts as this
_LARGEST_MS = 3_600_000.0


class Histogram:
    """Counts of milliseconds. Not thread-safe: one thread owns it."""

    __slots__ = ("_buckets", "max_ms")

    def __init__(self, buckets: Mapping[int, int] | None = None, max_ms: float = 0.0) -> None:
        self._buckets: dict[int, int] = dict(buckets or {})
        self.max_ms = max_ms

    @property
    def count(self) -> int:
        return sum(self._buckets.values())

    @property
    def buckets(self) -> Mapping[int, int]:
        """Bucket number → count; bucket n holds (1.05^(n-1), 1.05^n] ms."""
        return self._buckets

    def add(self, value_ms: float) -> None:
        bounded = min(max(value_ms, _SMALLEST_MS), _LARGEST_MS)
        bucket = math.ceil(math.log(bounded) / _LOG_RATIO)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.max_ms = max(self.max_ms, value_ms)

    def merge(self, other: "Histogram") -> None:
        for bucket, count in other.buckets.items():
            self._buckets[bucket] = self._buckets.get(bucket, 0) + count
        self.max_ms = max(self.max_ms, other.max_ms)

    def quantile_ms(self, share: float) -> float | None:
        """The value below which `share` (0..1) of all lie, None of nothing."""
        total = self.count
        if total == 0:
            return None
        rank = max(1, math.ceil(share * total))
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= rank:
                middle = 2 * _RATIO**bucket / (_RATIO + 1)  # equally far, in ratio, from both ends of the bucket
                return min(middle, self.max_ms) if self.max_ms else middle
        raise AssertionError("the counts add up to the total")

    def edges_ms(self, rank: int) -> tuple[float, float]:
        """Between which the `rank`-th smallest value (from 1) lies."""
        for bucket in sorted(self._buckets):
            rank -= self._buckets[bucket]
            if rank <= 0:
                return _RATIO ** (bucket - 1), min(_RATIO**bucket, self.max_ms or math.inf)
        raise IndexError("there are fewer values")

    def above(self, value_ms: float) -> tuple[int, int]:
        """How many are greater: at the least, and at the most. `value_ms` may lie within a bucket."""
        if self.max_ms and value_ms >= self.max_ms:
            return 0, 0
        surely = sum(count for bucket, count in self._buckets.items() if _RATIO ** (bucket - 1) >= value_ms)
        perhaps = sum(count for bucket, count in self._buckets.items() if _RATIO**bucket > value_ms)
        return surely, perhaps

    def summary(self) -> dict[str, float | int]:
        """`{"count", "p50", "p95", "p99", "max"}`, ms; empty of nothing."""
        if not self._buckets:
            return {}
        quantiles = {f"p{share}": round(self.quantile_ms(share / 100) or 0.0, 3) for share in (50, 95, 99)}
        return {"count": self.count, **quantiles, "max": round(self.max_ms, 3)}

    def to_json(self) -> dict[str, int]:
        return {str(bucket): count for bucket, count in self._buckets.items()}

    @classmethod
    def from_json(cls, tree: Mapping[str, int], max_ms: float) -> "Histogram":
        return cls({int(bucket): count for bucket, count in tree.items()}, max_ms)

    @classmethod
    def merged(cls, histograms: Iterable["Histogram"]) -> "Histogram":
        total = cls()
        for histogram in histograms:
            total.merge(histogram)
        return total
