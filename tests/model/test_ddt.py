"""DDT against the eigenvectors of stacked descriptors."""

import numpy as np
import pytest
import torch

from cdtr.deployment.program import export_program, method_runner
from cdtr.errors import ConfigError
from cdtr.model.ddt_fit import Descriptors, object_direction
from oracles.cnn_cases import SIZE, batch_of, small_method


def planted(count=12, channels=6, side=5, seed=0):
    """Features with an object in the middle that differs along one direction."""
    generator = torch.Generator().manual_seed(seed)
    features = 0.1 * torch.randn(count, channels, side, side, generator=generator) + 1
    direction = torch.zeros(channels)
    direction[2], direction[4] = 0.6, -0.8
    features[:, :, 1:4, 1:4] += 3 * direction[:, None, None]
    return features, direction


def summed(parts):
    sums = Descriptors.empty(parts[0].shape[1])
    for part in parts:
        sums.add_images(part)
    return sums


def test_the_direction_is_numpys_turned_to_the_object():
    features, planted_direction = planted()
    stacked = features.permute(0, 2, 3, 1).reshape(-1, 6).double().numpy()
    centred = stacked - stacked.mean(axis=0)
    vector = np.linalg.eigh(centred.T @ centred / len(stacked))[1][:, -1]
    mean, direction = object_direction(summed([features]))
    assert abs(abs(float(direction.double().numpy() @ vector)) - 1) < 1e-6
    np.testing.assert_allclose(mean.numpy(), stacked.mean(axis=0), rtol=1e-5)
    assert float(direction @ planted_direction) > 0.99
    scores = torch.einsum("bchw,c->bhw", features - mean[:, None, None], direction)
    assert scores[:, 1:4, 1:4].min() > 0
    assert scores[:, 0].max() < 0


def test_order_and_batches_of_the_images_do_not_matter():
    features, _ = planted()
    whole = object_direction(summed([features]))
    for parts in (features.flip(0).split(5), features.split(1)):
        for found, expected in zip(object_direction(summed(parts)), whole, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_the_sign_without_a_border():
    """Where the border's mean score is zero, scores rise with the mean of the channels."""
    line = torch.tensor([0.0, 1.0, 2.0, 3.0])
    features = (line[:, None] * torch.tensor([2.0, 1.0])).T.reshape(1, 2, 2, 2)  # every cell is at the border
    _, direction = object_direction(summed([features]))
    assert float(direction.sum()) > 0


@pytest.fixture
def method(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(small_method("cam").backbone.network.state_dict(), path)
    return small_method("ddt", backbone={"weights": str(path), "frozen": True})


def test_small_classes_take_the_direction_of_all(method):
    torch.manual_seed(0)
    dim = method.backbone.dim
    large, small = torch.randn(40, dim, 8, 8), torch.randn(1, dim, 2, 2)
    of_classes = [summed([large]), summed([small]), summed([large * 2 + 1])]
    assert [sums.enough() for sums in of_classes] == [True, False, True]
    assert method.set_directions(iter(of_classes)) == 2
    everything = summed([large])
    for sums in of_classes[1:]:
        everything.add(sums)
    torch.testing.assert_close(method.directions[1], object_direction(everything)[1])
    torch.testing.assert_close(method.directions[0], object_direction(of_classes[0])[1])
    torch.testing.assert_close(method.directions.norm(dim=1), torch.ones(3))


@torch.no_grad()
def test_maps_are_projections_and_the_graph_has_them(method):
    torch.manual_seed(0)
    method.set_directions([summed([torch.rand(40, method.backbone.dim, 8, 8)])] * 3)
    method.eval()
    batch = batch_of()
    output, (features,) = method(batch.images), method.backbone(batch.images)
    for image, label, row, column in ((0, 0, 0, 0), (5, 2, 3, 7)):
        expected = method.directions[label] @ features[image, :, row, column] - method.offsets[label]
        torch.testing.assert_close(output.maps[image, label, row, column], expected, rtol=1e-4, atol=1e-5)
    exported = export_program(method, (SIZE, SIZE)).module()(batch.images)
    reference = method_runner(method)(batch.images.numpy())
    np.testing.assert_allclose(exported[1].numpy(), reference.maps, atol=1e-5)


def test_a_cnn_that_learns_is_refused():
    with pytest.raises(ConfigError, match=r"method ddt fits its maps .* set backbone.frozen=true"):
        small_method("ddt")
