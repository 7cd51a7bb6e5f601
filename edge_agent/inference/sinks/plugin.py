"""Sinks of other distributions: entry points of the group `edge_deploy.sinks` (docs/sinks.md says what they are).

They run in the supervisor, on a thread of their own: one that hangs or fails costs results and nothing else.
"""

from typing import Any

from edge_agent.config.sinks import PluginSink as PluginConfig
from edge_agent.errors import PluginError
from edge_agent.inference.ipc import Result
from edge_agent.inference.sinks.aside import AsideSink
from edge_agent.inference.sinks.tree import ResultFormat
from edge_agent.plugins import load

GROUP = "edge_deploy.sinks"
_WAITING = 1000
_CLOSE_S = 5.0

Tree = dict[str, object]


class PluginSink(AsideSink[Tree]):
    """Calls `FACTORY(pipeline, options)` once, then `.take(tree)` of what that gives, and its `.close()`, if any."""

    def __init__(self, config: PluginConfig, results: ResultFormat) -> None:
        super().__init__(f"sink-{config.name}-{results.pipeline}", _WAITING, _CLOSE_S)
        self._config = config
        self._results = results

    def _item(self, result: Result) -> Tree:
        return self._results.tree(result)

    def _work(self) -> None:
        sink: Any = None
        while self._backlog.wait_for_some():
            tree = self._backlog.first()
            if tree is None:
                continue
            try:
                if sink is None:
                    sink = load(GROUP, self._config.name)(self._results.pipeline, dict(self._config.options))
                sink.take(tree)
            except PluginError as error:
                self._lost(str(error))
            except Exception as error:  # noqa: BLE001 - whatever somebody else's code raises
                self._lost(f"the sink {self._config.name} failed: {type(error).__name__}: {error}")
            else:
                self._problem = None
            self._backlog.remove(tree)
        close = getattr(sink, "close", None)
        if close is not None:
            try:
                close()
            except Exception as error:  # noqa: BLE001 - as above; this thread ends here
                self._lost(f"the sink {self._config.name} failed to close: {type(error).__name__}: {error}", 0)
