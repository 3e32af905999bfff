"""Training of a small CLIP on class labels and prompts, where no pretrained one knows the classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from safetensors.torch import save
from torch import Tensor, nn

from cdtr.config import Config
from cdtr.data.loader import eval_loader, train_loader
from cdtr.data.split import hold_out, training_samples
from cdtr.data.transforms import denormalise
from cdtr.errors import ConfigError, DataError, TrainingError
from cdtr.files import is_stray
from cdtr.image_files.reading import check_images
from cdtr.model.clip import clean_class_name, freeze
from cdtr.model.clip_folder import CONFIG_FILE, WEIGHTS_FILE, build_network
from cdtr.records import DataSource
from cdtr.runs import write_atomic, write_json
from cdtr.terminal import PlainConsole, say_to
from cdtr.training.clip_fit import ClipFit, probe_clip


@dataclass(frozen=True, slots=True)
class SmallClip:
    """The size of the model and of its training: minutes on two cores.

    The image tower is a residual network: from scratch on a few thousand images it learns, while a transformer of the
    same cost stays near chance (docs/benchmarks.md).

    Attributes:
        image_size: height and width of the images, in pixels.
        width: channels of the stem of the image tower.
        blocks: residual blocks in each of its four stages.
        text_width, text_layers: size of the text tower.
        embed_dim: length of the embeddings of images and prompts.
        epochs, batch_size, lr: of the training.
        text_lr_share: learning rate of the text tower over that of the image tower. At 1, all prompts may collapse to
            the mean of the images before these are separated, and stay at chance.
        hide_share: share of the images that have a part blacked out.
    """

    image_size: int = 64
    width: int = 16
    blocks: int = 1
    text_width: int = 64
    text_layers: int = 2
    embed_dim: int = 64
    epochs: int = 10
    batch_size: int = 32
    lr: float = 1e-3
    text_lr_share: float = 0.1
    hide_share: float = 0.5


def train_clip(
    config: Config, source: DataSource, out: Path, settings: SmallClip | None = None, console: Console | None = None
) -> ClipFit:
    """Train an open_clip model on the train split and write a folder that open_clip and ``sba.model`` read.

    Images are pulled to their class's prompt and away from the other classes' prompts. A share of them has a random
    part blacked out, since SBA will show it masked images.

    Args:
        config: the settings of the data, the prompts and the seed.
        source: the data set.
        out: the folder to write, which must be empty or not there.
        settings: the size of the model and of its training.
        console: where progress is shown; None takes standard error.

    Returns:
        The fit on held-out training images.

    Raises:
        ConfigError: something is in ``out``.
        DataError: no training image can be read.
        TrainingError: the loss is no longer a number.
    """
    settings = settings or SmallClip()
    console = console or PlainConsole(stderr=True)
    require_free(out)
    samples, broken = check_images(training_samples(source), config.data.max_pixels)
    for sample, reason in broken:
        say_to(console)(f"left out {sample.image_id}: {reason}")
    if not samples:
        raise DataError(f"none of the {len(broken)} training images of {source.root} can be read")
    fit, held_out = hold_out(samples, config.data.holdout, config.seed)
    config = config.updated(
        data={"input_size": [settings.image_size] * 2, "resize": [settings.image_size * 9 // 8] * 2},
        train={"epochs": settings.epochs, "batch_size": settings.batch_size, "accumulation": 1, "lr": settings.lr},
    )
    torch.manual_seed(config.seed)
    model_config = open_clip_config(settings)
    network, tokenizer = build_network(model_config)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device)
    _fit(network, tokenizer, source.class_names, train_loader(fit, config), config, settings, console)
    clip = freeze(network, tokenizer)
    text = clip.text_features(source.class_names, config.sba.templates)
    clip_fit = probe_clip(clip, text, eval_loader(held_out or fit, config), config.data, config.sba)
    write_json(out / CONFIG_FILE, model_config)
    tensors = {name: tensor.contiguous().cpu() for name, tensor in network.state_dict().items()}
    write_atomic(out / WEIGHTS_FILE, save(tensors))
    return clip_fit


def require_free(out: Path) -> None:
    """ConfigError for an --out that holds something, but for what a training killed while writing leaves behind."""
    if not out.exists():
        return
    if not out.is_dir() or any(e.name != CONFIG_FILE and not is_stray(e.name) for e in out.iterdir()):
        raise ConfigError(f"{out} is there already: choose another `out=`")


def open_clip_config(settings: SmallClip) -> dict[str, Any]:
    """Return the configuration in open_clip's own format."""
    return {
        "model_cfg": {
            "embed_dim": settings.embed_dim,
            "vision_cfg": {
                "image_size": settings.image_size,
                "layers": [settings.blocks] * 4,
                "width": settings.width,
                "head_width": 64,
            },
            "text_cfg": {
                "context_length": 32,
                "vocab_size": 49408,
                "width": settings.text_width,
                "heads": 2,
                "layers": settings.text_layers,
            },
        },
        "preprocess_cfg": {"mean": list(open_clip.OPENAI_DATASET_MEAN), "std": list(open_clip.OPENAI_DATASET_STD)},
    }


