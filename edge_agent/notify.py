"""Telling systemd how we are: the sd_notify datagram, nothing more.

Source: sd_notify(3). Without $NOTIFY_SOCKET (not started by systemd) every call does nothing.
"""

import os
import socket


def notify(*assignments: str) -> None:
    """Send `READY=1`, `STATUS=...`, `WATCHDOG=1` and the like, one assignment each."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]  # the abstract namespace
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.connect(address)
            channel.sendall("\n".join(assignments).encode())
    except OSError:
        return  # systemd gone: its watchdog is what notices, not we


def watchdog_interval_s() -> float | None:
    """How often systemd wants a sign of life: half its time-out, or None where it wants none."""
    timeout_us = os.environ.get("WATCHDOG_USEC", "")
    mine = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(timeout_us) / 2_000_000 if timeout_us.isdigit() and mine else None
