"""The supervisor's side of the samples sink: the worker keeps them, and says what it has lost.

Keeping is left to `inference.samples`; sending them to whoever asks, to `service.sampling`.
"""

from edge_agent.inference.ipc import Result, SamplesLost


class SamplesSink:
    """Passes on how the keeping stands, so that it is told as that of any sink is."""

    def __init__(self) -> None:
        self.dropped = 0
        self.problem: str | None = None

    def take(self, result: Result) -> None:
        """Nothing: the worker has seen it already, with what the result is of."""

    def heard(self, word: SamplesLost) -> None:
        self.dropped += word.lost
        self.problem = word.problem

    def flush(self) -> None:
        """Nothing is held back here."""

    def close(self) -> None:
        """Nothing is open here."""
