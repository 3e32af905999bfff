"""Start the server of a run and wait until it is stopped: what `cdtr serve` does."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import uvicorn
from PIL import Image

from cdtr.api import Localizer
from cdtr.app.access import SHORT, Access
from cdtr.app.connections import TimedConnection
from cdtr.app.examples import Examples
from cdtr.app.limits import Limits
from cdtr.app.server import create_app
from cdtr.errors import ConfigError
from cdtr.workflows.reporting import SILENT, Reporter


def serve(
    run: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    examples: Path | None = None,
    token: str | None = None,
    threshold: float | None = None,
    device: str | None = None,
    batch_size: int = 8,
    limits: Limits | None = None,
    on_ready: Callable[[str], None] | None = None,
    reporter: Reporter = SILENT,
) -> None:
    """Serve a run until Ctrl+C.

    Args:
        run: a run folder, a hub id, or an exported ONNX file.
        host: address to listen on.
        port: 0 takes a free one.
        examples: a folder of images that visitors may walk through.
        token: respond only to those who know it.
        threshold: the map threshold; by default the calibrated one.
        device: where to compute; by default CUDA where there is one.
        batch_size: images in one forward pass at most.
        limits: what a visitor may send.
        on_ready: takes the address once requests are accepted.
        reporter: takes a warning where the server is open to others.

    Raises:
        ConfigError: the address cannot be had, or an argument cannot be used.
        CheckpointError: the run cannot be loaded.
    """
    access = None if token is None else Access(token)
    shown = None if examples is None else Examples(examples)
    with _bind(host, port) as listening:
        localizer = Localizer.from_pretrained(run, device, threshold)
        is_local = _is_loopback(host)
        names = dict.fromkeys(("localhost", "127.0.0.1", "[::1]", host.lower())) if is_local else None
        list(localizer.stream([("warm-up", Image.new("RGB", (64, 64)))]))  # the first visitor should not wait
        app = create_app(localizer, Path(run).resolve().name, limits, shown, names, batch_size, access)
        listening.listen()  # so that whoever reads the address is not turned away
        if token is None and not is_local:
            reporter.warn(f"{host} is open to the network without a `token=`: whoever reaches it may use it")
        if token is not None and len(token) < SHORT:
            reporter.warn(f"a token of {len(token)} characters may be guessed: take {SHORT} or more")
        if on_ready is not None:
            on_ready(f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}")
        settings = uvicorn.Config(
            app, http=TimedConnection, log_level="warning", access_log=False, timeout_graceful_shutdown=5
        )
        with suppress(KeyboardInterrupt):  # raised again by uvicorn, unless interrupts are ignored, as behind nohup
            uvicorn.Server(settings).run(sockets=[listening])


def _is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _bind(host: str, port: int) -> socket.socket:
    """Return a socket at the address, taken before the model is loaded; ConfigError where it cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
        except BaseException:
            listening.close()
            raise
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}, port {port} ({error.strerror or error}): give another `port=`, 0 takes a free "
            "one"
        ) from error
    return listening
