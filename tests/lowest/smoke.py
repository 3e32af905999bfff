"""What a user does first, with whatever versions this interpreter finds; the arguments are those that it must find."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from PIL import Image, ImageDraw

SETTINGS = (
    "data.input_size=[32, 32]",
    "data.resize=[36, 36]",
    "data.workers=0",
    "backbone.overrides={patch_size: 8, embed_dim: 32, depth: 1, num_heads: 2}",
    "ocm.k=1",
    "sba.enabled=false",
    "train.epochs=1",
    "train.batch_size=4",
)
TIMEOUT_S = 300


def main(wanted: list[str]) -> None:
    for one in wanted:
        name, _, version = one.partition("==")
        found = importlib.metadata.version(name)
        if found.removesuffix(".0") != version.removesuffix(".0"):
            sys.exit(f"{name} {found} was found, {version} is the one to try")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        data, run = draw(place / "data"), place / "run"
        cdtr("train", data, "--out", run, *(word for one in SETTINGS for word in ("--set", one)))
        cdtr("describe", run)
        cdtr("localize", run, data, "--out", place / "boxes", "--threshold", "0.5", "--format", "coco,voc,yolo,csv")
        if len(json.loads((place / "boxes" / "coco.json").read_text())["images"]) != 8:
            sys.exit("localize did not answer for the 8 images")
        cdtr("evaluate", run, "--data", data, "--split", "train", "--threshold", "0.5")
        exported = place / "run.onnx"
        cdtr("export", run, "--onnx", exported, "--threshold", "0.5")
        cdtr("localize", exported, data, "--out", place / "onnx", "--threshold", "0.5", "--format", "csv")
        serve(run, next(data.rglob("*.png")))
    print(f"{len(wanted)} lowest versions work: train, describe, localize, evaluate, export, serve")


def draw(root: Path) -> Path:
    """Eight images of two classes."""
    for label in ("dot", "bar"):
        (root / label).mkdir(parents=True)
        for number in range(4):
            image = Image.new("RGB", (48, 40), "white")
            box = (5, 5, 20 + number, 20) if label == "dot" else (2, 18 + number, 44, 24 + number)
            (ImageDraw.Draw(image).ellipse if label == "dot" else ImageDraw.Draw(image).rectangle)(box, "black")
            image.save(root / label / f"{number}.png")
    return root


def cdtr(*words: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cdtr", *map(str, words)], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    if done.returncode:
        sys.exit(f"cdtr {words[0]} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    print(f"cdtr {words[0]}: good")


def serve(run: Path, picture: Path) -> None:
    """Start the server, ask it for boxes, stop it."""
    with tempfile.TemporaryFile("w+") as said:
        command = [sys.executable, "-m", "cdtr", "serve", str(run), "--port", "0", "--threshold", "0.5"]
        server = subprocess.Popen(command, stdout=said, stderr=said, env={**os.environ, "PYTHONUNBUFFERED": "1"})
        try:
            address = wait_for_address(server, said)
            body = (
                b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n'
                b"Content-Type: image/png\r\n\r\n" + picture.read_bytes() + b"\r\n--x--\r\n"
            )
            headers = {"Content-Type": "multipart/form-data; boundary=x"}
            request = urllib.request.Request(f"{address}/api/localize", body, headers)
            with urllib.request.urlopen(request, timeout=60) as answer:
                json.load(answer)
            with urllib.request.urlopen(address, timeout=60) as page:
                page.read()
        finally:
            server.terminate()
            server.wait(30)
    print("cdtr serve: good")


def wait_for_address(server: subprocess.Popen[bytes], said: object) -> str:
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end:
        said.seek(0)  # type: ignore[attr-defined]
        text = said.read()  # type: ignore[attr-defined]
        found = re.search(r"http://[\d.]+:\d+", text)
        if found:
            return found[0]
        if server.poll() is not None:
            sys.exit(f"cdtr serve ended with {server.returncode}:\n{text[-3000:]}")
        time.sleep(0.2)
    sys.exit("cdtr serve did not say its address")


if __name__ == "__main__":
    main(sys.argv[1:])
