"""Kept features equal computed ones, a changed file is noticed, and a training on them is that on the images."""

from __future__ import annotations

import errno
import os
import time
import warnings
import zlib
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import timm
import torch
from accelerate import Accelerator
from PIL import Image
from safetensors.torch import save_file
from training_helpers import (
    assert_same_weights,
    cut_jpeg,
    fill_together,
    noise_image,
    quiet_console,
    run_training,
    text_of,
    tiny_config,
    weights_of,
    write_classes,
)

from cdtr.api import load_model
from cdtr.config import Config, beyond_paper
from cdtr.data import loader
from cdtr.data.datasets import load_source
from cdtr.data.loader import eval_loader, train_loader
from cdtr.data.shards import write_shards
from cdtr.data.split import hold_out
from cdtr.errors import ConfigError, DataError
from cdtr.image_files.reading import read_image
from cdtr.model.maps import standardised
from cdtr.model.methods import build_method, with_switches
from cdtr.model.methods.cdtr import Cdtr
from cdtr.training import feature_store, features
from cdtr.training.feature_store import FeatureStore
from cdtr.training.features import fit_classifier, fit_to_features
from cdtr.training.loop import train


def hybrid_config(**changes: object) -> Config:
    """CATR on the features of a tiny CNN with random weights, with the shared prior."""
    config = tiny_config(
        method="catr",
        data={"input_size": (64, 64), "augment": "flip"},
        backbone={
            "stem": "cnn",
            "cnn": {"name": "test_efficientnet", "weights": "none", "reductions": (8, 16, 32)},
            "overrides": {"embed_dim": 48, "depth": 2, "num_heads": 2, "patch_size": 8},
        },
        ocm={"k": 2, "prior": "shared"},
        guide={"enabled": True, "features": "backbone"},
    )
    return with_switches(config.updated(**changes))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(feature_store.FOLDER_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "data", images=6, spot=True)


def _store(config: Config, root: Path) -> tuple[Cdtr, FeatureStore, list]:
    torch.manual_seed(0)
    method = build_method(config, 2)
    assert isinstance(method, Cdtr)
    assert method.cnn is not None
    samples = list(load_source(root).splits["train"])
    store = FeatureStore(method.cnn, config.data)
    store.fill(samples, config, Accelerator(cpu=True), lambda _: None)
    return method, store, samples


def _largest_error(store: FeatureStore, config: Config, samples: list) -> float:
    """The largest difference from what the network computes, in steps of the range of a channel in an image."""
    errors = []
    for batch in eval_loader(samples, config):
        for mirrored in (False, True):
            view = batch.images.flip(-1) if mirrored else batch.images
            found = store.levels(batch.samples, [mirrored] * len(batch.samples), torch.device("cpu"))
            for kept, computed in zip(found, store.cnn.levels(view), strict=True):
                span = (computed.amax((2, 3)) - computed.amin((2, 3))).clamp_min(1e-9)[..., None, None]
                errors.append(float(((kept - computed).abs() / span).max()))
    return max(errors)


def test_kept_features_equal_computed_ones(images: Path):
    config = hybrid_config()
    _, store, samples = _store(config, images)
    assert _largest_error(store, config, samples) <= 0.51 / 255


def test_features_are_computed_once_and_a_changed_file_is_noticed(images: Path, monkeypatch: pytest.MonkeyPatch):
    config = hybrid_config()
    method, store, samples = _store(config, images)
    seen: list[int] = []
    levels = type(store.cnn).levels

    def counted(self, view):
        seen.append(len(view))
        return levels(self, view)

    monkeypatch.setattr(type(store.cnn), "levels", counted)
    again = FeatureStore(method.cnn, config.data)
    again.fill(samples, config, Accelerator(cpu=True), lambda _: None)
    assert seen == []
    noise_image("blue", seed=5).save(samples[0].path)
    again.fill(samples, config, Accelerator(cpu=True), lambda _: None)
    assert seen == [1, 1]  # the image and its mirror image
    monkeypatch.undo()
    assert _largest_error(again, config, samples) <= 0.51 / 255


