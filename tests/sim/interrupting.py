"""`edgectl` as a terminal runs it: Ctrl-C reaches it, whatever the tests themselves were started with."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# A shell starts what it runs in the background with SIGINT ignored, children inherit that, and Python then keeps to it.
_MAIN = """\
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from converter.cli import main
main()
"""


@contextmanager
def running_edgectl(*arguments: str, **options: Any) -> Iterator["subprocess.Popen[str]"]:
    """`options` are those of `Popen`. Killed at the end should it still run, so that no failed test hangs."""
    with subprocess.Popen([sys.executable, "-c", _MAIN, *arguments], text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()
