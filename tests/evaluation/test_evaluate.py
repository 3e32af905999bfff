import json

import numpy as np
import pytest
import torch

from cdtr.errors import CheckpointError, ConfigError, DataError
from cdtr.evaluation import Tally, find_protocol, tally_images
from cdtr.metrics.baselines import CHOSEN_ON
from cdtr.records import Annotation
from cdtr.threshold import Threshold, ThresholdSource
from oracles import box_oracles as oracle
from oracles.toy_methods import ImageIsMap, annotate_from, batch_of, evaluated, square_map

WSOL = find_protocol("wsol")
CENTRE, CORNER, LARGE = (92, 92, 132, 132), (0, 0, 40, 40), (0, 0, 200, 200)


def image_of(*squares):
    """Six class maps (6, 224, 224) from (class, score, box); classes without a square score 0."""
    maps = torch.zeros(6, 224, 224)
    for label, score, box in squares:
        maps[label] = square_map(box, score)
    return maps


def rest(*labels):
    """Squares of score 1 in the corner for the classes that should outrank a label."""
    return [(label, 1.0, CORNER) for label in labels]


IMAGES = {
    "right": (0, image_of((0, 5, LARGE))),
    "second-best": (1, image_of((1, 3, CENTRE), (2, 5, CORNER))),
    "wrong-box": (2, image_of((2, 5, CORNER))),
    "sixth-best": (3, image_of((3, 0.5, CENTRE), *rest(1, 2, 4, 5), (0, 5, CORNER))),
    "unannotated": (4, image_of((4, 5, CENTRE))),
}
BOXES = {"right": [LARGE], "second-best": [CENTRE], "wrong-box": [CENTRE], "sixth-best": [CENTRE]}
# All classes have one image: the first counts as the largest, and five are all that there are.
LARGEST = {"top1_cls": 20, "mean_recall": 20, "top5_cls": 100, "label": 0, "chosen_on": CHOSEN_ON}
CALIBRATED = Threshold(0.5, ThresholdSource.CALIBRATED, "4 images")


def batches(names=tuple(IMAGES), size=2):
    for start in range(0, len(names), size):
        part = names[start : start + size]
        yield batch_of([IMAGES[name][1] for name in part], [IMAGES[name][0] for name in part], part)


def run(names=tuple(IMAGES), table=BOXES, threshold=0.5, **options):
    return evaluated(ImageIsMap(), batches(names), annotate_from(table), WSOL, threshold, delta=0.1, **options)


def test_every_number_is_the_one_by_hand():
    found = run(threshold=Threshold(0.5, ThresholdSource.GIVEN))
    assert found.n_images == 5
    assert found.n_annotated == 4
    assert found.threshold_source == "given"
    expected = {"top1_cls": 60, "top5_cls": 80, "top1_loc": 25, "top5_loc": 50, "gt_known_loc": 75, "mean_iou": 75}
    expected |= {
        "mean_recall": 60,
        "median_iou": 100,
        "gt_known_loc_iou70": 75,
        "max_box_acc": 75,
        "max_box_acc_v2": 75,
        "pxap": None,
        **dict.fromkeys(("object_auroc", "false_boxes", "missing_boxes")),  # every class has an object
    }
    assert found.metrics == pytest.approx(expected, nan_ok=False)
    full, centre, per_class = (found.baselines[n] for n in ("full_image", "centre_box", "centre_box_per_class"))
    names = ("gt_known_loc", "top1_loc", "top5_loc", "gt_known_loc_iou70")
    assert [full[name] for name in names] == [25, 25, 25, 25]
    assert [centre[name] for name in names] == [75, 25, 50, 75]
    assert per_class["gt_known_loc"] == 100
    assert found.baselines["largest_class"] == LARGEST
    assert {name: found.oracle[name] for name in names[:3]} == {"gt_known_loc": 75, "top1_loc": 25, "top5_loc": 50}
    assert "evaluated images" in found.oracle["chosen_on"]


