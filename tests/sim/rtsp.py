"""Starts and stops the RTSP server of `rtsp_server`, in a process of its own."""

import functools
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_SYSTEM_PYTHON = "/usr/bin/python3"
_SCRIPT = Path(__file__).with_name("rtsp_server.py")
_IMPORT = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
PACKAGES = (
    "python3-gi gir1.2-gst-rtsp-server-1.0"
    " gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly"
)


@functools.cache
def has_server() -> bool:
    try:
        return (
            subprocess.run([_SYSTEM_PYTHON, "-c", _IMPORT], capture_output=True, timeout=60, check=False).returncode
            == 0
        )
    except OSError:
        return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextmanager
def run_rtsp(port: int, *account: str) -> Iterator[list[str]]:
    """Serve on the loopback until the end of the block; then the process is killed. Gives the paths there are.

    `account`: user, password, and `basic` or `digest`.
    """
    if not has_server():
        pytest.skip(f"needs GStreamer's RTSP server: apt install {PACKAGES}")
    command = [_SYSTEM_PYTHON, str(_SCRIPT), str(port), *account]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            word, *paths = process.stdout.readline().split()
            assert word == "ready"
            yield paths
        finally:
            process.kill()
