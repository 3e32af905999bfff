from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from cdtr.errors import DataError
from cdtr.localization.boxes import BoxRule
from cdtr.metrics import CentredBoxes
from cdtr.metrics.baselines import STEPS, centred_boxes
from oracles import box_oracles as oracle


def test_grid_is_centred_and_ends_with_the_whole_image():
    boxes = centred_boxes((100, 200))
    assert len(boxes) == STEPS**2
    assert boxes[-1].tolist() == [0, 0, 199, 99]
    np.testing.assert_allclose(boxes[:, :2] + boxes[:, 2:], [[199, 99]] * len(boxes))
    # Relative height 0.1 is the second row of the grid, width 0.5 its tenth column.
    assert boxes[1 * STEPS + 9].tolist() == [50, 45, 149, 54]


def test_scores_by_hand():
    baselines = CentredBoxes((200, 200))
    small, large, corner = [[80, 80, 119, 119]], [[0, 0, 179, 179]], [[0, 0, 9, 9]]
    baselines.update(large, 0, top1=True, top5=True)
    baselines.update(small, 1, top1=True, top5=True)
    baselines.update(small, 1, top1=False, top5=True)
    baselines.update(small, 2, top1=False, top5=False)
    baselines.update(corner, 2, top1=True, top5=True)
    scores = baselines.compute()
    full = scores["full_image"]
    assert full["gt_known_loc"] == 20
    assert full["top1_loc"] == 20
    assert full["gt_known_loc_iou70"] == 20
    centre = scores["centre_box"]
    assert centre["gt_known_loc"] == 60
    assert centre["top1_loc"] == 20
    assert centre["top5_loc"] == 40
    assert "upper bound" in centre["chosen_on"]
    assert scores["centre_box_per_class"]["gt_known_loc"] == 80
    assert scores["centre_box_per_class"]["top1_loc"] == 40


def test_equals_the_oracle_and_merges():
    rng = np.random.default_rng(0)
    whole, first, second = (CentredBoxes((64, 64)) for _ in range(3))
    images = [np.sort(rng.integers(0, 64, (2, 2, 2)), axis=1).reshape(-1, 4).tolist() for _ in range(30)]
    for number, gt_boxes in enumerate(images):
        whole.update(gt_boxes, number % 3, True, True)
        (first if number % 2 else second).update(gt_boxes, number % 3, True, True)
    counts = [
        sum(max(oracle.iou_inclusive(box, gt) for gt in gt_boxes) >= 0.5 for gt_boxes in images)
        for box in centred_boxes((64, 64)).tolist()
    ]
    assert whole.compute()["centre_box"]["gt_known_loc"] == pytest.approx(100 * max(counts) / 30)
    assert whole.compute()["full_image"]["gt_known_loc"] == pytest.approx(100 * counts[-1] / 30)
    first.merge(second)
    assert first.compute() == whole.compute()


def test_bad_input_is_an_error():
    with pytest.raises(DataError, match="no annotated image"):
        CentredBoxes().compute()
    with pytest.raises(DataError, match="inverted"):
        CentredBoxes().update([[3, 3, 1, 1]], 0, True, True)
    with pytest.raises(DataError, match="at least 20 pixels"):
        CentredBoxes((8, 8))
    with pytest.raises(DataError, match="cannot merge"):
        CentredBoxes().merge(CentredBoxes((64, 64)))


def neu_boxes(root):
    for name in (root / "val.txt").read_text().split():
        tree = ElementTree.parse(root / "ANNOTATIONS" / name.replace(".jpg", ".xml"))
        boxes = ([int(box.findtext(key)) for key in ("xmin", "ymin", "xmax", "ymax")] for box in tree.iter("bndbox"))
        yield [[value * 224 // 200 for value in box] for box in boxes]


def cub_boxes(root):
    columns = {
        name: dict(line.split(None, 1) for line in (root / f"{name}.txt").open())
        for name in ("images", "bounding_boxes", "train_test_split")
    }
    for number, is_train in columns["train_test_split"].items():
        if is_train.strip() == "0":
            with Image.open(root / "images" / columns["images"][number].strip()) as image:
                width, height = image.size
            x, y, w, h = map(float, columns["bounding_boxes"][number].split())
            yield [
                [int(value * 224 / side) for value, side in zip((x, y, x + w, y + h), (width, height) * 2, strict=True)]
            ]


@pytest.mark.parametrize(
    ("folder", "reader", "n_images", "full", "centre"),
    [("neu-det", neu_boxes, 360, 15.8, 20.3), ("cub-50", cub_boxes, 1389, 21.8, 58.2)],
)
def test_real_data_score_what_is_known_of_them(shared_data, folder, reader, n_images, full, centre):
    baselines = CentredBoxes()
    for gt_boxes in reader(shared_data / folder):
        baselines.update(gt_boxes, 0, True, True)
    assert baselines.count == n_images
    scores = baselines.compute()
    assert scores["full_image"]["gt_known_loc"] == pytest.approx(full, abs=0.05)
    assert scores["centre_box"]["gt_known_loc"] == pytest.approx(centre, abs=0.05)


def test_image_whose_boxes_the_crop_does_not_show_is_missed_by_every_box():
    baselines = CentredBoxes()
    baselines.update([[0, 0, 223, 223]], 0, True, True)
    baselines.update(np.zeros((0, 4)), 0, True, True)
    assert baselines.compute()["full_image"]["gt_known_loc"] == 50


def test_whole_frame_is_the_full_image_in_both_conventions():
    for rule, last in ((BoxRule(), 223), (BoxRule(inclusive=False), 224)):
        baselines = CentredBoxes((224, 224), rule)
        baselines.update([[0, 0, last, last]], 0, True, True)
        assert baselines.compute()["full_image"]["gt_known_loc_iou70"] == 100
