"""Command line of `cdtr serve`."""

from pathlib import Path
from typing import Annotated

from cdtr.cli._options import DeviceOption, ThresholdOption, argument, option


def command(
    run: Annotated[str, argument("A trained run folder, a hub id, or a .onnx file of `cdtr export`.")],
    examples: Annotated[Path | None, option("A folder of images that visitors may walk through.")] = None,
    host: Annotated[str, option("Address to listen on; anything but this machine's own lets others in.")] = "127.0.0.1",
    port: Annotated[int, option("0 takes a free one.", min=0, max=65535)] = 8000,
    threshold: ThresholdOption = None,
    device: DeviceOption = None,
    batch_size: Annotated[int, option("Waiting images in one forward pass.", min=1)] = 8,
    max_upload: Annotated[float, option("Most MiB of one request.", min=0.01)] = 32,
    max_pixels: Annotated[float, option("Most megapixels of one image.", min=0.01, max=178)] = 25,
    max_images: Annotated[int, option("Most images of one batch.", min=1)] = 2000,
    max_requests: Annotated[int, option("Uploads in work or in the queue; more are told to come back.", min=1)] = 256,
    token: Annotated[
        str | None, option("Respond only to those who know this; the page asks for it.", envvar="CDTR_TOKEN")
    ] = None,
) -> None:
    """Start a web page where one drops images and gets boxes and heat maps, and a JSON interface for programs.

    Everything that the page needs comes from this server, so it works without a network. Nothing of an image is kept
    after its response. Without --token, whoever reaches the address may use it. Ctrl+C ends it.

    Example: cdtr serve runs/neu --examples photos/ --port 8000
    """
    from cdtr.cli._output import TERMINAL
    from cdtr.errors import import_extra

    for module in ("uvicorn", "cdtr.app.running"):
        import_extra(module, "`cdtr serve`", "serve")
    from cdtr.app.limits import MIB, Limits
    from cdtr.app.running import serve

    serve(
        run,
        host=host,
        port=port,
        examples=examples,
        token=token,
        threshold=threshold,
        device=device,
        batch_size=batch_size,
        limits=Limits(round(max_upload * MIB), round(max_pixels * 1e6), max_images, max_requests),
        on_ready=lambda at: print(f"serving at {at}, JSON interface at {at}/docs; Ctrl+C ends it", flush=True),
        reporter=TERMINAL,
    )
    print("stopped")
