"""Results as messages. How a message travels is left to `link`: the callable that publishes it is handed over."""

from collections.abc import Callable

from edge_agent.clock import Clock
from edge_agent.config.sinks import MqttSink as MqttConfig
from edge_agent.inference.ipc import Result
from edge_agent.inference.sinks.gate import Gate
from edge_agent.inference.sinks.tree import ResultFormat

MAX_PAYLOAD_BYTES = 60_000  # as of every message: hosted brokers stop at 64 KiB


class MqttSink:
    """Each result, or only changes (`Gate`). `publish` says whether it took the message."""

    def __init__(
        self, config: MqttConfig, results: ResultFormat, publish: Callable[[bytes], bool], clock: Clock
    ) -> None:
        self._results = results
        self._publish = publish
        self._gate = Gate(config.when, config.min_interval_s, clock, self._send)
        self.dropped = 0
        self.problem: str | None = None

    def take(self, result: Result) -> None:
        self._gate.take(result)

    def flush(self) -> None:
        self._gate.flush()

    def close(self) -> None:
        self._gate.flush()

    def _send(self, result: Result) -> bool:
        text = self._results.text(result)
        if len(text) > MAX_PAYLOAD_BYTES:
            self._lost(f"a result of {len(text)} bytes; a message holds at most {MAX_PAYLOAD_BYTES}")
            return True  # the same again would be too large again
        if not self._publish(text):
            self._lost("the link to the broker is down, or slower than the results")
            return False
        self.problem = None
        return True

    def _lost(self, problem: str) -> None:
        self.dropped += 1
        self.problem = problem
