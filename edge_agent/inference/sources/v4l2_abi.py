"""The structures and numbers of linux/videodev2.h that `v4l2` needs, as the kernel lays them out on this machine."""

import ctypes

_U32 = ctypes.c_uint32


class Capability(ctypes.Structure):
    _fields_ = (
        ("driver", ctypes.c_uint8 * 16), ("card", ctypes.c_uint8 * 32), ("bus", ctypes.c_uint8 * 32),
        ("version", _U32), ("capabilities", _U32), ("device_caps", _U32), ("reserved", _U32 * 3),
    )  # fmt: skip


class FormatDescription(ctypes.Structure):
    _fields_ = (
        ("index", _U32), ("type", _U32), ("flags", _U32), ("description", ctypes.c_uint8 * 32),
        ("pixelformat", _U32), ("mbus_code", _U32), ("reserved", _U32 * 3),
    )  # fmt: skip


class Pixels(ctypes.Structure):
    _fields_ = tuple(
        (name, _U32)
        for name in (
            "width", "height", "pixelformat", "field", "bytesperline", "sizeimage", "colorspace", "priv", "flags",
            "ycbcr_enc", "quantization", "xfer_func",
        )
    )  # fmt: skip


class FormatUnion(ctypes.Union):
    _fields_ = (("pix", Pixels), ("window", ctypes.c_void_p), ("raw", ctypes.c_uint8 * 200))  # window: for alignment


class Format(ctypes.Structure):
    _fields_ = (("type", _U32), ("fmt", FormatUnion))


class Capture(ctypes.Structure):
    _fields_ = (
        ("capability", _U32), ("mode", _U32), ("numerator", _U32), ("denominator", _U32), ("extended", _U32),
        ("buffers", _U32), ("reserved", _U32 * 4), ("rest", ctypes.c_uint8 * 160),
    )  # fmt: skip


class Parameters(ctypes.Structure):
    _fields_ = (("type", _U32), ("capture", Capture))


class Request(ctypes.Structure):
    _fields_ = (
        ("count", _U32), ("type", _U32), ("memory", _U32), ("capabilities", _U32), ("flags", ctypes.c_uint8),
        ("reserved", ctypes.c_uint8 * 3),
    )  # fmt: skip


class Where(ctypes.Union):
    _fields_ = (("offset", _U32), ("address", ctypes.c_ulong))


class Buffer(ctypes.Structure):
    _fields_ = (
        ("index", _U32), ("type", _U32), ("bytesused", _U32), ("flags", _U32), ("field", _U32),
        ("timestamp_s", ctypes.c_long), ("timestamp_us", ctypes.c_long), ("timecode", _U32 * 4), ("sequence", _U32),
        ("memory", _U32), ("m", Where), ("length", _U32), ("reserved", _U32), ("request", _U32),
    )  # fmt: skip


def _request(direction: int, number: int, argument: "type[ctypes.Structure | ctypes.c_int]") -> int:
    """_IOC of asm-generic/ioctl.h, which ARM and x86 share."""
    return direction << 30 | ctypes.sizeof(argument) << 16 | ord("V") << 8 | number


_WRITE, _READ = 1, 2
QUERYCAP = _request(_READ, 0, Capability)
ENUM_FMT = _request(_READ | _WRITE, 2, FormatDescription)
S_FMT = _request(_READ | _WRITE, 5, Format)
REQBUFS = _request(_READ | _WRITE, 8, Request)
QUERYBUF = _request(_READ | _WRITE, 9, Buffer)
QBUF = _request(_READ | _WRITE, 15, Buffer)
DQBUF = _request(_READ | _WRITE, 17, Buffer)
STREAMON = _request(_WRITE, 18, ctypes.c_int)
STREAMOFF = _request(_WRITE, 19, ctypes.c_int)
G_PARM = _request(_READ | _WRITE, 21, Parameters)
S_PARM = _request(_READ | _WRITE, 22, Parameters)
