"""Tar shards: written and read back, streamed in training, and as good as files everywhere else."""

import dataclasses
import io
import json
import sys
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cdtr.config import Config, load_config
from cdtr.data.datasets import load_source
from cdtr.data.duplicates import KEEPING_ORDER
from cdtr.data.loader import eval_loader, train_loader
from cdtr.data.shards import write_shards
from cdtr.data.stream import StreamLoader
from cdtr.errors import ConfigError, DataError
from cdtr.image_files.paths import content_hash
from cdtr.image_files.reading import check_images, read_image, read_size
from cdtr.image_files.tar_members import file_size, in_tar, open_file
from cdtr.records import Annotation, Batch, DataSource, Sample

COUNT = 24


def _config(**changes: Any) -> Config:
    data = {"input_size": [16, 16], "resize": [20, 20], "workers": 0, "shuffle_buffer": 5, **changes}
    train = {"batch_size": data.pop("batch", 4), "accumulation": data.pop("accumulation", 1)}
    return load_config().updated(data=data, train=train, evaluation={"batch_size": 4})


@pytest.fixture
def files(tmp_path: Path) -> DataSource:
    """24 pictures of two classes, each with a box and a mask, and three for validation."""
    pixels = np.random.default_rng(0)
    for number in range(COUNT + 3):
        split = "train" if number < COUNT else "val"
        path = tmp_path / "files" / split / ("a b", "ü.x")[number % 2] / f"{number}.PNG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.integers(0, 256, (20 + number, 24, 3), dtype=np.uint8)).save(path)

    def annotate(sample: Sample) -> Annotation:
        number = int(sample.path.stem)
        mask = np.full((20 + number, 24), number % 2, dtype=np.uint8)
        mask[0] = 255
        return Annotation(np.array([[0, 1, 2.5, 3 + number], [1, 1, 2, 2]]), mask)

    return dataclasses.replace(load_source(tmp_path / "files"), annotate=annotate, annotated=True)


@pytest.fixture
def shards(files: DataSource, tmp_path: Path) -> DataSource:
    assert write_shards(files, tmp_path / "shards", images_per_shard=5) == {"train": 5, "val": 1}
    return load_source(tmp_path / "shards")


def _ids(batches: list[Batch]) -> list[str]:
    return [sample.image_id for batch in batches for sample in batch.samples]


def _epoch(loader: Any, epoch: int = 0, step: int = 0) -> list[Batch]:
    loader.set_position(epoch, step)
    return list(loader)


def test_what_is_written_is_read_back(files: DataSource, shards: DataSource) -> None:
    assert shards.name == "webdataset"
    assert shards.class_names == ("a b", "ü.x")
    assert shards.annotated is True
    for split, samples in files.splits.items():
        originals = {sample.image_id: sample for sample in samples}
        assert originals.keys() == {sample.image_id for sample in shards.splits[split]}
        for sample in shards.splits[split]:
            original = originals[sample.image_id]
            assert sample.label == original.label
            assert in_tar(sample.path)
            assert content_hash(sample.path) == content_hash(original.path)
            assert file_size(sample.path) == original.path.stat().st_size
            assert read_size(sample.path, 10**6) == read_size(original.path, 10**6)
            assert np.array_equal(read_image(sample.path, 10**6), read_image(original.path, 10**6))
            expected, found = files.annotate(original), shards.annotate(sample)
            assert expected is not None
            assert found is not None
            assert np.array_equal(found.boxes_xyxy, expected.boxes_xyxy)
            assert found.mask is not None
            assert expected.mask is not None
            assert np.array_equal(found.mask, expected.mask)


