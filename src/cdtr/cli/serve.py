"""Command line of `cdtr serve`."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from cdtr.cli._options import DeviceOption, ThresholdOption


def command(
    run: Annotated[str, typer.Argument(help="A trained run folder, a hub id, or a .onnx file of `cdtr export`.")],
    examples: Annotated[
        Path | None, typer.Option("--examples", help="A folder of images that visitors may walk through.")
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; anything but this machine's own lets others in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8000,
    threshold: ThresholdOption = None,
    device: DeviceOption = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Waiting images in one forward pass.")] = 8,
    max_upload: Annotated[float, typer.Option("--max-upload", min=0.01, help="Most MiB of one request.")] = 32,
    max_pixels: Annotated[
        float, typer.Option("--max-pixels", min=0.01, max=178, help="Most megapixels of one image.")
    ] = 25,
    max_images: Annotated[int, typer.Option("--max-images", min=1, help="Most images of one batch.")] = 2000,
    max_requests: Annotated[
        int, typer.Option("--max-requests", min=1, help="Uploads in work or in the queue; more are told to come back.")
    ] = 256,
    token: Annotated[
        str | None,
        typer.Option("--token", envvar="CDTR_TOKEN", help="Answer only to those who know this; the page asks for it."),
    ] = None,
) -> None:
    """Start a web page where one drops images and gets boxes and heat maps, and a JSON interface for programs.

    Everything that the page needs comes from this server, so it works without a network. Nothing of an image is kept
    after its answer. Without --token, whoever reaches the address may use it. Ctrl+C ends it.

    Example: cdtr serve runs/neu --examples photos/ --port 8000
    """
    from PIL import Image

    from cdtr.api import Localizer
    from cdtr.errors import ConfigError, how_to_install

    try:
        import uvicorn

        from cdtr.app.access import Access
        from cdtr.app.connections import TimedConnection
        from cdtr.app.examples import Examples
        from cdtr.app.limits import MIB, Limits
        from cdtr.app.server import create_app
    except ModuleNotFoundError as error:
        raise ConfigError(f"`cdtr serve` needs {error.name}: {how_to_install('serve')}") from error
    access = None if token is None else Access(token)
    shown = None if examples is None else Examples(examples)
    with _listen(host, port) as listening:
        localizer = Localizer.from_pretrained(run, device, threshold)
        limits = Limits(
            upload_bytes=round(max_upload * MIB),
            pixels=round(max_pixels * 1e6),
            images=max_images,
            requests=max_requests,
        )
        own = _is_own(host)
        names = dict.fromkeys(("localhost", "127.0.0.1", "[::1]", host.lower())) if own else None
        list(localizer.stream([("warm-up", Image.new("RGB", (64, 64)))]))  # the first visitor should not wait
        app = create_app(localizer, Path(run).resolve().name, limits, shown, names, batch_size, access)
        listening.listen()  # so that whoever reads the address is not turned away
        _announce(host, listening.getsockname()[1], own, token)
        settings = uvicorn.Config(
            app, http=TimedConnection, log_level="warning", access_log=False, timeout_graceful_shutdown=5
        )
        with suppress(KeyboardInterrupt):  # raised again by uvicorn, unless interrupts are ignored, as behind nohup
            uvicorn.Server(settings).run(sockets=[listening])
        print("stopped")


def _announce(host: str, port: int, own: bool, token: str | None) -> None:
    from cdtr.app.access import SHORT
    from cdtr.cli._shared import warn

    if token is None and not own:
        warn(f"{host} is open to the network without a --token: whoever reaches it may use it")
    if token is not None and len(token) < SHORT:
        warn(f"a token of {len(token)} characters may be guessed: take {SHORT} or more")
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    print(f"serving at {address}, JSON interface at {address}/docs; Ctrl+C ends it", flush=True)


def _is_own(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _listen(host: str, port: int) -> socket.socket:
    """A socket at the address, taken before the model is loaded; ConfigError where it cannot be had."""
    from cdtr.errors import ConfigError

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
            f"cannot listen on {host}, port {port} ({error.strerror or error}): give another --port, 0 takes a free one"
        ) from error
    return listening
