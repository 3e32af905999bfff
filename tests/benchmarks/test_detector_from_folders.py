"""The detector of the benchmark: its boxes in the pixels that it sees, its loss that of FCOS, its file as scored."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from cdtr.data.datasets import load_source
from cdtr.errors import DataError
from detector_from_folders import SIDE, TRUE, build_detector, detect, keep_features, losses, mirror, read_taught, train


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six images of 96 x 48 pixels of two classes, the first three with a box in boxes.json and in boxes.csv."""
    noise = np.random.default_rng(0)
    images, annotations, rows = [], [], ["image_id,x0,y0,x1,y1"]
    for number in range(6):
        name = f"{('cat', 'dog')[number % 2]}/{number}.png"
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 255, (48, 96, 3), dtype=np.uint8)).save(tmp_path / "photos" / name)
        images.append({"id": number, "file_name": name})
        if number < 3:
            box = {"id": number, "image_id": number, "category_id": number % 2, "bbox": [8, 12, 40, 24], "score": 0.5}
            annotations.append(box)
            rows.append(f"{name},0,0,48,24")
    names = [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]
    tree = {"images": images, "annotations": annotations, "categories": names}
    (tmp_path / "ours.json").write_text(json.dumps(tree))
    (tmp_path / "photos" / "boxes.csv").write_text("\n".join(rows))
    return tmp_path / "photos"


def test_boxes_teach_in_the_pixels_of_the_detector_and_images_without_one_do_not(photos: Path) -> None:
    source = load_source(photos)
    ours = read_taught(source, str(photos.parent / "ours.json"))
    assert [one.image_id for one in ours] == ["cat/0.png", "cat/2.png", "dog/1.png"]
    assert [one.labels.tolist() for one in ours] == [[0], [0], [1]]
    assert_close(ours[0].boxes, torch.tensor([[8 / 96, 12 / 48, 48 / 96, 36 / 48]]) * SIDE)
    assert_close(read_taught(source, TRUE)[0].boxes, torch.tensor([[0, 0, SIDE / 2, SIDE / 2]]))
    (photos / "boxes.csv").unlink()
    with pytest.raises(DataError, match="no training image of"):
        read_taught(load_source(photos), TRUE)


def test_a_mirrored_box_is_as_far_from_the_other_side() -> None:
    assert_close(mirror(torch.tensor([[1.0, 2, 11, 22]])), torch.tensor([[SIDE - 11.0, 2, SIDE - 1, 22]]))


def test_the_loss_of_kept_features_is_that_of_fcos_from_pixels(photos: Path) -> None:
    torch.manual_seed(0)
    source, detector = load_source(photos), build_detector(2)
    samples = source.splits["train"][:2]
    kept = keep_features(detector, samples)
    targets = [{"boxes": torch.tensor([[20.0, 30, 120, 140]]), "labels": torch.tensor([1])}] * 2
    levels = [torch.stack(parts).float() for parts in zip(*(kept[one.image_id][1] for one in samples), strict=True)]
    detector.train()
    pixels = [
        torch.from_numpy(np.array(Image.open(one.path).resize((SIDE, SIDE)))).permute(2, 0, 1).flip(-1) / 255
        for one in samples
    ]
    expected = sum(detector(pixels, targets).values())
    assert_close(losses(detector, levels, targets), expected, rtol=2e-3, atol=1e-3)


def test_training_moves_all_but_the_cnn_and_what_is_found_is_scored(photos: Path) -> None:
    torch.manual_seed(0)
    source, detector = load_source(photos), build_detector(2)
    samples = source.splits["train"]
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    train(detector, read_taught(source, TRUE), keep_features(detector, samples), epochs=1, seed=0)
    changed = {name for name, value in detector.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert not any(name.startswith("backbone.cnn.") for name in changed)
    detector.score_thresh = 0.0
    tree = detect(detector, samples[:1], source.class_names)
    assert tree["images"] == [{"id": 1, "file_name": samples[0].image_id}]
    boxes = np.array([one["bbox"] for one in tree["annotations"]])
    assert len(boxes)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= np.array([96, 48]) + 1e-3).all()