def test_rows_tell_each_image_in_order():
    rows = {row.image_id: row for row in run().rows}
    assert list(rows) == list(IMAGES)
    second = rows["second-best"]
    assert second.label == 1
    assert second.predicted == 2
    assert second.in_top5 is True
    assert second.iou_label == 1
    assert second.iou_predicted == 0
    assert second.prob == pytest.approx(torch.tensor([0, 3, 5, 0, 0, 0.0]).softmax(0)[2].item())
    assert not rows["sixth-best"].in_top5
    assert rows["unannotated"].iou_label is None


def test_without_threshold_only_what_needs_none_is_measured():
    found = run(threshold=None)
    for name in ("top1_loc", "top5_loc", "gt_known_loc", "mean_iou", "median_iou"):
        assert found.metrics[name] is None
    assert found.metrics["max_box_acc"] == 75
    assert found.oracle["gt_known_loc"] == 75
    assert found.threshold_source is None
    assert "cdtr calibrate" in found.notes[0]


def test_without_annotation_only_classification_is_measured():
    found = run(table={})
    assert found.metrics["top1_cls"] == 60
    assert found.metrics["max_box_acc"] is None
    assert found.baselines == {"full_image": None, "centre_box": None, "largest_class": LARGEST}
    assert found.oracle is None
    assert "no image has a box" in found.notes[0]


def test_image_with_zero_boxes_is_unannotated():
    assert run(table=BOXES | {"unannotated": []}).metrics == run().metrics


def test_json_is_the_contract():
    tree = json.loads(json.dumps(run(threshold=CALIBRATED).to_json([f"class {i}" for i in range(6)])))
    contract = {"protocol", "n_images", "threshold", "threshold_source", "metrics", "baselines"}
    assert contract <= tree.keys()
    names = "top1_loc top5_loc gt_known_loc top1_cls top5_cls max_box_acc max_box_acc_v2 pxap mean_iou median_iou"
    assert set(names.split()) <= tree["metrics"].keys()
    assert tree["metrics"]["pxap"] is None
    assert {"full_image", "centre_box"} <= tree["baselines"].keys()
    assert tree["protocol"] == "wsol"
    assert tree["threshold"] == 0.5
    assert tree["threshold_source"] == "calibrated on 4 images"
    assert tree["per_class"]["class 3"] == pytest.approx(
        {"n_images": 1, "top1_cls": 0, "top5_cls": 0, "top1_loc": 0, "top5_loc": 0, "gt_known_loc": 100}
        | {"mean_recall": 0, "gt_known_loc_iou70": 100, "mean_iou": 100, "median_iou": 100}
    )


def test_masks_give_pxap():
    mask = np.zeros((112, 112), dtype=np.uint8)  # any size: it is resized as the map is
    mask[:100, :100] = 1
    boxes = np.array([LARGE], dtype=float)
    assert run(table={"right": Annotation(boxes, mask)}).metrics["pxap"] == 100
    only_mask = run(table={"right": Annotation(np.zeros((0, 4)), mask)})
    assert only_mask.metrics["pxap"] == 100
    assert only_mask.metrics["max_box_acc"] is None


def test_a_mask_of_other_proportions_is_an_error():
    with pytest.raises(
        DataError, match=r"^right: mask of 112x80 for an image of 224x224, expected the same proportions"
    ):
        run(table={"right": Annotation(np.array([LARGE], dtype=float), np.zeros((80, 112), dtype=np.uint8))})


def totals(names):
    tally = Tally(WSOL, 0.5, 0.1)
    tally_images([tally], ImageIsMap(), batches(names), annotate_from(BOXES))
    return tally


@pytest.mark.parametrize("cut", [1, 2, 4])
def test_merged_parts_equal_the_whole(cut):
    names = tuple(IMAGES)
    first, second = totals(names[:cut]), totals(names[cut:])
    first.merge(second)
    assert first.finish().to_json() == totals(names).finish().to_json()
    assert first.finish().rows == run().rows