def test_other_weights_and_another_size_have_other_features(images: Path):
    _, store, _ = _store(hybrid_config(), images)
    _, larger, _ = _store(hybrid_config(data={"input_size": (96, 96)}), images)
    torch.manual_seed(1)
    other = build_method(hybrid_config(), 2)
    assert len({store.folder, larger.folder, FeatureStore(other.cnn, store.data).folder}) == 3


def test_networks_with_the_same_weights_and_another_padding_have_other_features():
    folders = set()
    for name in ("efficientnet_lite0", "tf_efficientnet_lite0"):
        torch.manual_seed(0)
        config = hybrid_config(backbone={"cnn": {"name": name}})
        method = build_method(config, 2)
        folders.add(FeatureStore(method.cnn, config.data).folder.name)
    assert len(folders) == 2


def test_a_full_disk_is_one_line_and_leaves_no_part_behind(
    images: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(_self: Path, _content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match=r"(?s)^[^\n]*No space left[^\n]*CDTR_CACHE[^\n]*$"):
        _store(hybrid_config(), images)
    assert [path for path in own_cache.rglob("*") if path.is_file()] == []


def test_damaged_files_are_computed_again(images: Path):
    config = hybrid_config()
    _, store, samples = _store(config, images)
    path = store._file(samples[0])
    whole = path.read_bytes()
    bomb = zlib.compress(bytes(10**8))
    for content in (b"", whole[:-2], whole[:-7], b"other", zlib.compress(b"short"), bomb, None):
        path.unlink() if content is None else path.write_bytes(content)
        assert _largest_error(store, config, samples[:1]) <= 0.51 / 255
        assert len(path.read_bytes()) == pytest.approx(len(whole), rel=0.05)
    path.unlink()
    samples[0].path.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"^[^\n]*0\.png is no image[^\n]*$"):
        store.levels(samples[:1], [False], torch.device("cpu"))


def test_the_features_of_several_processes_are_complete_whoever_starts_first(images: Path):
    _, store, samples = _store(hybrid_config(), images)
    for sample in samples:
        store._file(sample).unlink()
    for rank in (0, 1):  # the second finds what the first has written
        parts = SimpleNamespace(process_index=rank, num_processes=2, wait_for_everyone=lambda: None)
        store.fill(samples, hybrid_config(), cast(Accelerator, parts), lambda _: None)
    assert all(store._file(sample).is_file() for sample in samples)


@pytest.mark.parametrize("features", ["backbone", "own"])
def test_images_that_break_when_decoded_are_replaced_as_without_kept_features(
    images: Path, tmp_path: Path, features: str
):
    for path in sorted(images.rglob("*.png"))[2:4]:
        Image.open(path).save(path.with_suffix(".jpg"))
        path.unlink()
        cut_jpeg(path.with_suffix(".jpg"))
    config = hybrid_config(guide={"features": features}, ocm={"prior": "border"}, train={"epochs": 3})
    losses = []
    for cache in (True, False):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run_training(config.updated(backbone={"cnn": {"cache": cache}}), images, tmp_path / str(cache))
        run = _run(tmp_path / str(cache))
        assert len(run.manifest()["broken_images"]) == 2
        losses.append([line["terms"]["total"] for line in run.log("epoch")])
    torch.testing.assert_close(losses[0], losses[1], rtol=0.02, atol=0.02)


def test_images_of_which_none_can_be_decoded_are_one_line(images: Path, tmp_path: Path):
    for path in images.rglob("*.png"):
        Image.open(path).save(path.with_suffix(".jpg"))
        path.unlink()
        cut_jpeg(path.with_suffix(".jpg"))
    warnings.simplefilter("ignore")
    with pytest.raises(DataError, match="none of the 10 training images can be read"):
        run_training(hybrid_config(), images, tmp_path / "run")


def test_the_mirrored_images_are_those_of_the_loader(images: Path):
    config = hybrid_config(train={"batch_size": 4})
    samples = load_source(images).splits["train"]
    seen = train_loader(samples, config)
    blind = train_loader(samples, config, pixels=False)
    flips = []
    for first, second in zip(seen, blind, strict=True):
        assert first.mirrored == second.mirrored
        assert first.samples == second.samples
        assert second.images.shape == (4, 3, 0, 0)
        whole = next(iter(eval_loader(first.samples, config)))
        for image, plain, mirrored in zip(first.images, whole.images, first.mirrored, strict=True):
            torch.testing.assert_close(image, plain.flip(-1) if mirrored else plain, rtol=1e-4, atol=1e-4)
        flips += first.mirrored
    assert {True, False} == set(flips)


