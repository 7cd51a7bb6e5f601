"""A program called arecord that does what the test says: a real process, first on PATH."""

import os
import sys
from pathlib import Path

# What a script may use: `run`, how often it was started before; `say`, a line on stderr; `record`, samples that count
_BEGIN = """#!{python} -SE
import os, pathlib, signal, struct, sys, time
folder = pathlib.Path({folder!r})
with (folder / "runs").open("a") as log:
    log.write(str(os.getpid()) + " " + " ".join(sys.argv[1:]) + "\\n")
run = len((folder / "runs").read_text().splitlines()) - 1

def say(text):
    os.write(2, text.encode() + b"\\n")

def record(count, first=0, channels=1):
    for number in range(first, first + count):
        sound = struct.pack("<h", number % 30_000) * channels
        while sound:
            sound = sound[os.write(1, sound):]

def record_at_once(count, first=0):
    os.write(1, struct.pack("<%dh" % count, *range(first, first + count)))

def wait_for(name):
    while not (folder / name).exists():
        time.sleep(0.005)

def hang():
    signal.pause()

say("Recording raw data 'stdin' : Signed 16 bit Little Endian, Rate 16000 Hz, Mono")
"""


class FakeArecord:
    """Puts itself before the real one as soon as `does` is called."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.path = f"{folder}{os.pathsep}{os.environ['PATH']}"

    def does(self, script: str) -> None:
        program = self._folder / "arecord"
        program.write_text(_BEGIN.format(python=sys.executable, folder=str(self._folder)) + script)
        program.chmod(0o755)

    def let(self, name: str) -> None:
        """What `wait_for(name)` waits for in the script."""
        (self._folder / name).touch()

    @property
    def runs(self) -> list[tuple[int, str]]:
        """The process and the arguments of each run so far."""
        lines = (self._folder / "runs").read_text().splitlines()
        return [(int(line.partition(" ")[0]), line.partition(" ")[2]) for line in lines]
