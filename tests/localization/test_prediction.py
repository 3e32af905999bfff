import numpy as np
import pytest
import torch
from PIL import Image

from cdtr.errors import CheckpointError, DataError
from cdtr.localization.options import LocalizeOptions
from cdtr.localization.postprocess import MapPostProcessor
from cdtr.localization.prediction import localize_batch
from cdtr.localization.torch_model import TorchModel
from oracles.toy_methods import ImageIsMap

CLASSES = ("red", "green", "blue")
WIDTH, HEIGHT = 120, 80


def picture(*squares, size=(WIDTH, HEIGHT)):
    """A black picture with filled boxes: (channel, brightness, half-open box)."""
    pixels = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    for channel, brightness, (x0, y0, x1, y1) in squares:
        pixels[y0:y1, x0:x1, channel] = brightness
    return Image.fromarray(pixels)


def to_tensor(image):
    resized = image.resize((60, 60), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.asarray(resized).copy()).permute(2, 0, 1).float() / 25


def predict(images, image_ids, labels=None, threshold=0.5, **options):
    processor = MapPostProcessor(CLASSES, threshold, LocalizeOptions(**options))
    return localize_batch(TorchModel(ImageIsMap(), to_tensor, CLASSES), processor, images, image_ids, labels)


RED_BOX = (24, 20, 72, 60)


def test_square_is_found_in_source_pixels_of_a_picture_that_is_not_square():
    (found,) = predict([picture((0, 255, RED_BOX))], ["a.png"])
    assert found.image_id == "a.png"
    assert found.size_hw == (HEIGHT, WIDTH)
    np.testing.assert_allclose(found.boxes_xyxy, [RED_BOX], atol=1)
    assert found.labels.tolist() == [0]
    assert found.map.shape == (HEIGHT, WIDTH)
    assert found.map.min() == 0
    assert found.map.max() == 1
    assert found.map.dtype == found.boxes_xyxy.dtype == np.float32
    assert found.map_label == 0
    assert found.class_names == CLASSES
    expected = torch.tensor([10.2, 0, 0]).softmax(0)
    np.testing.assert_allclose(found.class_probs, expected, rtol=1e-4)
    np.testing.assert_allclose(found.scores, expected[:1], rtol=1e-4)


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (40, 0), (-20, 16), (44, -18)])
def test_box_moves_with_the_picture(dx, dy):
    moved = tuple(np.add(RED_BOX, (dx, dy, dx, dy)))
    (found,) = predict([picture((0, 255, moved))], ["a"])
    np.testing.assert_allclose(found.boxes_xyxy, [moved], atol=1)


def test_box_flips_with_the_picture():
    image = picture((1, 200, (10, 6, 50, 70)))
    flipped = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    one, other = predict([image, flipped], ["a", "b"])
    x0, y0, x1, y1 = one.boxes_xyxy[0]
    np.testing.assert_allclose(other.boxes_xyxy, [[WIDTH - x1, y0, WIDTH - x0, y1]], atol=1)


def test_batch_of_pictures_of_different_sizes_equals_one_by_one():
    images = [picture((0, 255, RED_BOX)), picture((2, 255, (4, 4, 30, 40)), size=(50, 90))]
    together = predict(images, ["a", "b"])
    for image, name, found in zip(images, "ab", together, strict=True):
        (alone,) = predict([image], [name])
        np.testing.assert_array_equal(found.boxes_xyxy, alone.boxes_xyxy)
        assert found.size_hw == (image.height, image.width)
    assert [found.map_label for found in together] == [0, 2]


def test_constant_map_has_no_box():
    (found,) = predict([picture()], ["black"])
    assert found.boxes_xyxy.shape == (0, 4)
    assert found.labels.shape == found.scores.shape == (0,)
    assert (found.map == 0).all()


SMALL_GREEN, LARGE_GREEN = (4, 4, 24, 24), (60, 20, 110, 70)


def test_largest_component_or_every_one_above_a_size():
    image = picture((1, 255, SMALL_GREEN), (1, 255, LARGE_GREEN))
    (largest,) = predict([image], ["a"])
    np.testing.assert_allclose(largest.boxes_xyxy, [LARGE_GREEN], atol=1)
    (several,) = predict([image], ["a"], multi=True)
    np.testing.assert_allclose(several.boxes_xyxy, [LARGE_GREEN, SMALL_GREEN], atol=1)
    assert several.labels.tolist() == [1, 1]
    (above,) = predict([image], ["a"], multi=True, min_area_share=0.1)
    np.testing.assert_allclose(above.boxes_xyxy, [LARGE_GREEN], atol=1)