def test_a_training_on_kept_features_is_the_training_on_images(images: Path, tmp_path: Path):
    console = quiet_console()
    train(hybrid_config(), load_source(images), tmp_path / "kept", False, console)
    assert "prior shared: a direction in" in text_of(console)
    run_training(hybrid_config(backbone={"cnn": {"cache": False}}), images, tmp_path / "computed")
    losses = [
        [line["terms"]["total"] for line in run.log("epoch")]
        for run in map(_run, (tmp_path / "kept", tmp_path / "computed"))
    ]
    torch.testing.assert_close(losses[0], losses[1], rtol=0.02, atol=0.02)


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_a_resumed_training_keeps_what_was_fitted(images: Path, tmp_path: Path, ema_decay: float | None):
    # Weights of its own: a resumed training builds the network without them, and takes those of the saved state.
    torch.manual_seed(7)
    weights = tmp_path / "cnn.safetensors"
    save_file(timm.create_model("test_efficientnet").state_dict(), weights)
    backbone = {"cnn": {"weights": str(weights)}}
    config = hybrid_config(train={"epochs": 3, "ema_decay": ema_decay}, backbone=backbone)
    run_training(config, images, tmp_path / "whole")
    killed = config.updated(train={"save_every_steps": 1})
    with pytest.MonkeyPatch.context() as patch:
        from cdtr.training.loop import Trainer

        step, count = Trainer._step, []

        def dies(self, *arguments):
            count.append(1)
            if len(count) == 4:
                raise KeyboardInterrupt
            return step(self, *arguments)

        patch.setattr(Trainer, "_step", dies)
        with pytest.raises(KeyboardInterrupt):
            run_training(killed, images, tmp_path / "parts")
    weights.unlink()
    run_training(killed, images, tmp_path / "parts", resume=True)
    assert_same_weights(tmp_path / "whole", tmp_path / "parts")


def test_the_prior_is_higher_on_the_objects(images: Path):
    config = hybrid_config()
    method, store, samples = _store(config, images)
    assert method.guide is not None
    fit_to_features(method.cnn, [method.guide], samples, config, store, lambda _: None)
    batch = next(iter(eval_loader(samples, config)))
    method.eval()
    prior = method(batch.images, auxiliary=True).aux["prior"]
    assert (prior[:, 3:5, 3:5].mean((1, 2)) > prior[:, [0, -1]].mean((1, 2))).float().mean() > 0.8


@pytest.mark.parametrize(
    "changes",
    [{"guide": {"features": "own"}}, {"backbone": {"stem": "conv"}}, {"backbone": {"cnn": {"frozen": False}}}],
)
def test_the_shared_prior_needs_a_frozen_cnn(changes: dict):
    with pytest.raises(ConfigError, match="prior shared needs"):
        hybrid_config(**changes)


def test_the_classifier_is_fitted_before_training_and_stays(images: Path, tmp_path: Path):
    config = hybrid_config(backbone={"cnn": {"classifier": "features"}}, maps={"fuse": "attention"})
    console = quiet_console()
    train(config, load_source(images), tmp_path / "run", False, console)
    assert "classifier: fitted to the pooled features of 10 images" in text_of(console)
    method, store, samples = _store(config, images)
    assert method.probe is not None
    assert method.cnn is not None
    fit = [sample for sample in samples if sample.image_id in _trained_on(config, samples)]
    fit_to_features(method.cnn, [method.guide], fit, config, store, lambda _: None)
    fit_classifier(method.cnn, method.probe, fit, config, store, lambda _: None)
    kept = weights_of(tmp_path / "run")
    for name, weights in method.probe.state_dict().items():
        torch.testing.assert_close(kept[f"probe.{name}"], weights, rtol=1e-3, atol=1e-4)
    batch = next(iter(eval_loader(fit, config)))
    output = method.eval()(batch.images)
    assert (output.logits.argmax(dim=1) == batch.labels).all()
    torch.testing.assert_close(output.maps[:, 0], output.attention)
    torch.testing.assert_close(output.maps[:, 1], output.attention)