def test_images_are_mixed_and_the_same_seed_mixes_alike(files: DataSource, tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        write_shards(files, tmp_path / name, images_per_shard=100, seed=seed)
    first, second, third = ((tmp_path / name / "train-000000.tar").read_bytes() for name in ("one", "two", "three"))
    assert first == second
    assert first != third
    labels = [sample.label for sample in load_source(tmp_path / "one").splits["train"]]
    assert labels != sorted(labels)


def test_without_or_with_an_old_index_the_shards_are_read(shards: DataSource) -> None:
    index = shards.root / "shards.json"
    tree = json.loads(index.read_text())
    tree["shards"]["train-000000.tar"] = {"bytes": 5, "images": []}
    index.write_text(json.dumps(tree))
    assert len(load_source(shards.root).splits["train"]) == COUNT
    index.unlink()
    read = load_source(shards.root)
    assert read.annotated
    assert [(s.path, s.label) for s in read.splits["train"]] == [(s.path, s.label) for s in shards.splits["train"]]
    index.write_text("[]")
    with pytest.raises(DataError, match=r"shards\.json is no index of shards"):
        load_source(shards.root)


def test_nothing_half_written_is_left(files: DataSource, tmp_path: Path) -> None:
    def cut(_sample: Sample) -> Annotation:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(dataclasses.replace(files, annotate=cut), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["files"]
    write_shards(files, tmp_path / "out")
    with pytest.raises(DataError, match="is not empty"):
        write_shards(files, tmp_path / "out")


def test_missing_images_are_reported_and_left_out(files: DataSource, tmp_path: Path) -> None:
    lost = files.splits["train"][0]
    lost.path.unlink()
    broken: list[str] = []
    write_shards(files, tmp_path / "out", on_broken=lambda sample, _reason: broken.append(sample.image_id))
    assert broken == [lost.image_id]
    assert len(load_source(tmp_path / "out").splits["train"]) == COUNT - 1


def test_boxes_that_cannot_be_read_are_reported_and_the_image_kept(files: DataSource, tmp_path: Path) -> None:
    bad = files.splits["train"][3].image_id

    def annotate(sample: Sample) -> Annotation | None:
        if sample.image_id == bad:
            raise DataError("a.xml is cut")
        return files.annotate(sample)

    reported: list[tuple[str, str]] = []
    changed = dataclasses.replace(files, annotate=annotate)
    write_shards(changed, tmp_path / "out", on_broken=lambda sample, why: reported.append((sample.image_id, why)))
    assert reported == [(bad, "its boxes alone, a.xml is cut")]
    read = load_source(tmp_path / "out")
    assert [s.image_id for s in read.splits["train"] if read.annotate(s) is None] == [bad]


def test_every_split_comes_back_under_its_name(files: DataSource, tmp_path: Path) -> None:
    parts = {name: files.splits["train"][3 * i : 3 * i + 3] for i, name in enumerate(KEEPING_ORDER)}
    counts = write_shards(dataclasses.replace(files, splits=parts), tmp_path / "out", images_per_shard=2)
    assert counts == dict.fromkeys(KEEPING_ORDER, 2)
    for read in (load_source(tmp_path / "out"), _without_index(tmp_path / "out")):
        found = {split: {sample.path.parent.name for sample in samples} for split, samples in read.splits.items()}
        assert found == {name: {f"{name}-000000.tar", f"{name}-000001.tar"} for name in KEEPING_ORDER}


def _without_index(root: Path) -> DataSource:
    (root / "shards.json").unlink()
    return load_source(root)


def test_an_index_of_other_names_is_an_error_not_an_endless_search(shards: DataSource) -> None:
    samples = [_renamed(sample) for sample in shards.splits["train"]]
    with pytest.raises(DataError, match="has none of the images that are listed of it"):
        _epoch(train_loader(samples, _config()))


def _renamed(sample: Sample) -> Sample:
    return dataclasses.replace(sample, path=sample.path.with_name(f"other-{sample.path.name}"))


def test_an_epoch_has_every_image_once(shards: DataSource) -> None:
    loader = train_loader(shards.splits["train"], _config())
    assert isinstance(loader, StreamLoader)
    assert loader.steps_per_epoch == 6
    assert len(loader) == 6
    first, second = _epoch(loader, 0), _epoch(loader, 1)
    assert sorted(_ids(first)) == sorted(sample.image_id for sample in shards.splits["train"])
    assert _ids(first) != _ids(second)
    assert _ids(_epoch(loader, 0)) == _ids(first)
    labels = {sample.image_id: sample.label for sample in shards.splits["train"]}
    assert all(batch.labels.tolist() == [labels[sample.image_id] for sample in batch.samples] for batch in first)
    assert first[0].images.shape == (4, 3, 16, 16)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("step", [1, 4])
def test_going_on_in_the_middle_gives_the_same_batches(shards: DataSource, workers: int, step: int) -> None:
    config = _config(workers=workers, accumulation=2, batch=4)
    whole = _epoch(train_loader(shards.splits["train"], config), 3)
    rest = _epoch(train_loader(shards.splits["train"], config), 3, step)
    assert len(rest) == len(whole) - 2 * step
    for one, other in zip(whole[2 * step :], rest, strict=True):
        assert _ids([one]) == _ids([other])
        assert torch.equal(one.images, other.images)


def test_images_held_out_are_not_streamed(shards: DataSource) -> None:
    kept = shards.splits["train"][3:]
    seen = Counter(_ids([b for epoch in range(4) for b in _epoch(train_loader(kept, _config(batch=3)), epoch)]))
    assert seen.keys() == {sample.image_id for sample in kept}
    assert set(seen.values()) == {4}


def test_processes_have_shards_of_their_own_and_as_many_batches(shards: DataSource) -> None:
    loaders = [train_loader(shards.splits["train"], _config(), rank, 2) for rank in range(2)]
    parts = [_epoch(loader) for loader in loaders]
    assert [len(part) for part in parts] == [6, 6]
    assert not set(_ids(parts[0])) & set(_ids(parts[1]))
    everything = {i for epoch in range(6) for loader in loaders for i in _ids(_epoch(loader, epoch))}
    assert len(everything) == COUNT


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_more_processes_than_shards_are_refused_and_workers_cut(shards: DataSource) -> None:
    with pytest.raises(DataError, match=r"5 shards for 6 processes.*cdtr data shards --images"):
        train_loader(shards.splits["train"], _config(batch=6), 0, 6)
    assert len(_epoch(train_loader(shards.splits["train"], _config(workers=9)))) == 6


def test_without_the_library_one_line_says_what_to_install(
    files: DataSource, shards: DataSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "webdataset", None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[shards\]'"):
        write_shards(files, tmp_path / "more")
    with pytest.raises(ConfigError, match="pip install"):
        train_loader(shards.splits["train"], _config())


@pytest.mark.parametrize("workers", [0, 2])
def test_copies_follow_each_other_in_a_micro_batch(shards: DataSource, workers: int) -> None:
    loader = train_loader(shards.splits["train"], _config(repeats=2, workers=workers, augment="resized_crop"))
    batches = _epoch(loader)
    assert Counter(_ids(batches)).total() == COUNT
    for batch in batches:
        ids = _ids([batch])
        assert ids[::2] == ids[1::2]
        assert not any(
            torch.equal(one, other) for one, other in zip(batch.images[::2], batch.images[1::2], strict=True)
        )
    assert _ids(_epoch(loader, 0, 2)) == _ids(batches[2:])


def _tar(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def _png(shade: int = 9) -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8), shade).save(file, "PNG")
    return file.getvalue()


def test_an_archive_beside_class_folders_is_no_shard(files: DataSource) -> None:
    _tar(files.root / "flowers-102.tar", {"a.png": _png()})
    assert load_source(files.root).name == "folder"


def test_shards_of_others_are_read(tmp_path: Path) -> None:
    members = {"./n1/a.png": _png(), "./n1/a.json": b'{"class": "dog", "boxes_xyxy": [[1, 2, 3, 4]]}'}
    _tar(tmp_path / "s" / "imagenet-train-0000.tar", {**members, "b.jpg": _png(), "b.cls": b"0\n", "notes.txt": b"x"})
    _tar(tmp_path / "s" / "imagenet_validation-00.tar", {"c.PNG": _png(), "c.cls": b"cat"})
    _tar(tmp_path / "s" / "more.tar", {"d.png": _png(), "d.cls": b"cat"})
    (tmp_path / "s" / "classes.txt").write_text("cat\ndog\n")
    with pytest.warns(UserWarning, match=r"1 tar files are left out, such as more\.tar"):
        source = load_source(tmp_path / "s")
    assert [sample.label for sample in source.splits["train"]] == [1, 0]
    assert [sample.label for sample in source.splits["val"]] == [0]
    assert source.annotated
    first = source.annotate(source.splits["train"][0])
    assert first is not None
    assert first.boxes_xyxy.tolist() == [[1, 2, 3, 4]]
    assert source.annotate(source.splits["val"][0]) is None
    (batch,) = eval_loader(source.splits["train"], _config())
    assert batch.sizes_hw == ((8, 8), (8, 8))
    assert len(_epoch(train_loader(source.splits["train"], _config(batch=2)))) == 1


@pytest.mark.parametrize(
    ("members", "message"),
    [
        pytest.param({"a.png": b""}, "neither a.cls nor a.json", id="no-class"),
        pytest.param({"a.png": b"", "a.cls": b"cow"}, "class 'cow', expected a number", id="unknown"),
        pytest.param({"a.png": b"", "a.cls": b"7"}, "has 2 classes, the shards have the class number 7", id="high"),
        pytest.param({"a.png": b"", "a.json": b"[]"}, "no JSON object", id="list"),
        pytest.param({"a.png": b"", "a.json": b'{"label": true}'}, "class True", id="bool"),
        pytest.param({"a.png": b"", "a.json": b"{"}, "no JSON", id="cut"),
        pytest.param({"a.png": b"", "a.cls": b"\xff"}, "not UTF-8", id="bytes"),
    ],
)
def test_damaged_samples_are_named(tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    _tar(tmp_path / "s" / "train-0000.tar", members)
    (tmp_path / "s" / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(DataError, match=message):
        load_source(tmp_path / "s")


def test_hostile_members_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(_png())
    good = {"a.png": _png(), "a.cls": b"0", "b.png": _png(1), "b.cls": b"1"}
    hostile = {"../secret.png": _png(), "../secret.cls": b"0", "/etc/x.png": _png(), "/etc/x.cls": b"0"}
    path = _tar(tmp_path / "s" / "train-0000.tar", {**good, **hostile})
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("c.png")
        link.type, link.linkname = tarfile.SYMTYPE, "../../secret.png"
        archive.addfile(link)
    assert [sample.path.name for sample in load_source(tmp_path / "s").splits["train"]] == ["a.png", "b.png"]
    with pytest.raises(FileNotFoundError):
        open_file(path / ".." / ".." / "secret.png").close()


def test_a_cut_shard_is_one_line(tmp_path: Path) -> None:
    path = _tar(tmp_path / "s" / "train-0000.tar", {"a.png": _png(), "a.cls": b"0"})
    path.write_bytes(b"no tar file at all" * 100)
    with pytest.raises(DataError, match=r"train-0000\.tar cannot be read as a tar file"):
        load_source(tmp_path / "s")


def test_a_broken_image_is_replaced_and_reported_once(tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    for number in range(8):
        members |= {f"{number}.png": _png(number) if number else b"no image", f"{number}.cls": str(number % 2).encode()}
    _tar(tmp_path / "s" / "train-0000.tar", members)
    samples = load_source(tmp_path / "s").splits["train"]
    assert len(check_images(samples, 10**6)[0]) == 8  # members are not opened one by one
    reported: list[str] = []
    loader = train_loader(samples, _config(), on_broken=lambda sample, _reason: reported.append(sample.image_id))
    for epoch in range(3):
        assert [len(batch.samples) for batch in _epoch(loader, epoch)] == [4, 4]
    assert reported == ["train-0000/0.png"]


@pytest.mark.parametrize(("batch", "accumulation"), [(1, 1), (4, 4)])
def test_broken_images_alone_in_their_micro_batch_are_replaced(tmp_path: Path, batch: int, accumulation: int) -> None:
    members: dict[str, bytes] = {}
    for number in range(8):
        members |= {f"{number}.png": _png(number) if number % 4 else b"no", f"{number}.cls": str(number % 2).encode()}
    _tar(tmp_path / "s" / "train-0000.tar", members)
    samples = load_source(tmp_path / "s").splits["train"]
    reported: set[str] = set()
    config = _config(batch=batch, accumulation=accumulation, shuffle_buffer=1)
    loader = train_loader(samples, config, on_broken=lambda sample, _reason: reported.add(sample.image_id))
    whole = _epoch(loader)
    assert [len(found.samples) for found in whole] == [1] * 8
    assert reported == {"train-0000/0.png", "train-0000/4.png"}
    for step in range(len(whole) // accumulation):
        assert _ids(_epoch(loader, 0, step)) == _ids(whole)[step * accumulation :]


def test_a_set_of_broken_images_alone_ends(tmp_path: Path) -> None:
    _tar(tmp_path / "s" / "train-0000.tar", {"0.png": b"no", "0.cls": b"0", "1.png": b"no", "1.cls": b"1"})
    samples = load_source(tmp_path / "s").splits["train"]
    with pytest.raises(DataError, match=r"can be read; the first: .* is no image that Pillow knows"):
        _epoch(train_loader(samples, _config(batch=1)))
