import numpy as np
import pytest

from cdtr.evaluation.intervals import IntervalTally
from cdtr.metrics import ImageRow
from cdtr.metrics.bootstrap import image_weights
from cdtr.metrics.pxap import average_precision


def test_every_replicate_is_the_metric_of_the_drawn_images():
    """Against drawing the images out one by one: the best threshold is chosen anew in each replicate."""
    rng = np.random.default_rng(0)
    names = [f"{n}" for n in range(40)]
    single, multi = rng.random((2, 40, 5))
    tally = IntervalTally((30, 50, 70), 5, 4)
    rows = []
    for name, one, several in zip(names, single, multi, strict=True):
        tally.update_ious(name, one, several)
        rows.append(ImageRow(name, 0, 0, 1.0, True, float(one[0]), float(one[0])))
    found = tally.compute(rows)
    drawn = [np.repeat(np.arange(40), weights) for weights in image_weights(names).T]
    best = [100 * (single[index] >= 0.5).mean(axis=0).max() for index in drawn]
    assert found["max_box_acc"] == pytest.approx(tuple(np.quantile(best, [0.025, 0.975])))
    levels = [[100 * (multi[i] >= level).mean(axis=0).max() for level in (0.3, 0.5, 0.7)] for i in drawn]
    assert found["max_box_acc_v2"] == pytest.approx(tuple(np.quantile(np.mean(levels, axis=1), [0.025, 0.975])))
    hits = [100 * (single[index, 0] >= 0.5).mean() for index in drawn]
    assert found["gt_known_loc"] == pytest.approx(tuple(np.quantile(hits, [0.025, 0.975])), abs=1e-4)
    medians = [100 * np.median(single[index, 0]) for index in drawn]
    assert found["median_iou"] == pytest.approx(tuple(np.quantile(medians, [0.025, 0.975])), abs=0.1)
    assert found["pxap"] is None


@pytest.mark.parametrize("iou", [0.0, 0.25, 1.0])
def test_interval_of_a_median_that_all_images_share_is_that_median(iou):
    rows = [ImageRow(f"{n}", 0, 0, 1.0, True, iou, iou) for n in range(8)]
    assert IntervalTally((50,), 1, 1).compute(rows)["median_iou"] == (100 * iou, 100 * iou)


def test_average_precisions_are_those_of_each_row():
    histograms = np.random.default_rng(1).integers(0, 9, (6, 2, 7))
    expected = [average_precision(one) for one in histograms]
    np.testing.assert_allclose(average_precision(histograms.astype(float)), expected)
