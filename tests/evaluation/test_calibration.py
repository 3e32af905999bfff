import json

import numpy as np
import pytest
import torch

from cdtr.errors import DataError
from cdtr.evaluation import (
    Tally,
    calibrate,
    calibrate_label_free,
    find_protocol,
    fit_box_scores,
    tally_images,
)
from cdtr.evaluation.calibration import halfway_threshold, middle_of_plateau, smoothed
from cdtr.runs import hash_names
from oracles.toy_methods import ImageIsMap, annotate_from, batch_of, evaluated

WSOL = find_protocol("wsol")
OBJECT = (60, 60, 160, 160)


def nested(core, edge, surround):
    """A map of a small bright core in the object, the object, and its surroundings; the values in that order."""
    maps = torch.zeros(1, 224, 224)
    maps[0, 20:200, 20:200] = surround
    maps[0, 60:160, 60:160] = edge
    maps[0, 100:120, 100:120] = core
    return maps


def calibrate_wsol(*arguments, **options):
    (found,) = calibrate(*arguments, [WSOL], **options)
    return found


def batches(*images):
    return [batch_of([image], [0], [f"image {number}"]) for number, image in enumerate(images)]


BOXES = {"image 0": [OBJECT], "image 1": [OBJECT]}


def test_threshold_is_the_middle_of_the_best_plateau():
    # The object alone is foreground from 0.2 to below 0.6 in one image, from 0.4 to below 0.8 in the other.
    data = batches(nested(1, 0.6, 0.2), nested(1, 0.8, 0.4))
    found = calibrate_wsol(ImageIsMap(), data, annotate_from(BOXES))
    assert found.threshold == pytest.approx(0.5, abs=0.011)
    assert found.gt_known_loc == 100
    assert found.n_images == 2
    assert found.protocol == "wsol"
    scored = evaluated(ImageIsMap(), data, annotate_from(BOXES), WSOL, found.threshold)
    assert scored.metrics["gt_known_loc"] == 100
    curve = dict(found.curve)
    assert curve[0.1] == 0
    assert curve[0.3] == 50
    assert curve[0.5] == 100
    assert curve[0.7] == 50
    assert curve[0.9] == 0


def test_json_says_on_what_it_was_chosen():
    data = batches(nested(1, 0.6, 0.2), nested(1, 0.6, 0.2), nested(1, 0.6, 0.2))
    tree = calibrate_wsol(ImageIsMap(), data, annotate_from(BOXES), delta=0.1).to_json()
    assert json.loads(json.dumps(tree)) == tree
    assert tree["n_images"] == 2, "the third image has no box"
    assert tree["images_sha256"] == hash_names(["image 1", "image 0"])
    assert [threshold for threshold, _ in tree["curve"]] == [round(0.1 * i, 1) for i in range(10)]


def test_repeated_image_counts_once_and_progress_is_told():
    data = batches(nested(1, 0.6, 0.2)) * 3
    done = []
    assert calibrate_wsol(ImageIsMap(), data, annotate_from(BOXES), progress=done.append).n_images == 1
    assert sum(done) == 3


def test_no_box_to_calibrate_on_is_an_error():
    with pytest.raises(DataError, match="no image has a box to calibrate on"):
        calibrate_wsol(ImageIsMap(), batches(nested(1, 0.6, 0.2)), annotate_from({}))


@pytest.mark.parametrize(
    ("rates", "middle"),
    [([1, 3, 2], 1), ([0, 5, 5, 5, 0], 2), ([5, 5, 0, 5], 0), ([5, 0, 5, 5, 5, 5], 3), ([2, 2, 2], 1), ([7], 0)],
    ids=["peak", "plateau", "first-longer", "second-longer", "all-equal", "one"],
)
def test_middle_of_plateau(rates, middle):
    assert middle_of_plateau(np.array(rates, dtype=float)) == middle


def test_a_peak_of_chance_loses_against_a_broad_one():
    rates = np.array([0, 0, 50, 0, 0, 30, 40, 40, 40, 30, 0], dtype=float)
    assert middle_of_plateau(rates) == 2
    assert middle_of_plateau(smoothed(rates, 2)) == 7
    np.testing.assert_allclose(smoothed(rates, 1), np.convolve(np.pad(rates, 1, mode="edge"), np.ones(3) / 3, "valid"))
    assert smoothed(rates, 0).tolist() == rates.tolist()