def test_the_pseudo_map_may_be_the_map_of_every_class():
    torch.manual_seed(0)
    method = build_method(hybrid_config(maps={"fuse": "pseudo"}), 2).eval()
    output = method(torch.randn(1, 3, 64, 64))
    torch.testing.assert_close(output.maps, output.aux["m_ocm"][:, None].expand(1, 2, 8, 8))
    without = hybrid_config(
        maps={"fuse": "pseudo"}, method="tscam", ocm={"enabled": False}, guide={"attention": "shared"}
    )
    found = build_method(without, 2).eval()(torch.randn(1, 3, 64, 64))
    torch.testing.assert_close(found.maps, found.attention[:, None].expand(1, 2, 8, 8))
    assert beyond_paper(without)["fuse"] == "attention maps"


def test_the_prior_of_each_class_teaches_and_joins_the_maps(images: Path, tmp_path: Path):
    changes: dict[str, object] = {"ocm": {"prior": "by_class"}, "maps": {"fuse": "prior"}}
    config = hybrid_config(**changes)
    assert beyond_paper(config)["prior"] == "by_class prior"
    assert beyond_paper(config)["fuse"] == "maps with the prior"
    run_training(config, images, tmp_path / "run")
    run = _run(tmp_path / "run")
    method = load_model(run.path)
    source = load_source(images)
    batch = next(iter(eval_loader(list(source.splits["train"]), config)))
    output = method(batch.images)
    prior = output.aux["prior"]
    assert prior.shape == (len(batch.labels), 2, 8, 8)
    for number in range(2):
        expected = standardised(output.aux["m_ocm"]) + standardised(prior[:, number])
        torch.testing.assert_close(output.maps[:, number], expected, rtol=1e-4, atol=1e-4)
    assert (prior[:, 0] - prior[:, 1]).abs().max() > 1e-3, "the classes have directions of their own"
    own = prior[range(len(batch.labels)), batch.labels]
    assert (own[:, 3:5, 3:5].mean((1, 2)) > own[:, [0, -1]].mean((1, 2))).float().mean() > 0.8


def test_without_a_prior_the_maps_with_it_are_the_pseudo_map_or_attention():
    torch.manual_seed(0)
    images = torch.randn(1, 3, 64, 64)
    config = hybrid_config(maps={"fuse": "prior"}, ocm={"prior": "border"})
    assert beyond_paper(config)["fuse"] == "pseudo maps"
    output = build_method(config, 2).eval()(images)
    torch.testing.assert_close(output.maps, output.aux["m_ocm"][:, None].expand(1, 2, 8, 8))
    without = hybrid_config(maps={"fuse": "prior"}, method="tscam", ocm={"enabled": False})
    assert beyond_paper(without)["fuse"] == "attention maps"
    output = build_method(without, 2).eval()(images)
    torch.testing.assert_close(output.maps, output.attention[:, None].expand(1, 2, 8, 8))


def test_a_broken_image_is_warned_of_once(images: Path, tmp_path: Path):
    for path in sorted(images.rglob("*.png"))[3:8]:  # held out and trained on, of both classes
        Image.open(path).save(path.with_suffix(".jpg"))
        path.unlink()
        cut_jpeg(path.with_suffix(".jpg"))
    config = hybrid_config(backbone={"cnn": {"classifier": "features"}}, maps={"fuse": "pseudo"}, data={"holdout": 0.4})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = run_training(config, images, tmp_path / "run")
    told = Counter(str(one.message).split(":")[0] for one in caught if str(one.message).startswith("left out "))
    assert set(told.values()) == {1}
    assert {line.removeprefix("left out ") for line in told} == set(run.manifest()["broken_images"])
    assert len(told) == 5


