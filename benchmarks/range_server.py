"""A web server that honors Range, over TLS, in a process of its own."""

import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from tests.link.test_https import giving
from tests.sim.web import Web, run_web


@contextmanager
def serve(file: Path, certificate: Path, key: Path) -> Iterator[int]:
    """Serve `file` under /; gives the port."""
    command = [sys.executable, "-m", "benchmarks.range_server", str(file), str(certificate), str(key)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


def main(file: Path, certificate: Path, key: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with run_web(Web({f"/{file.name}": giving(file.read_bytes())}), context) as web:
        print(web.port, flush=True)
        Event().wait()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