def test_parts_that_overlap_or_differ_do_not_merge():
    with pytest.raises(DataError, match=r"1 images are in both parts, such as wrong-box"):
        totals(("right", "wrong-box")).merge(totals(("wrong-box",)))
    with pytest.raises(DataError, match="different protocols or thresholds"):
        totals(("right",)).merge(Tally(WSOL, 0.4, 0.1))


def test_repeated_image_counts_once():
    once, twice = run(("right", "wrong-box")), run(("right", "wrong-box", "right"))
    assert twice.to_json() == once.to_json()
    assert twice.n_images == 2


def test_one_forward_pass_in_evaluation_mode_and_progress():
    method = ImageIsMap().train()
    done = []
    evaluated(method, batches(), annotate_from(BOXES), WSOL, 0.5, progress=done.append, delta=0.1)
    assert method.modes == [(False, False, True)] * 3
    assert method.training, "the mode is restored"
    assert sum(done) == 5


def test_threads_change_nothing():
    assert run(workers=1).to_json() == run(workers=4).to_json()


def test_coarse_map_of_an_oblong_image_against_the_oracle():
    coarse = torch.rand(6, 14, 14, generator=torch.Generator().manual_seed(0)) ** 2
    batch = batch_of([coarse], [2], ["a"])
    batch = type(batch)(batch.images, batch.labels, batch.samples, sizes_hw=((300, 500),))
    box = [100.0, 50.0, 401.0, 260.0]
    thresholds = np.arange(0, 1, 0.1)
    found = Tally(WSOL, 0.3, 0.1)
    tally_images([found], ImageIsMap(), [batch], annotate_from({"a": [box]}))
    import cv2

    resized = cv2.resize(coarse[2].numpy(), (224, 224), interpolation=cv2.INTER_CUBIC)
    resized = (resized - resized.min()) / (resized.max() - resized.min())
    scaled = [int(100 * 224 / 500), int(50 * 224 / 300), int(401 * 224 / 500), int(260 * 224 / 300)]
    for metric, multi in ((found.single, False), (found.multi, True)):
        np.testing.assert_array_equal(metric.hits, oracle.hits(resized, [scaled], thresholds, (30, 50, 70), multi))
    (box_at,) = oracle.boxes_at(resized, 0.3, False)
    assert found.accuracy.rows[0].iou_label == pytest.approx(oracle.iou_inclusive(box_at, scaled))


def test_broken_annotation_names_its_image():
    with pytest.raises(DataError, match=r"^right: box .* is inverted or negative"):
        run(table={"right": [[50, 50, 10, 60]]})


def test_labels_and_weights_that_do_not_fit_are_errors():
    wrong_label = batch_of([IMAGES["right"][1]], [6], ["a"])
    with pytest.raises(CheckpointError, match="6 classes, the data has label 6"):
        evaluated(ImageIsMap(), [wrong_label], annotate_from({}), WSOL, 0.5)
    broken = batch_of([IMAGES["right"][1] * float("nan")], [0], ["a"])
    with pytest.raises(CheckpointError, match="not finite"):
        evaluated(ImageIsMap(), [broken], annotate_from({}), WSOL, 0.5)


def test_nothing_to_evaluate_and_bad_settings_are_errors():
    with pytest.raises(DataError, match="no image was evaluated"):
        run(names=())
    with pytest.raises(ConfigError, match="threshold"):
        run(threshold=1.0)
    with pytest.raises(ConfigError, match="delta"):
        Tally(WSOL, 0.5, delta=0)


def test_fewer_than_five_classes():
    maps = torch.stack([square_map(CENTRE, 1), square_map(CORNER, 2)])
    found = evaluated(ImageIsMap(), [batch_of([maps], [0], ["a"])], annotate_from({"a": [CENTRE]}), WSOL, 0.5)
    assert found.metrics["top1_cls"] == 0
    assert found.metrics["top5_cls"] == 100
    assert found.metrics["top1_loc"] == 0
    assert found.metrics["top5_loc"] == 100
