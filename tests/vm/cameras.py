"""What `run.sh` runs inside of the virtual machine: `CameraSource` on cameras of a real kernel.

vivid shows bars of eight colors, sends YUYV, and can be unplugged by unbinding its driver.
"""

import os
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np

from edge_agent.clock import SystemClock
from edge_agent.config.sources import CameraSource
from edge_agent.errors import SourceError
from edge_agent.inference.frame import Frame, Unusable, Wanted
from edge_agent.inference.sources.camera import raw_picture
from edge_agent.inference.sources.source import Source, new_source
from edge_agent.inference.sources.v4l2 import Asked, open_device
from edge_agent.transform.picture import EncodedPicture, YuvPicture
from tests.inference.sources.pictures import jpeg, seen, shade

DRIVER = Path("/sys/bus/platform/drivers/vivid")
# red, green and blue of white, yellow, cyan, green, magenta, red, blue and black
IS_LIGHT = ((1, 1, 1), (1, 1, 0), (0, 1, 1), (0, 1, 0), (1, 0, 1), (1, 0, 0), (0, 0, 1), (0, 0, 0))
SMALL: dict[str, Any] = {"width_px": 320, "height_px": 180}


def main() -> None:
    device = node("capture")
    for check in (colors_are_right, stamps_are_true, errors_say_what_to_do, unplugged_and_back):
        check(device)
        say(f"{check.__name__.replace('_', ' ')}: ok")
    if Path("/dev/video40").exists():
        motion_jpeg_is_handed_on("/dev/video40")
        say("motion jpeg is handed on: ok")
    say("all is well")


def colors_are_right(device: str) -> None:
    with opened(device) as source:
        frame = take(source, 5)[-1]
    assert isinstance(frame.picture, YuvPicture)
    check_bars("auto", frame.picture)
    for fourcc in ("YUYV", "NV12", "YU12"):
        camera = open_device(device, Asked(SMALL["width_px"], SMALL["height_px"], None, (fourcc,)))
        grabbed = camera.grab(10)
        assert grabbed is not None
        check_bars(fourcc, raw_picture(grabbed.content, camera.pixel_format, fourcc))
        camera.close()


def check_bars(name: str, picture: YuvPicture) -> None:
    bars = seen(picture, (8, 18))[-1]  # below the text that vivid writes over them
    say(f"{name}: {picture.size_px} {picture.matrix} full_range={picture.full_range} {bars.tolist()}")
    assert [tuple(int(light) for light in bar > 100) for bar in bars] == list(IS_LIGHT)


def stamps_are_true(device: str) -> None:
    clock = SystemClock()
    with opened(device, camera_fps=10.0) as source:
        frames = take(source, 10)
        ages_s = [clock.now_s() - frame.captured_s for frame in frames[-1:]]
    gaps_s = np.diff([frame.captured_s for frame in frames])
    say(f"gaps of {gaps_s.round(3).tolist()} s; the last one is {ages_s[0]:.3f} s old")
    assert (gaps_s > 0).all()
    assert 0 <= ages_s[0] < 2


def errors_say_what_to_do(device: str) -> None:
    told(lambda: opened("/dev/video99"), "No such file", "there is /dev/video")
    told(lambda: opened(node("output")), "none that gives pictures", "/dev/video")
    told(lambda: opened(device, format="mjpeg"), "YUYV", "auto")
    with opened(device) as source:
        take(source, 1)
        told(lambda: opened(device), "busy", "another program")
    os.seteuid(65534)
    told(lambda: opened(device), "Permission denied", "group video")
    os.seteuid(0)


def unplugged_and_back(device: str) -> None:
    source = opened(device)
    for _ in range(2):
        with source:
            take(source, 2)
            (DRIVER / "unbind").write_text("vivid.0")
            error = refused(lambda: take(source, 1000))
            say(f"unplugged: {error}")
            assert "unplugged" in str(error)
        told(lambda: opened(device), "No such file", "is it plugged in?")
        (DRIVER / "bind").write_text("vivid.0")
        with source:
            assert [frame.name for frame in take(source, 2)] == ["0", "1"]
        say("plugged in again: goes on")


def motion_jpeg_is_handed_on(device: str) -> None:
    """v4l2loopback gives what another program writes into it, in the format that program has set."""
    import ctypes
    import fcntl

    from edge_agent.inference.sources import v4l2_abi as abi

    writer = os.open(device, os.O_RDWR)
    wanted = abi.Format(type=2)  # V4L2_BUF_TYPE_VIDEO_OUTPUT
    wanted.fmt.pix.width, wanted.fmt.pix.height = 64, 48
    wanted.fmt.pix.pixelformat = int.from_bytes(b"MJPG", "little")
    wanted.fmt.pix.sizeimage = 64 * 48 * 3
    fcntl.ioctl(writer, abi.S_FMT, wanted)
    say(f"v4l2loopback, {ctypes.sizeof(wanted)} bytes of format")
    going = True

    def write() -> None:
        while going:
            os.write(writer, jpeg(120))

    thread = Thread(target=write, daemon=True)
    os.write(writer, jpeg(120))
    thread.start()
    with opened(device, width_px=64, height_px=48) as source:
        frames = take(source, 5)
    going = False
    sizes = [len(frame.picture.content) for frame in frames if isinstance(frame.picture, EncodedPicture)]
    say(f"motion JPEG of {sizes} bytes")
    assert len(sizes) == 5
    assert [shade(frame) for frame in frames] == [120] * 5


def opened(device: str, **more: Any) -> Source:
    return new_source(CameraSource("camera", device, **{**SMALL, **more}), SystemClock())


def take(source: Source, count: int) -> list[Frame]:
    frames: list[Frame] = []
    while len(frames) < count:
        item = source.take(Wanted())
        assert not isinstance(item, Unusable), item
        if isinstance(item, Frame):
            frames.append(item)
    return frames


def told(open_it: Callable[[], Source], message: str, hint: str) -> None:
    error = refused(lambda: open_it().__enter__())
    say(f"{error} | {error.hint}")
    assert message in str(error), error
    assert hint in str(error.hint), error.hint


def refused(do: Callable[[], object]) -> SourceError:
    try:
        do()
    except SourceError as error:
        return error
    raise AssertionError("it has done what it could not")


def node(kind: str) -> str:
    """The device of vivid that captures, or gives out, video."""
    for folder in sorted(Path("/sys/class/video4linux").iterdir()):
        name = (folder / "name").read_text().strip()
        if folder.name.startswith("video") and name.endswith(f"vid-{kind[:3]}"):
            return f"/dev/{folder.name}"
    raise AssertionError(f"vivid has no {kind}")


def say(text: str) -> None:
    print(f"vm: {text}", flush=True)


if __name__ == "__main__":
    main()
