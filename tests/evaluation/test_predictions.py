from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cdtr.errors import DataError
from cdtr.evaluation import Tally, find_protocol, tally_predictions
from cdtr.evaluation.predictions import read_class_scores, read_predictions, without_classes
from cdtr.image_files.maps import find_maps
from cdtr.records import Sample
from cdtr.reports.tables import summary_lines
from oracles import box_oracles as oracle
from oracles.toy_methods import annotate_from

WSOL = find_protocol("wsol")
NAMES = ("cat/a.jpg", "cat/b.jpg", "dog/c.jpg")
SAMPLES = [Sample(name, Path(name), int(name.startswith("dog"))) for name in NAMES]
BOXES = {name: [(30, 40, 120, 130)] for name in NAMES}


def smooth(seed, size=224):
    grid = np.random.default_rng(seed).random((7, 7))
    ramp = np.linspace(0, 6, size)
    rows = np.stack([np.interp(ramp, np.arange(7), row) for row in grid])
    fine = np.stack([np.interp(ramp, np.arange(7), column) for column in rows.T]).T
    return 0.1 + 0.8 * (fine - fine.min()) / (fine.max() - fine.min())


def write(folder, maps):
    for name, one in zip(NAMES, maps, strict=True):
        path = folder / Path(name).with_suffix(".npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, one)
    return folder


def scored(folder, scores=None, **options):
    tally = Tally(WSOL, 0.3, 0.05)
    found = read_predictions(find_maps(folder, SAMPLES), SAMPLES, lambda _: (224, 224), 2, scores, **options)
    tally_predictions([tally], found, annotate_from(BOXES))
    return tally


def test_maps_of_the_evaluator_s_size_are_scored_as_they_are(tmp_path):
    maps = [smooth(seed) for seed in range(3)]  # from 0.1 to 0.9: scaling them would change the counts
    tally = scored(write(tmp_path, maps))
    for metric, multi in ((tally.single, False), (tally.multi, True)):
        expected = sum(oracle.hits(one, BOXES[NAMES[0]], metric.thresholds, (30, 50, 70), multi) for one in maps)
        np.testing.assert_array_equal(metric.hits, expected)


def test_map_a_class_and_class_scores(tmp_path):
    hit, miss = np.zeros((224, 224)), np.zeros((224, 224))
    hit[40:130, 30:120], miss[:20, :20] = 1, 1
    folder = write(tmp_path, [np.stack([hit, miss])] * 2 + [np.stack([miss, hit])])
    table = tmp_path / "scores.csv"
    table.write_text("image_id,dog,cat\ncat/a.jpg,0,1\ncat/b.jpg,1,0\ndog/c.jpg,3,-1\n")
    found = scored(folder, read_class_scores(table, ["cat", "dog"])).finish()
    assert found.metrics["gt_known_loc"] == 100
    assert found.metrics["top1_cls"] == found.metrics["top1_loc"] == pytest.approx(200 / 3)
    assert [row.iou_predicted > 0.5 for row in found.rows] == [True, False, True]


def test_without_class_scores_only_gt_known_figures_stand(tmp_path):
    found = without_classes(scored(write(tmp_path, [smooth(0)] * 3)).finish())
    assert found.metrics["top1_cls"] is found.metrics["top1_loc"] is found.intervals["top5_loc"] is None
    assert found.metrics["gt_known_loc"] is not None
    assert "no class scores" in found.notes[-1]
    assert found.oracle["gt_known_loc"] is not None
    for scores in (found.oracle, *found.baselines.values()):
        assert scores["top1_loc"] is scores["top5_loc"] is None
        assert scores["gt_known_loc"] is not None
    (line,) = (line for line in summary_lines(found) if line.startswith("oracle"))
    assert "GT-known Loc" in line
    assert "Top-1" not in line
    unannotated = without_classes(replace(found, oracle=None, baselines={"full_image": None}))
    assert unannotated.oracle is None
    assert unannotated.baselines == {"full_image": None}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.full((8, 8), np.nan), "no NaN"),
        (np.full((8, 8), 1.5), "within"),
        (np.zeros((3, 8, 8)), "3 maps, the data has 2 classes"),
        (np.zeros(4), "one map"),
        (np.zeros((8, 8), dtype=int), "floating point"),
        (np.array([[None]]), "no array file"),
    ],
    ids=["nan", "out-of-range", "other-classes", "one-dimension", "integers", "pickle"],
)
def test_bad_map_is_named_in_one_line(content, message, tmp_path):
    folder = write(tmp_path, [smooth(0), content, smooth(1)])
    with pytest.raises(DataError, match=message) as caught:
        scored(folder)
    assert str(folder / "cat" / "b.npy") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_normalise_takes_raw_maps(tmp_path):
    raw = write(tmp_path / "raw", [5 * smooth(seed) - 2 for seed in range(3)])
    ready = write(tmp_path / "ready", [(smooth(seed) - 0.1) / 0.8 for seed in range(3)])
    hits = [scored(folder, normalise=flag).single.hits for folder, flag in ((raw, True), (ready, False))]
    assert abs(hits[0] - hits[1]).sum() <= 1, "but for rounding of the 8-bit map"


