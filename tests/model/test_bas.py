"""BAS: the ratio by hand, what it teaches, and the mean of the best classes' maps."""

import copy

import pytest
import torch
import torch.nn.functional as F

from cdtr.model.methods.bas import background_ratio
from oracles.cnn_cases import batch_of, small_method


def test_the_ratio_and_its_gradient():
    behind = torch.tensor([0.5, 3.0, 0.0, 1.0], requires_grad=True)
    whole = torch.tensor([2.0, 2.0, 0.0, 4.0], requires_grad=True)
    ratio = background_ratio(behind, whole)
    assert ratio.tolist() == [0.25, 0.0, 0.0, 0.25]  # 0 where the background scores as high as the image
    ratio.sum().backward()
    assert behind.grad.tolist() == [0.5, 0.0, 0.0, 0.25]
    assert whole.grad is None


def test_the_background_term_teaches_the_generator_alone_and_moves_no_statistics():
    method, batch = small_method("bas").train(), batch_of()
    with torch.no_grad():
        method.head.weight.abs_()  # scores above zero
    output = method(batch.images)
    before = {name: buffer.clone() for name, buffer in method.named_buffers()}
    terms = method.losses(output, batch)
    for name, buffer in method.named_buffers():
        assert torch.equal(buffer, before[name]), name
    assert terms["background"] > 0
    gradients = torch.autograd.grad(
        terms["background"], list(method.parameters()), allow_unused=True, retain_graph=True
    )
    taught = {name for (name, _), grad in zip(method.named_parameters(), gradients, strict=True) if grad is not None}
    below = {name for name in taught if name.startswith("backbone.network")}
    assert {"generator.weight", "generator.bias"} <= taught
    assert not any(name.startswith("head") for name in taught)
    assert not any(name.startswith("backbone.network.layer4") for name in below)


@torch.no_grad()
def test_the_background_is_what_the_map_leaves():
    method, batch = small_method("bas").eval(), batch_of()
    method.training = True  # aux has what the losses need, layers evaluate
    output = method(batch.images)
    terms = method.losses(output, batch)
    own = output.aux["of_classes"][range(6), batch.labels][:, None]
    rest = copy.deepcopy(method)
    last = rest.backbone.run(output.aux["middle"] * (1 - own), after=rest.backbone.ends[-2])
    scores = rest.head(last).relu().mean(dim=(2, 3))[range(6), batch.labels]
    whole = output.logits[range(6), batch.labels]
    ratios = [float(b / s) if b < s else 0.0 for b, s in zip(scores, whole, strict=True)]
    assert float(terms["background"]) == pytest.approx(sum(ratios) / 6, rel=1e-4)
    assert float(terms["area"]) == pytest.approx(float(own.mean()))
    smaller = F.interpolate(own, size=output.aux["class_maps"].shape[2:], mode="bilinear")
    masked = F.cross_entropy((output.aux["class_maps"] * smaller).mean(dim=(2, 3)), batch.labels)
    torch.testing.assert_close(terms["masked"], masked)
    total, _ = method.weigh(terms)
    expected = terms["cls"] + terms["background"] + 1.2 * terms["area"] + 0.5 * terms["masked"]
    torch.testing.assert_close(total, expected)


@torch.no_grad()
@pytest.mark.parametrize("best", [1, 2, 200])
def test_the_map_is_the_mean_of_the_most_probable_classes(best):
    method, batch = small_method("bas", bas={"best": best}).eval(), batch_of()
    middle, _ = method.backbone.levels(batch.images)
    of_classes = method.backbone.resample(0, method.generator(middle).sigmoid())
    output = method(batch.images)
    for image in range(6):
        order = sorted(range(3), key=lambda label, scores=output.logits[image]: -float(scores[label]))
        expected = torch.stack([of_classes[image, label] for label in order[:best]]).mean(dim=0)
        torch.testing.assert_close(output.maps[image, 0], expected, rtol=1e-4, atol=1e-5)
