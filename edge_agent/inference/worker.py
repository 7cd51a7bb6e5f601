"""The worker process of one pipeline: `python -m edge_agent.inference.worker FD`.

FD is its end of a socket pair; `ipc` says what is said over it. It loads and runs models, and nothing else: no broker,
no update, no disk but its source and its release. A model that crashes takes this process with it and no more. The end
of the socket is the end of the process, so no worker outlives its supervisor; PR_SET_PDEATHSIG would not do, since it
fires when the *thread* that started the process ends.
"""

import ctypes
import os
import signal
import socket
import sys
import threading
import traceback
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread

import numpy as np

from edge_agent.clock import SystemClock
from edge_agent.config.sources import CsvSource, SourceConfig
from edge_agent.errors import ConfigError, ModelError, Reason, RejectionError, SourceError
from edge_agent.inference.ipc import (
    Load,
    LoadFailed,
    Order,
    SourceTrouble,
    Start,
    Stop,
    Unload,
    Word,
    format_line,
    parse_order,
)
from edge_agent.inference.job import Served
from edge_agent.inference.model import Model, open_release
from edge_agent.inference.pipeline import Pipeline
from edge_agent.inference.sources.source import new_source
from edge_agent.release.inputs import ImageInput, SignalInput
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.rows import parse_rows

_SOFTWARE_ERROR = 70  # sysexits.h EX_SOFTWARE
_SWITCH_INTERVAL_S = 0.0005  # of the GIL: with Python's 5 ms a busy thread doubles the latency of invoke


def main(arguments: list[str]) -> int:
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's, which then says Stop
    threading.excepthook = _end_process
    with socket.socket(fileno=int(arguments[0])) as connection:
        run(connection)
    return 0


def run(connection: socket.socket) -> None:
    """Do what the supervisor says, until it says Stop or is gone."""
    voice = _Voice(connection)
    orders: SimpleQueue[Order] = SimpleQueue()
    Thread(target=_listen, args=(connection, orders), name="listen", daemon=True).start()
    start = orders.get()
    if not isinstance(start, Start):
        return
    clock = SystemClock()
    open_source = partial(new_source, start.source, clock)
    pipeline = Pipeline(start.source, open_source, voice.say, clock, released=_give_memory_back)
    pipeline.start()
    order: Order = start
    feeding: Model | None = None  # what is served; closed by the pipeline, but its manifest stays
    while not isinstance(order, Stop):
        match order:
            case Start(path=str(path), digest=str(digest)) | Load(path, digest):
                loaded = _load(start, Path(path), digest, feeding, voice)
                if loaded is not None:
                    feeding = loaded
                    pipeline.switch(Served(digest, loaded))
            case Unload():
                feeding = None
                pipeline.switch(None)
        order = orders.get()
    pipeline.stop()


def _load(start: Start, directory: Path, digest: str, feeding: Model | None, voice: "_Voice") -> Model | None:
    """Load and warm up a release beside the one that is running; says so where it cannot be."""
    try:
        model = open_release(directory, start.threads)
        try:
            trouble = check_input(model, start.source, feeding)
        except ModelError:
            model.close()
            raise
    except RejectionError as error:
        voice.say(LoadFailed(digest, error.reason, str(error).replace(f"{directory}{os.sep}", ""), error.hint))
    except ConfigError as error:  # no interpreter works here
        voice.say(LoadFailed(digest, Reason.LOAD_FAILED, str(error), error.hint))
    else:
        if trouble is not None:
            voice.say(SourceTrouble(str(trouble), trouble.hint))
        _warm_up(model)
        return model
    return None


def check_input(model: Model, source: SourceConfig, feeding: Model | None = None) -> SourceError | None:
    """Whether this source can feed this model; gives what is wrong with the source where it cannot now.

    Columns that do not fit are the release's fault only where the source feeds another one (`feeding`) well: a word
    misspelled in the configuration must not get a good release refused for ever.

    Raises:
        ModelError: INCOMPATIBLE.
    """
    spec = model.manifest.input
    if isinstance(spec, ImageInput) == isinstance(source, CsvSource):
        takes = "pictures" if isinstance(spec, ImageInput) else "rows of numbers"
        raise ModelError(
            f"release {model.manifest.name} {model.manifest.version} takes {takes}; the source is a {source.kind}",
            reason=Reason.INCOMPATIBLE,
            hint="let this pipeline follow a model for its source, or change the source",
        )
    misfit = _misfit(model, source)
    if misfit is not None and feeding is not None and _misfit(feeding, source) is None:
        raise ModelError(str(misfit), reason=Reason.INCOMPATIBLE, hint=misfit.hint) from misfit
    return misfit


def _misfit(model: Model, source: SourceConfig) -> SourceError | None:
    """What keeps the columns of this source from being those of the model; a file that cannot be read now may fit."""
    spec = model.manifest.input
    if not isinstance(source, CsvSource) or not isinstance(spec, SignalInput):
        return None
    title = f"release {model.manifest.name} {model.manifest.version} takes {model.channels}"
    if source.columns and len(source.columns) != model.channels:
        return SourceError(
            f"the source gives {len(source.columns)} columns ({', '.join(source.columns)}); {title}",
            hint="leave `columns` of the source out to have the model's own",
        )
    with suppress(OSError, UnicodeDecodeError, SourceError), source.path.open(encoding="utf-8-sig") as lines:
        first = next(parse_rows(lines), None)
        lines.seek(0)
        try:
            next(parse_rows(lines, source.columns or spec.channels, name=source.path.name), None)
        except SourceError as error:
            return error
        found = len(first.values) if first is not None and first.values is not None else model.channels
        if not (source.columns or spec.channels) and found != model.channels:
            return SourceError(f"{source.path.name} has {found} columns; {title}", hint="name them with `columns`")
    return None


def _warm_up(model: Model) -> None:
    """Invoke once: the first one allocates what the later ones use."""
    zeros = Prepared(tuple(np.zeros(tensor.shape, tensor.dtype) for tensor in model.engine.inputs))
    with suppress(ModelError):  # zeros may be nothing it is made for: its frames will show
        model.invoke(zeros)


class _Voice:
    """Words to the supervisor, from any thread."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = Lock()

    def say(self, word: Word) -> None:
        line = format_line(word)
        with self._lock:
            try:
                self._connection.sendall(line)
            except OSError:
                os._exit(0)  # the supervisor is gone


def _listen(connection: socket.socket, orders: "SimpleQueue[Order]") -> None:
    with suppress(OSError), connection.makefile("rb") as lines:
        for line in lines:
            order = parse_order(line)
            orders.put(order)
            if isinstance(order, Stop):
                return
    os._exit(0)  # the supervisor is gone, and whatever is being loaded is for nobody


def _give_memory_back() -> None:
    """Return what a closed model has left to the system: glibc keeps it otherwise."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _end_process(failed: threading.ExceptHookArgs) -> None:
    """A thread has met a bug: the process ends, and the supervisor starts another."""
    traceback.print_exception(failed.exc_type, failed.exc_value, failed.exc_traceback)
    os._exit(_SOFTWARE_ERROR)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