def test_images_are_not_decoded_where_their_features_do(images: Path, monkeypatch: pytest.MonkeyPatch):
    config = hybrid_config(
        backbone={"cnn": {"classifier": "features"}}, maps={"fuse": "pseudo"}, ocm={"prior": "border"}
    )
    decoded: list[Path] = []

    def counted(path: Path, limit: int) -> Image.Image:
        decoded.append(path)
        return read_image(path, limit)

    monkeypatch.setattr(loader, "read_image", counted)
    found, counts = [], []
    batches = features.image_batches
    for decode in (False, True):
        method, store, samples = _store(config, images)
        decoded.clear()
        if decode:
            monkeypatch.setattr(
                features, "image_batches", lambda chosen, config, _, warn: batches(chosen, config, None, warn)
            )
        fit_to_features(method.cnn, [method.guide], samples, config, store, lambda _: None)
        fit_classifier(method.cnn, method.probe, samples, config, store, lambda _: None)
        counts.append(len(decoded))
        found.append(method.state_dict())
    assert counts == [0, 2 * len(samples)]
    assert all(torch.equal(tensor, found[1][name]) for name, tensor in found[0].items())


def test_unfinished_files_are_deleted_after_a_day(images: Path, own_cache: Path):
    config = hybrid_config()
    _, store, samples = _store(config, images)
    other = own_cache / "features" / "other network" / "ab"
    other.mkdir(parents=True)
    path = store._file(samples[0])
    old, young = path.with_name(f"{path.name}.1.tmp"), path.with_name(f"{path.name}.2.tmp")
    files = [old, young, other / "cd.3.tmp", other / "cd"]
    for file in files:
        file.write_bytes(b"part")
    for file in (old, *files[2:]):
        os.utime(file, (time.time() - 90_000,) * 2)
    FeatureStore(store.cnn, config.data)
    assert [file for file in files if file.exists()] == [young, other / "cd"]
    assert path.is_file()


def test_a_folder_that_cannot_be_written_does_where_nothing_is_missing(images: Path, monkeypatch: pytest.MonkeyPatch):
    config = hybrid_config()
    _, store, samples = _store(config, images)

    def refuse(*_arguments: object, **_options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr(Path, "write_bytes", refuse)
    monkeypatch.setattr(Path, "mkdir", lambda self, **_: None if self.is_dir() else refuse())
    again = FeatureStore(store.cnn, config.data)
    again.fill(samples, config, Accelerator(cpu=True), lambda _: None)
    assert _largest_error(again, config, samples) <= 0.51 / 255
    again._file(samples[0]).unlink()
    with pytest.raises(DataError, match=r"^the features of .* cannot be kept in .*Permission denied.*CDTR_CACHE.*$"):
        again.fill(samples, config, Accelerator(cpu=True), lambda _: None)
    with pytest.raises(DataError, match=r"^.* cannot be made for .*Permission denied.*CDTR_CACHE.*$"):
        FeatureStore(store.cnn, config.data.model_copy(update={"input_size": (96, 96)}))


def test_two_processes_may_fill_it_at_once(images: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch):
    config = hybrid_config()
    assert fill_together(config, images, own_cache) == [0, 0]
    monkeypatch.setattr(FeatureStore, "_write", None)  # all is there, so nothing is written
    _, store, samples = _store(config, images)
    assert _largest_error(store, config, samples) <= 0.51 / 255
    assert {path for path in own_cache.rglob("*") if path.is_file()} == {store._file(sample) for sample in samples}


def test_images_in_tar_shards_train_without_kept_features(images: Path, tmp_path: Path, own_cache: Path):
    pytest.importorskip("webdataset")
    write_shards(load_source(images), tmp_path / "shards", images_per_shard=6)
    config = hybrid_config(backbone={"cnn": {"classifier": "features"}}, maps={"fuse": "pseudo"}, data={"holdout": 0.2})
    console = quiet_console()
    run = train(config, load_source(tmp_path / "shards"), tmp_path / "run", False, console)
    assert "classifier: fitted to the pooled features of 10 images" in text_of(console)
    assert "prior shared: a direction in" in text_of(console)
    assert run.weights.is_file()
    assert not own_cache.exists()


def _trained_on(config: Config, samples: list) -> set[str]:
    fit, _ = hold_out(samples, config.data.holdout, config.seed)
    return {sample.image_id for sample in fit}


def _run(path: Path):
    from cdtr.runs import RunFolder

    return RunFolder(path)
