"""The CLIP-fit probe on CLIPs whose fit is known, and what ``sba.enabled: auto`` makes of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fake_clips import COLOURS, always_red, below_or_above, brightest_channel, brightness_angle, fake_clip
from PIL import Image
from torch import Tensor
from training_helpers import lines_of, quiet_console, run_training, text_of, tiny_config, write_classes

from cdtr.config import Config, DataConfig
from cdtr.data.datasets import load_source
from cdtr.errors import CheckpointError, ConfigError, TrainingError
from cdtr.records import Batch, Sample
from cdtr.training import sba_choice
from cdtr.training.clip_fit import ClipFit, prior_mask, probe_clip
from cdtr.training.loop import train
from cdtr.training.sba_choice import fair_sample

DATA = DataConfig(input_size=(32, 32), resize=(36, 36))
TEXT = torch.eye(3)


def batch_of(pixels: Tensor, labels: list[int]) -> Batch:
    """pixels: (B, 3, 32, 32) in [0, 1]."""
    mean, std = (torch.tensor(v)[:, None, None] for v in (DATA.mean, DATA.std))
    samples = tuple(Sample(f"{i}", Path(f"{i}"), label) for i, label in enumerate(labels))
    return Batch((pixels - mean) / std, torch.tensor(labels), samples, tuple((32, 32) for _ in labels))


def coloured(labels: list[int]) -> Tensor:
    """Dark noise with one brighter channel."""
    pixels = torch.rand(len(labels), 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.5
    for image, label in zip(pixels, labels, strict=True):
        image[label] += 0.4
    return pixels


@pytest.mark.parametrize(
    ("image", "labels", "zero_shot"),
    [
        (brightest_channel, [0, 1, 2, 0, 1, 2], 1.0),
        (always_red, [0, 1, 2, 0, 1, 2], 1 / 3),
        (always_red, [1, 2, 1, 2, 1, 2], 0.0),
        (always_red, [0, 0, 0, 0, 1, 2], 4 / 6),
    ],
    ids=["knows all", "guesses", "knows nothing", "lucky"],
)
def test_fit(image: Callable[[Tensor], Tensor], labels: list[int], zero_shot: float) -> None:
    batches = [batch_of(coloured(labels)[:4], labels[:4]), batch_of(coloured(labels)[4:], labels[4:])]
    fit = probe_clip(fake_clip(image), TEXT, batches, DATA)
    assert fit.images == 6
    assert fit.chance == pytest.approx(1 / 3)
    assert fit.zero_shot == pytest.approx(zero_shot)
    assert fit.fit == pytest.approx((zero_shot - 1 / 3) / (2 / 3), abs=1e-9)


def test_random_features_fit_about_nothing() -> None:
    """Image features without any relation to the image."""
    generator = torch.Generator().manual_seed(1)
    clip = fake_clip(lambda pixels: torch.randn(len(pixels), 3, generator=generator))
    labels = [i % 3 for i in range(600)]
    fit = probe_clip(clip, TEXT, [batch_of(torch.rand(600, 3, 32, 32), labels)], DATA)
    assert abs(fit.fit) < 0.12  # four standard deviations


def test_mask_shift_is_zero_for_a_clip_that_sees_no_mask() -> None:
    fit = probe_clip(fake_clip(always_red), TEXT, [batch_of(coloured([0, 1, 2]), [0, 1, 2])], DATA)
    assert fit.mask_shift == pytest.approx(0, abs=1e-6)


def test_mask_shift_is_worked_out_by_hand() -> None:
    """On white images the cosine falls from 1 to the share that is left: by 1 - a and by a, so by 1/2 on average."""
    fit = probe_clip(fake_clip(brightness_angle), TEXT, [batch_of(torch.ones(4, 3, 32, 32), [0] * 4)], DATA)
    assert fit.mask_shift == pytest.approx(0.5, abs=1e-4)


def test_no_images() -> None:
    fit = probe_clip(fake_clip(always_red), TEXT, [], DATA)
    assert fit.images == 0
    assert fit.zero_shot == 0.0
    assert fit.mask_shift == 0.0


FIT = ClipFit(8, 0.75, 0.5, 0.5, 0.125, object_loss=0.25, background_loss=1.5)


def test_line_says_percent() -> None:
    assert FIT.line() == (
        "CLIP fit on 8 training images: zero-shot 75.0% (chance 50.0%, fit 0.50), masking moves the similarity by 0.125"
        ", SBA's loss is 0.250 for the object prior and 1.500 for its complement"
    )


def test_line_says_which_images() -> None:
    assert FIT.line("held-out training images").startswith("CLIP fit on 8 held-out training images: zero-shot")


def labelled(labels: list[int]) -> list[Sample]:
    return [Sample(str(index), Path(), label) for index, label in enumerate(labels)]


@pytest.mark.parametrize("classes", [2, 7, 8, 16])
@pytest.mark.parametrize("order", ["alternating", "sorted"])
def test_the_sample_has_as_many_of_each_class(classes: int, order: str) -> None:
    """Every n-th of alternating classes would be of few classes, or of one."""
    samples = labelled(
        [index % classes if order == "alternating" else index * classes // 3200 for index in range(3200)]
    )
    chosen = fair_sample(samples, 400, seed=3)
    counts = [sum(sample.label == label for sample in chosen) for label in range(classes)]
    assert len(chosen) == 400
    assert max(counts) - min(counts) <= 1
    assert [int(sample.image_id) for sample in chosen] == sorted(int(sample.image_id) for sample in chosen)
    assert chosen == fair_sample(samples, 400, seed=3) != fair_sample(samples, 400, seed=4)


def test_a_rare_class_is_in_the_sample_whole() -> None:
    chosen = fair_sample(labelled([0] * 90 + [1] * 3), 10, seed=0)
    assert [sample.label for sample in chosen] == [0] * 7 + [1] * 3


def test_few_samples_are_all_taken() -> None:
    assert fair_sample(labelled([0, 1]), 5, seed=0) == labelled([0, 1])


def spots(bright_spot: bool, labels: list[int]) -> Tensor:
    """A square of the class's colour on grey, or a grey square on the class's colour."""
    pixels = torch.full((len(labels), 3, 32, 32), 0.3)
    inside = torch.zeros(32, 32, dtype=torch.bool)
    inside[10:22, 10:22] = True
    for image, label in zip(pixels, labels, strict=True):
        image[label, inside if bright_spot else ~inside] = 0.9
    return pixels


def coloured_share(pixels: Tensor) -> Tensor:
    """Cosine with each prompt grows with how much of its colour is seen."""
    return (pixels - pixels.mean(dim=1, keepdim=True)).clamp(min=0).mean(dim=(2, 3)) + 0.02


@pytest.mark.parametrize("bright_spot", [True, False], ids=["the object has the class's colour", "the background has"])
def test_the_probe_tells_where_clip_sees_the_class(bright_spot: bool) -> None:
    batch = batch_of(spots(bright_spot, [0, 1, 2]), [0, 1, 2])
    fit = probe_clip(fake_clip(coloured_share), TEXT, [batch], DATA)
    assert fit.zero_shot == 1
    assert fit.prefers_object is bright_spot
    one, other = sorted((fit.object_loss, fit.background_loss))
    assert other - one > (0.3 if bright_spot else 0.005)


def test_the_prior_is_bright_on_the_spot_and_dark_around_it() -> None:
    for prior in ("border", "contrast", "rarity"):
        mask = prior_mask(spots(True, [0, 1]), prior)  # type: ignore[arg-type]
        assert mask.shape == (2, 1, 32, 32)
        assert float(mask.min()) == 0
        assert float(mask.max()) == 1
        assert float(mask[:, :, 13:19, 13:19].min()) > 0.9, prior
        assert float(mask[:, :, :4].max()) < 0.1, prior
    assert not prior_mask(torch.full((1, 3, 32, 32), 0.5), "border").any()


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bright square of the class's colour in noise of that colour: CLIPs that know the colour prefer the object."""
    root = tmp_path_factory.mktemp("colours") / "data"
    return write_classes(root, images=5, classes=COLOURS, spot=True)