def test_each_of_several_regions_has_a_score_of_its_own():
    image = picture((1, 150, SMALL_GREEN), (1, 255, LARGE_GREEN))
    (largest,) = predict([image], ["a"], threshold=0.3)
    assert largest.scores.tolist() == [largest.class_probs[1]]
    (several,) = predict([image], ["a"], threshold=0.3, multi=True, masks=True)
    means = [several.map[mask > 0].mean() for mask in several.masks]
    np.testing.assert_allclose(several.scores, np.multiply(several.class_probs[1], means), rtol=1e-5)
    assert several.scores[1] < 0.8 * several.scores[0], "the paler region scores lower"


def test_several_classes_or_a_given_one():
    image = picture((0, 255, LARGE_GREEN), (2, 200, SMALL_GREEN))
    (two,) = predict([image], ["a"], top_k=2)
    assert two.labels.tolist() == [0, 2]
    np.testing.assert_allclose(two.boxes_xyxy, [LARGE_GREEN, SMALL_GREEN], atol=1)
    np.testing.assert_array_equal(two.scores, two.class_probs[[0, 2]])
    (given,) = predict([image], ["a"], labels=[2])
    assert given.labels.tolist() == [2]
    assert given.map_label == 2
    np.testing.assert_allclose(given.boxes_xyxy, [SMALL_GREEN], atol=1)


def test_masks_come_from_the_map_of_each_box():
    image = picture((0, 255, LARGE_GREEN), (2, 200, SMALL_GREEN))
    (plain,) = predict([image], ["a"], top_k=2)
    assert plain.masks is None
    (found,) = predict([image], ["a"], top_k=2, masks=True)
    assert found.masks.shape == (2, HEIGHT, WIDTH)
    for mask, box in zip(found.masks, found.boxes_xyxy, strict=True):
        rows, columns = np.nonzero(mask)
        assert [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] == box.tolist()
    (none,) = predict([picture()], ["a"], masks=True)
    assert none.masks.shape == (0, HEIGHT, WIDTH)


def test_method_runs_in_evaluation_mode_without_gradients():
    method = ImageIsMap().train()
    model = TorchModel(method, to_tensor, CLASSES)
    localize_batch(model, MapPostProcessor(CLASSES, 0.5), [picture((0, 9, RED_BOX))], ["a"])
    assert method.modes == [(False, False, True)]


def test_no_pictures_is_no_localizations():
    assert predict([], []) == []


def test_answers_of_one_forward_pass_can_be_read_and_localized():
    images = [picture((0, 255, RED_BOX)), picture((2, 255, SMALL_GREEN))]
    model, processor = TorchModel(ImageIsMap(), to_tensor, CLASSES), MapPostProcessor(CLASSES, 0.5)
    output = model.forward(images)
    prediction = model.select_maps(output, images, lambda logits: processor.select_classes(logits, [0, 2]))
    found = processor.process(prediction, ["a", "b"], [(image.height, image.width) for image in images])
    assert model.network.calls == 1
    assert output.maps.shape == (2, 3, 60, 60)
    for one, other in zip(found, predict(images, ["a", "b"], labels=[0, 2]), strict=True):
        np.testing.assert_array_equal(one.boxes_xyxy, other.boxes_xyxy)
        np.testing.assert_array_equal(one.map, other.map)


def test_bad_input_is_refused():
    image = picture((0, 255, RED_BOX))
    with pytest.raises(DataError, match="2 image ids"):
        predict([image], ["a", "b"])
    with pytest.raises(DataError, match="0 images, 1 image ids"):
        predict([], ["a"])
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(DataError, match="share of the image from 0 to 1"):
            LocalizeOptions(min_area_share=share)
    with pytest.raises(DataError, match="mode L"):
        predict([image.convert("L")], ["a"])
    with pytest.raises(DataError, match="calibrate"):
        MapPostProcessor(CLASSES, 1.5)
    with pytest.raises(CheckpointError, match="3 classes, 2 names"):
        localize_batch(TorchModel(ImageIsMap(), to_tensor, CLASSES), MapPostProcessor(("a", "b"), 0.5), [image], ["a"])
