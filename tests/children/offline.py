"""No socket of a process that has imported this goes beyond loopback; an audit hook cannot be patched away."""

from __future__ import annotations

import os
import sys
from ipaddress import ip_address
from typing import Any


class OutsideError(RuntimeError):
    """A test tried to leave this machine."""


def _refuse_outside(event: str, arguments: tuple[Any, ...]) -> None:
    if event in {"socket.connect", "socket.sendto", "socket.sendmsg"}:
        address = arguments[-1]
        if isinstance(address, tuple) and not _loopback(str(address[0])):
            raise OutsideError(f"{event} to {address}: the tests need no network and may use none")
    elif event in {"socket.getaddrinfo", "socket.gethostbyname"} and not _loopback(str(arguments[0])):
        raise OutsideError(f"{event} of {arguments[0]!r}: the tests need no network and may use none")


def _loopback(host: str) -> bool:
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host in {"localhost", "", "None", "b'localhost'", os.uname().nodename}


sys.addaudithook(_refuse_outside)
