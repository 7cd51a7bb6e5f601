"""Children of `converter.child` that need not load their framework: they are forked from a process that has.

Loading TensorFlow or litert-torch takes longer than all that most tests do with it. A child is what it is otherwise: a
process of its own that runs the module as `__main__` with its own log, working directory and environment. Tests marked
`cold` start it as `edgectl` does. Run as a module, this file is the process that children are forked from.
"""

import json
import os
import runpy
import select
import subprocess
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Self

from converter import child

_TENSORFLOW = ("tensorflow", "keras", "tf_keras", "tensorflow.lite.python.lite")
_TORCH = ("torch", "litert_torch")
_LOADED: Mapping[str, tuple[str, ...]] = {
    "converter.frontends.frozen": _TENSORFLOW,
    "converter.frontends.keras": _TENSORFLOW,
    "converter.frontends.saved_model": _TENSORFLOW,
    "converter.frontends.onnx": _TORCH,
    "converter.frontends.sklearn": _TORCH,
    "converter.frontends.torch": _TORCH,
}
_start_cold = child._start  # before any test replaces it


class Templates:
    """One process for each set of frameworks, started when it is first needed.

    `loaded`: the modules whose children are forked, with what is loaded for them. Others start cold, as all do where
    libraries keep threads of their own over a fork (macOS).
    """

    def __init__(self, loaded: Mapping[str, tuple[str, ...]] = _LOADED) -> None:
        self._loaded = loaded if sys.platform == "linux" else {}
        self._running: dict[tuple[str, ...], subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running.values():
            with process:  # which ends at the end of its input
                pass

    def start(
        self, command: list[str], environment: Mapping[str, str], stdout: int | IO[bytes], log: IO[bytes]
    ) -> "_Forked | subprocess.Popen[bytes]":
        """In the place of `converter.child._start`."""
        module = command[2]
        if module not in self._loaded or stdout is not log:
            return _start_cold(command, environment, stdout, log)
        request = {"argv": command[2:], "log": log.name, "cwd": str(Path.cwd()), "environment": {**environment}}
        return _Forked(self._template(self._loaded[module], environment), command, request)

    def _template(self, names: tuple[str, ...], environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        if names not in self._running:
            # A process of several threads cannot be forked safely, and those of OpenBLAS begin when it is loaded.
            self._running[names] = subprocess.Popen(
                [sys.executable, "-m", __name__, *names],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**environment, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
        return self._running[names]


class _Forked:
    """What `converter.child` asks of a `subprocess.Popen`; its template has no other child meanwhile."""

    def __init__(self, template: "subprocess.Popen[bytes]", args: list[str], request: Mapping[str, Any]) -> None:
        assert template.stdin is not None
        assert template.stdout is not None
        self.args = args
        self._told = template.stdout
        self._code: int | None = None
        template.stdin.write(json.dumps(request).encode() + b"\n")
        self._pid = int(self._told.readline())

    def wait(self, timeout_s: float | None = None) -> int:
        if self._code is None:
            if not select.select([self._told], [], [], timeout_s)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout_s or 0.0)
            self._code = int(self._told.readline())
        return self._code

    def kill(self) -> None:
        if self._code is None:
            os.kill(self._pid, 9)


def main() -> None:
    """Load what is named, then fork a child for each line of input; tell its process id, and how it ended."""
    told = os.dup(1)
    os.dup2(2, 1)  # what is loaded may chatter
    for name in sys.argv[1:]:
        import_module(name)
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        raise RuntimeError(f"expected one thread after loading {sys.argv[1:]}, found {threads}")
    with open(0, "rb", buffering=0, closefd=False) as lines:
        for line in iter(lines.readline, b""):
            pid = os.fork()
            if pid == 0:
                os.close(told)
                _become(json.loads(line))
                return
            os.write(told, b"%d\n" % pid)
            os.write(told, b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _become(request: Mapping[str, Any]) -> None:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    log = os.open(request["log"], os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["argv"]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
