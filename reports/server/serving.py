"""The address that a server answers at, and its end: a port taken before a model is loaded, signals that end it."""

import errno
import logging
import signal
import socket
import threading
from typing import Any

import uvicorn

from circuits.errors import InputError

#: names of this machine that no other machine reaches
LOCAL = ("127.0.0.1", "localhost", "::1")
#: seconds that answers under way have at the end
GRACE = 1


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        port: 0 for any free one.

    Raises:
        InputError: no port, a host that is none of this machine's, a port in use or kept for the system.
    """
    if not 0 <= port <= 65535:
        raise InputError(f"--port {port}: give a number from 1 to 65535, or 0 for any free port")
    if not host.strip():
        raise InputError("--host is empty: leave it out for 127.0.0.1, which only this machine reaches")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise InputError(f"--host {host}: no such address; 127.0.0.1 is this machine alone") from None
    found = socket.socket(family, kind, protocol)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(64)  # at once: two sockets may be bound to a port, and one may listen
    except OSError as error:
        found.close()
        reason = {
            errno.EADDRINUSE: f"--port {port}: something else on {host} has it; give another, or 0 for any free port",
            errno.EACCES: f"--port {port}: kept for the system; give one above 1023",
            errno.EADDRNOTAVAIL: f"--host {host}: no address of this machine; 127.0.0.1 is this machine alone",
        }.get(error.errno or 0, f"cannot listen at {host}, port {port}: {error.strerror}")
        raise InputError(reason) from None
    return found


def url_of(host: str, at: socket.socket) -> str:
    """Where a browser on this machine finds it."""
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{at.getsockname()[1]}/"


def server_of(app: Any) -> uvicorn.Server:
    """A quiet server: no line a request."""
    return uvicorn.Server(
        uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", server_header=False, ws="none",
                       timeout_graceful_shutdown=GRACE)
    )  # fmt: skip


def _noteworthy(line: logging.LogRecord) -> bool:
    """Whether a line of the server's log is worth a reader's time: that it ends what is under way at its end is not."""
    return not line.getMessage().startswith("Cancel ")


def serve(app: Any, at: socket.socket) -> None:
    """Answer until Ctrl-C or SIGTERM, which end it without an error."""
    server = server_of(app)
    logging.getLogger("uvicorn.error").addFilter(_noteworthy)
    main = threading.current_thread() is threading.main_thread()
    # The server raises what it was ended by once more when it is done; there is nothing left to end then.
    before = {name: signal.signal(name, lambda *_: None) for name in (signal.SIGINT, signal.SIGTERM) if main}
    try:
        server.run(sockets=[at])
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
        at.close()