def test_nan_is_no_zero_when_maps_are_scaled(tmp_path):
    holed = 5 * smooth(1)
    holed[2, 3] = np.nan
    folder = write(tmp_path, [smooth(0), holed, smooth(1)])
    with pytest.raises(DataError, match=r"b\.npy holds NaN or infinity"):
        scored(folder, normalise=True)
    with pytest.raises(DataError, match=r"a\.npy: score map from .*scale it \(`cdtr score --normalise`"):
        scored(write(tmp_path / "raw", [5 * smooth(0)] * 3))


def test_missing_double_and_shared_maps(tmp_path):
    folder = write(tmp_path, [smooth(0, 16)] * 3)
    (folder / "cat" / "a.npy").rename(folder / "cat" / "z.npy")
    with pytest.raises(DataError, match=r"lacks the maps of 1 of 3 images, such as cat/a\.jpg"):
        find_maps(folder, SAMPLES)
    for name in ("a.npy", "a.jpg.npy"):
        np.save(folder / "cat" / name, smooth(0, 16))
    with pytest.raises(DataError, match="two maps"):
        find_maps(folder, SAMPLES)
    (folder / "cat" / "a.jpg.npy").unlink()
    with pytest.raises(DataError, match=r"would be the map of cat/a\.jpg and of cat/a\.png"):
        find_maps(folder, [*SAMPLES, Sample("cat/a.png", Path("cat/a.png"), 0)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,cat,dog\n", "no column 'image_id'"),
        ("image_id,cat\n", "no column 'dog'"),
        ("image_id,cat,dog\na,1\n", "line 2: 2 fields, expected 3"),
        ("image_id,cat,dog\na,1,2\na,1,2\n", "line 3: a comes twice"),
        ("image_id,cat,dog\na,1,x\n", "line 2: .*expected a number"),
        ("image_id,cat,dog\na,1,nan\n", "line 2: .*not finite"),
    ],
    ids=["no-id", "no-class", "short", "twice", "word", "nan"],
)
def test_bad_class_scores_name_the_line(text, message, tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_class_scores(path, ["cat", "dog"])


@pytest.mark.parametrize(
    "content",
    ["image_id,cat,café\n".encode("latin-1"), b"image_id,cat,dog\na,1," + b"2" * 200_000 + b"\n"],
    ids=["latin-1", "huge field"],
)
def test_class_scores_that_are_no_csv_are_one_clear_error(content, tmp_path):
    (tmp_path / "scores.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"scores\.csv cannot be read as CSV .*save it as UTF-8 with commas"):
        read_class_scores(tmp_path / "scores.csv", ["cat", "dog"])