def sba_config(enabled: bool | str | None) -> Config:
    """The model is a folder, which alone ``auto`` takes on a CPU; ``use_clip`` says what is loaded from it."""
    folder = str(Path(__file__).parent)
    return tiny_config(sba={"enabled": enabled, "min_fit": 0.25, "model": folder}, train={"epochs": 1})


def use_clip(monkeypatch: pytest.MonkeyPatch, image: Callable[[Tensor], Tensor]) -> None:
    monkeypatch.setattr(sba_choice, "load_clip", lambda model, pretrained: fake_clip(image))


def use_no_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(model: str, pretrained: str) -> None:
        raise CheckpointError("the weights of CLIP cannot be had")

    monkeypatch.setattr(sba_choice, "load_clip", missing)


@pytest.mark.parametrize("enabled", ["auto", None], ids=["auto", "left to the method"])
@pytest.mark.parametrize(("image", "on"), [(brightest_channel, True), (always_red, False)], ids=["fits", "guesses"])
def test_auto_follows_the_fit(
    colours: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    image: Callable[[Tensor], Tensor],
    on: bool,
    enabled: str | None,
) -> None:
    use_clip(monkeypatch, image)
    console = quiet_console()
    run = train(sba_config(enabled), load_source(colours), tmp_path / "run", console=console)
    assert run.config().sba.enabled is on
    (epoch,) = lines_of(run.path, "epoch")
    assert ("sba" in epoch["terms"]) is on
    assert "sba" not in epoch["lambdas"], "its weight is alpha"
    assert run.manifest()["clip_fit"]["fit"] == pytest.approx(1.0 if on else 0.0)
    assert ("SBA is on" if on else "SBA is off, because the fit is under sba.min_fit 0.25") in text_of(console)