def _fit(
    network: nn.Module,
    tokenizer: Any,
    class_names: Sequence[str],
    loader: Any,
    config: Config,
    settings: SmallClip,
    console: Console,
) -> None:
    device = next(network.parameters()).device
    tokens = [
        tokenizer([template.format(clean_class_name(name)) for name in class_names]).to(device)
        for template in config.sba.templates
    ]
    mean, std = (torch.tensor(v, device=device)[:, None, None] for v in _clip_normalisation())
    text = [p for name, p in network.named_parameters() if not name.startswith(("visual.", "logit_scale"))]
    others = [p for name, p in network.named_parameters() if name.startswith(("visual.", "logit_scale"))]
    rates = [settings.lr, settings.lr * settings.text_lr_share]
    optimiser = torch.optim.AdamW([{"params": others}, {"params": text}], lr=settings.lr, weight_decay=0.05)
    # OneCycleLR divides by the steps of its warm-up, less one: a short trial sees the start of a longer cycle.
    total = max(settings.epochs * loader.steps_per_epoch, 20)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=total, pct_start=0.1)
    network.train()
    epochs = range(settings.epochs)
    if console.is_terminal:
        epochs = track(epochs, "training a small CLIP", console=console, transient=True)  # type: ignore[assignment]
    for epoch in epochs:
        loader.set_position(epoch, 0)
        for step, batch in enumerate(loader):
            pixels = hide_parts(denormalise(batch.images.to(device), config.data), settings.hide_share)
            images = network.encode_image((pixels - mean) / std, normalize=True)  # type: ignore[operator]
            prompts = network.encode_text(tokens[(epoch + step) % len(tokens)], normalize=True)  # type: ignore[operator]
            logits = network.logit_scale.exp() * images @ prompts.T  # type: ignore[operator]
            loss = F.cross_entropy(logits, batch.labels.to(device))
            if not torch.isfinite(loss):
                raise TrainingError(f"CLIP's loss is not a number in epoch {epoch + 1}: train again with a lower `lr=`")
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            with torch.no_grad():
                network.logit_scale.clamp_(0, 4.6052)  # type: ignore[operator]
        if not console.is_terminal:
            console.print(f"CLIP epoch {epoch + 1}/{settings.epochs}  loss {float(loss.detach()):.3f}", highlight=False)


def _clip_normalisation() -> tuple[tuple[float, ...], tuple[float, ...]]:
    return open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD


def hide_parts(pixels: Tensor, share: float) -> Tensor:
    """Black out a random rectangle, or all but one, in a random ``share`` of the images (B, 3, H, W)."""
    batch, _, height, width = pixels.shape
    corners = torch.rand(batch, 2, 2, device=pixels.device).sort(dim=1).values  # (B, start and end, y and x)
    rows = torch.linspace(0, 1, height, device=pixels.device)[None, :, None]
    columns = torch.linspace(0, 1, width, device=pixels.device)[None, None, :]
    (top, left), (bottom, right) = corners[:, 0].T[..., None, None], corners[:, 1].T[..., None, None]
    inside = (rows >= top) & (rows <= bottom) & (columns >= left) & (columns <= right)
    flips = torch.rand(batch, 1, 1, device=pixels.device) < 0.5
    hidden = (inside ^ flips) & (torch.rand(batch, 1, 1, device=pixels.device) < share)
    masked: Tensor = pixels * ~hidden[:, None]
    return masked
