import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cdtr.data.datasets import load_source
from cdtr.data.datasets.synthetic import generate
from cdtr.data.drawing import PATTERN_NAMES, _add_distractors, draw_image
from cdtr.errors import DataError
from cdtr.formats.masks import tight_box
from cdtr.records import DataSource


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> DataSource:
    return generate(tmp_path_factory.mktemp("synthetic"), n_train=24, n_val=8, size=64)


def _hashes(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_is_recognised_and_balanced(made: DataSource) -> None:
    source = load_source(made.root)
    assert source.name == "synthetic"
    assert source.class_names == PATTERN_NAMES
    assert source.annotated is True
    assert Counter(s.label for s in source.splits["train"]) == dict.fromkeys(range(8), 3)
    assert Counter(s.label for s in source.splits["val"]) == dict.fromkeys(range(8), 1)
    assert source.splits == made.splits
    for sample in source.splits["train"]:
        assert sample.path.parent.name == PATTERN_NAMES[sample.label]
        assert Image.open(sample.path).size == (64, 64)


def test_box_is_tight_around_the_mask(made: DataSource) -> None:
    for sample in (*made.splits["train"], *made.splits["val"]):
        annotation = made.annotate(sample)
        assert annotation is not None
        assert annotation.mask is not None
        assert annotation.mask.dtype == np.uint8
        assert set(np.unique(annotation.mask)) == {0, 1}
        rows, columns = np.nonzero(annotation.mask)
        expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert annotation.boxes_xyxy.tolist() == [expected]


@pytest.mark.parametrize("size", [32, 112])
def test_object_is_inside_and_of_fair_size(size: int) -> None:
    for index in range(24):
        mask = draw_image(index % 8, size, np.random.default_rng(index)).mask
        assert mask.shape == (size, size)
        x0, y0, x1, y1 = tight_box(mask)
        assert min(x0, y0) >= 0
        assert max(x1, y1) <= size
        assert 0.25 * size < max(x1 - x0, y1 - y0) <= 0.8 * size
        assert mask.sum() > 0.02 * size**2


def test_distractors_hide_little_and_what_they_hide_is_not_visible() -> None:
    for seed in range(8):
        canvas = np.full((224, 224, 3), -1, dtype=np.float32)
        visible = np.ones((224, 224), dtype=bool)
        _add_distractors(canvas, visible, seed, np.random.default_rng(seed))
        assert np.array_equal(visible, (canvas == -1).all(axis=2))
        assert 0.85 <= visible.mean() < 1


def test_tight_box_of_one_pixel() -> None:
    mask = np.zeros((5, 7), dtype=bool)
    mask[2, 3] = True
    assert tight_box(mask) == (3, 2, 4, 3)


def test_object_is_patterned_and_its_surroundings_are_not() -> None:
    """The mean gradient on the object is clearly above that elsewhere: the mask lies where the pattern is."""
    for label in range(8):
        on, off = [], []
        for index in range(4):
            picture = draw_image(label, 112, np.random.default_rng([index, label]))
            grey = picture.image.astype(float).mean(axis=2)
            gradient = np.hypot(*np.gradient(grey))
            on.append(gradient[picture.mask].mean())
            off.append(gradient[~picture.mask].mean())
        assert np.mean(on) > 1.5 * np.mean(off), PATTERN_NAMES[label]


def test_same_seed_draws_the_same_files(made: DataSource, tmp_path: Path) -> None:
    generate(tmp_path, n_train=24, n_val=8, size=64)
    assert _hashes(tmp_path) == _hashes(made.root)


def test_pictures_depend_on_seed_and_number_alone(made: DataSource, tmp_path: Path) -> None:
    more = generate(tmp_path / "more", n_train=25, n_val=0, size=64)
    other = generate(tmp_path / "other", n_train=24, n_val=0, size=64, seed=1)
    for sample in made.splits["train"]:
        assert (more.root / sample.image_id).read_bytes() == sample.path.read_bytes()
        assert (other.root / sample.image_id).read_bytes() != sample.path.read_bytes()
    assert made.splits["train"][0].path.read_bytes() != made.splits["val"][0].path.read_bytes()


def test_finished_set_is_kept(made: DataSource) -> None:
    first = made.splits["train"][0].path
    before = first.stat().st_mtime_ns
    generate(made.root, n_train=24, n_val=8, size=64)
    assert first.stat().st_mtime_ns == before


def test_killed_generation_is_noticed_and_redone(tmp_path: Path) -> None:
    def kill(done: int, _total: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path, n_train=32, n_val=0, size=32, seed=3, progress=kill)
    with pytest.raises(DataError, match="never finished"):
        load_source(tmp_path)
    steps: list[tuple[int, int]] = []
    source = generate(tmp_path, n_train=8, n_val=8, size=32, progress=lambda *step: steps.append(step))
    assert steps == [(done, 16) for done in range(1, 17)]
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.glob("*/*/*.jpg")) == sorted(
        sample.image_id for samples in source.splits.values() for sample in samples
    )


def test_other_files_are_never_touched(made: DataSource, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="another synthetic set"):
        generate(made.root, n_train=24, n_val=8, size=64, seed=9)
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "mine.txt").write_text("precious")
    with pytest.raises(DataError, match="holds other files"):
        generate(tmp_path, n_train=8, n_val=0)
    assert (tmp_path / "train" / "mine.txt").read_text() == "precious"


@pytest.mark.parametrize("bad", [{"size": 16}, {"n_train": 7}, {"n_val": -1}], ids=["size", "n_train", "n_val"])
def test_impossible_parameters_are_refused(bad: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected at least"):
        generate(tmp_path, **bad)


def test_annotation_list_cannot_leave_the_root(tmp_path: Path) -> None:
    (tmp_path / "synthetic.json").write_text("{}")
    (tmp_path / "annotations.json").write_text('{"train/../../checks/1.jpg": [[0, 0, 1, 1]]}')
    with pytest.raises(DataError, match="outside"):
        load_source(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{"], ids=["empty", "list", "cut-short"])
def test_damaged_annotations_are_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "synthetic.json").write_text("{}")
    (tmp_path / "annotations.json").write_text(text)
    with pytest.raises(DataError, match="generate the synthetic set again"):
        load_source(tmp_path)