@pytest.mark.parametrize(
    ("share", "images", "on"),
    [(0.2, 3, "3 held-out training images"), (0, 15, "15 training images")],
    ids=["held out", "none held out"],
)
def test_the_probe_looks_at_what_a_small_clip_has_not_seen(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, images: int, on: str
) -> None:
    use_clip(monkeypatch, brightest_channel)
    console = quiet_console()
    config = sba_config("auto").updated(data={"holdout": share})
    run = train(config, load_source(colours), tmp_path / "run", console=console)
    assert run.manifest()["clip_fit"]["images"] == images
    assert f"CLIP fit on {on}: " in text_of(console)


def test_resuming_asks_clip_nothing(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_clip(monkeypatch, brightest_channel)
    run = run_training(sba_config("auto"), colours, tmp_path / "run")
    run.weights.unlink()
    monkeypatch.setattr(sba_choice, "probe_clip", lambda *_: pytest.fail("CLIP was probed"))
    run_training(sba_config("auto"), colours, tmp_path / "run", resume=True)


def test_resuming_without_sba_needs_no_clip(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_clip(monkeypatch, always_red)
    run = run_training(sba_config("auto"), colours, tmp_path / "run")
    run.weights.unlink()
    monkeypatch.setattr(sba_choice, "load_clip", lambda *_: pytest.fail("CLIP was loaded"))
    assert run_training(sba_config("auto"), colours, tmp_path / "run", resume=True).config().sba.enabled is False


def test_true_keeps_sba_even_where_clip_guesses(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_clip(monkeypatch, always_red)
    run = run_training(sba_config(True), colours, tmp_path / "run")
    assert run.config().sba.enabled is True
    assert "sba" in lines_of(run.path, "epoch")[0]["terms"]


def test_clip_is_not_saved_with_the_method(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training_helpers import weights_of

    use_clip(monkeypatch, brightest_channel)
    with_sba = run_training(sba_config(True), colours, tmp_path / "with")
    without = run_training(sba_config(False), colours, tmp_path / "without")
    assert weights_of(with_sba.path).keys() == weights_of(without.path).keys()


def test_alpha_scales_the_term_in_the_total(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step's total, before the weights differ."""
    from cdtr.training import loop

    monkeypatch.setattr(loop, "STEPS_BETWEEN_LINES", 1)
    use_clip(monkeypatch, brightest_channel)
    first = []
    for alpha in (0.0, 2.0):
        config = sba_config(True).updated(sba={"alpha": alpha})
        run = run_training(config, colours, tmp_path / f"{alpha}")
        first.append(lines_of(run.path, "step")[0]["terms"])
    assert first[0]["sba"] == pytest.approx(first[1]["sba"], abs=1e-6)
    assert first[0]["sba"] > 0.01
    assert first[1]["total"] - first[0]["total"] == pytest.approx(2 * first[0]["sba"], abs=1e-4)


def test_auto_leaves_sba_out_where_clip_prefers_the_background(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CLIP knows every class, but by what lies around the objects."""
    for label, name in enumerate(COLOURS):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number, image in enumerate(spots(False, [label] * 5)):
            pixels = (255 * image).byte().permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{number}.png")
    use_clip(monkeypatch, coloured_share)
    console = quiet_console()
    run = train(sba_config("auto"), load_source(tmp_path / "data"), tmp_path / "run", console=console)
    assert run.config().sba.enabled is False
    assert run.manifest()["clip_fit"]["fit"] == 1
    assert "SBA is off, because CLIP prefers the complement of the object prior" in text_of(console)


def test_missing_weights_stop_a_run_that_insists(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_no_clip(monkeypatch)
    with pytest.raises(CheckpointError, match="cannot be had"):
        run_training(sba_config(True), colours, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_auto_goes_on_without_weights(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_no_clip(monkeypatch)
    console = quiet_console()
    run = train(sba_config("auto"), load_source(colours), tmp_path / "run", console=console)
    assert run.config().sba.enabled is False
    assert run.manifest()["clip_fit"] is None
    assert "SBA is off: the weights of CLIP cannot be had" in text_of(console)


def test_a_misspelt_model_is_an_error(colours: Path, tmp_path: Path) -> None:
    config = sba_config(True).updated(sba={"model": "ViT-B-33"})
    with pytest.raises(ConfigError, match="ViT-B-33"):
        run_training(config, colours, tmp_path / "run")


def test_auto_takes_no_large_clip_on_a_cpu(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sba_choice, "load_clip", lambda *_: pytest.fail("CLIP was loaded"))
    config = sba_config("auto").updated(sba={"model": "ViT-B-32-quickgelu"})
    console = quiet_console()
    run = train(config, load_source(colours), tmp_path / "run", console=console)
    assert run.config().sba.enabled is False
    assert "SBA is off: CLIP ViT-B-32-quickgelu would take most of the time on a CPU" in text_of(console)


def test_switched_off_means_no_clip_is_loaded(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sba_choice, "load_clip", lambda *_: pytest.fail("CLIP was loaded"))
    assert run_training(sba_config(False), colours, tmp_path / "run").manifest()["clip_fit"] is None


@pytest.mark.parametrize(("image", "on"), [(brightest_channel, True), (always_red, False)], ids=["on", "off"])
def test_resuming_keeps_the_verdict(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: Callable[[Tensor], Tensor], on: bool
) -> None:
    """Whatever CLIP would say today; and the manifest still says why."""
    use_clip(monkeypatch, image)
    run = run_training(sba_config("auto"), colours, tmp_path / "run")
    manifest = run.manifest()
    run.weights.unlink()
    use_clip(monkeypatch, always_red if on else brightest_channel)
    run = run_training(sba_config("auto"), colours, tmp_path / "run", resume=True)
    assert run.config().sba.enabled is on
    assert run.manifest() == manifest


def test_a_finished_run_needs_no_clip_to_be_resumed(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_clip(monkeypatch, brightest_channel)
    run_training(sba_config("auto"), colours, tmp_path / "run")
    use_no_clip(monkeypatch)
    run_training(sba_config("auto"), colours, tmp_path / "run", resume=True)


def test_literal_similarity_of_negative_cosines_stops_the_run(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eq. 13 as printed: the ratio of a sum of both signs has no logarithm."""
    use_clip(monkeypatch, below_or_above)
    config = sba_config(True).updated(sba={"similarity": "literal"})
    with pytest.raises(TrainingError, match="the loss term 'sba' is not a number"):
        run_training(config, colours, tmp_path / "run")