def test_label_free_is_halfway_up_the_maps_and_looks_at_no_box():
    # Of 224 x 224 pixels 400 are core, 9,600 edge, 22,400 surround: the brightest fifth is 400, 9,600 and 36 of them.
    data = batches(nested(1, 0.6, 0.2), nested(1, 0.8, 0.4))
    sat = find_protocol("sat")
    found = calibrate_label_free(ImageIsMap(), data, [WSOL, sat])
    assert [one.protocol for one in found] == ["wsol", "sat"]
    halfway = []
    for edge, surround in ((0.6, 0.2), (0.8, 0.4)):
        mean = (400 + 9_600 * edge + 22_400 * surround) / 224**2
        bright = (400 + 9_600 * edge + 36 * surround) / 10_036
        halfway.append((mean + bright) / 2)
    assert found[0].threshold == pytest.approx(np.mean(halfway), abs=1e-4)
    tree = found[0].to_json()
    assert tree["gt_known_loc"] is None
    assert tree["curve"] is None
    assert tree["n_images"] == 2
    assert tree["criterion"].startswith("label-free")
    assert tree["images_sha256"] == hash_names(["image 0", "image 1"])


def test_the_span_of_a_typical_map_is_noted_before_it_is_scaled():
    data = batches(nested(1, 0.6, 0.2), 5 * nested(1, 0.6, 0.2), 3 * nested(1, 0.6, 0.2) - 2)
    boxes = {f"image {number}": [OBJECT] for number in range(3)}
    assert calibrate_wsol(ImageIsMap(), data, annotate_from(boxes)).map_span == pytest.approx(3)
    (found,) = calibrate_label_free(ImageIsMap(), data[:2], [WSOL])
    assert found.to_json()["map_span"] == pytest.approx(3), "the mean of 1 and 5"


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 0, 0, 0, 1], 0.6), ([0, 0, 0, 0, 0], 0.0), ([0, 0.5, 0.5, 1, 1], 0.8), ([1], 1.0)],
    ids=["peak", "constant", "hill", "one pixel"],
)
def test_halfway(values, expected):
    assert halfway_threshold(np.array([values])) == pytest.approx(expected)
    assert halfway_threshold(np.array([values[::-1]]).T) == pytest.approx(expected)


def test_label_free_needs_an_image():
    with pytest.raises(DataError, match="no image"):
        calibrate_label_free(ImageIsMap(), [], [WSOL])


def sharp_and_faint(n):
    """Half of the maps stand out and their boxes are right; the others are faint and lie elsewhere."""
    rng = np.random.default_rng(0)
    images, boxes = [], {}
    for index in range(n):
        image = torch.zeros(1, 224, 224)
        x, y = rng.integers(10, 60, 2)
        sharp = index % 2
        image[0] += 0 if sharp else torch.linspace(0, 0.5, 224)
        image[0, y : y + 80, x : x + 80] = 1
        images.append(image)
        boxes[f"image {index}"] = [(x, y, x + 80, y + 80) if sharp else (150, 150, 220, 220)]
    return batches(*images), boxes


@pytest.mark.parametrize("mirrored", [False, True])
def test_scores_of_boxes_are_fitted_and_measured(mirrored):
    data, boxes = sharp_and_faint(60)
    quality = fit_box_scores(ImageIsMap(), data, annotate_from(boxes), WSOL, 0.5, 3, mirrored=mirrored)
    assert quality.n_images == 60
    assert quality.hit_rate == 0.5
    assert quality.mirrored == mirrored
    tally = Tally(WSOL, 0.5, quality=quality)
    tally_images([tally], ImageIsMap(), data, annotate_from(boxes))
    found = tally.finish().box_scores
    assert found is not None
    assert found.hit_rate == 50
    assert found.auroc == 1
    assert found.accuracy_at[0.5] == 100
    assert found.ece < 10


def test_too_few_images_for_scores_is_an_error():
    data, boxes = sharp_and_faint(10)
    with pytest.raises(DataError, match="5 of 10 boxes hit: expected at least 40 images"):
        fit_box_scores(ImageIsMap(), data, annotate_from(boxes), WSOL, 0.5, 3)
