import json

import numpy as np
import pytest

from cdtr.errors import CheckpointError, DataError
from cdtr.localization.boxes import largest_box
from cdtr.localization.maps import normalise_maps, resize_map
from cdtr.localization.quality import FEATURES, MIRROR, BoxQuality, box_features
from cdtr.metrics.selective import measure_scores


def steps():
    """A core of 1 in a frame of 0.5 on 0: boxes (4, 4, 8, 8) and (2, 2, 10, 10) in 16 x 16."""
    score_map = np.zeros((16, 16))
    score_map[2:10, 2:10] = 0.5
    score_map[4:8, 4:8] = 1
    return score_map


def test_features_by_hand():
    found = box_features(steps(), (2, 2, 10, 10), 0.8, 0.4)
    assert tuple(found) == FEATURES
    assert found["class"] == pytest.approx(np.log(4))
    assert found["contrast"] == pytest.approx((16 * 1 + 48 * 0.5) / 64)
    # At 0.3 the same box. At 0.5 the 8-bit map's 127 is not above int(0.5 * 255), so the core is left: 16 of 64.
    assert found["threshold"] == pytest.approx((1 + 0.25) / 2)
    assert found["alone"] == 1
    assert found["size"] == pytest.approx(np.log(3 / 4))
    assert found["size_squared"] == pytest.approx(np.log(3 / 4) ** 2)
    assert found["inner"] == 1


def test_mirrored_box_elsewhere():
    found = box_features(steps(), (2, 2, 10, 10), 0.8, 0.4, np.ascontiguousarray(steps()[:, ::-1]))
    # Mirrored, the box is (6, 2, 14, 10): 32 pixels shared of 96.
    assert found[MIRROR] == pytest.approx(1 / 3)


def test_a_second_region_and_the_edge_are_seen():
    score_map = steps()
    score_map[12:16, 12:16] = 0.6
    found = box_features(score_map, (12, 12, 16, 16), 1.0, 0.4)
    assert found["alone"] == pytest.approx(16 / 80)
    assert found["inner"] == 0.5
    assert np.isfinite(found["class"])


def test_whole_frame_and_empty_mirrored_map():
    found = box_features(np.linspace(0, 1, 64).reshape(8, 8), (0, 0, 8, 8), 0.0, 0.1, np.zeros((8, 8)))
    assert found["inner"] == 0
    assert found[MIRROR] == 0
    assert found["size"] == pytest.approx(np.log(3))
    with pytest.raises(DataError, match="holds no pixel"):
        box_features(np.eye(8), (8, 8, 9, 9), 0.5, 0.1)


def test_size_of_the_map_hardly_matters():
    coarse = np.random.default_rng(0).random((7, 7)).astype(np.float32)
    rows = []
    for side in (64, 224):
        score_map = normalise_maps(resize_map(coarse, (side, side)))
        rows.append(box_features(score_map, largest_box(score_map, 0.5)[0], 0.7, 0.5))
    for name in FEATURES:
        assert rows[0][name] == pytest.approx(rows[1][name], abs=0.12), name


def planted(n, seed):
    """Hits that depend on contrast and class 1 by a known law."""
    rng = np.random.default_rng(seed)
    rows = [dict(zip(FEATURES, rng.normal(size=len(FEATURES)), strict=True)) for _ in range(n)]
    labels = rng.integers(0, 3, n)
    odds = np.array([1.5 * row["contrast"] for row in rows]) + 1.5 * (labels == 1) - 0.5
    return rows, labels.tolist(), rng.random(n) < 1 / (1 + np.exp(-odds))


def test_fit_finds_the_law_and_is_calibrated_on_fresh_boxes():
    quality = BoxQuality.fit(*planted(600, 0), n_classes=4)
    weights = dict(zip(quality.features, quality.weights, strict=True))
    assert max(weights, key=lambda name: abs(weights[name])) == "contrast"
    assert quality.class_weights[1] > 0.5 > max(quality.class_weights[0], quality.class_weights[2])
    assert quality.class_weights[3] == pytest.approx(0, abs=1e-6), "no image had this class"
    rows, labels, hits = planted(4000, 1)
    found = measure_scores([quality.score(*pair) for pair in zip(rows, labels, strict=True)], hits)
    assert found.ece < 5
    assert found.auroc is not None
    assert found.auroc > 0.75
    assert found.accuracy_at[0.2] > found.accuracy_at[0.5] > found.hit_rate + 5


def test_doubts_name_what_lowers_the_score_most():
    quality = BoxQuality.fit(*planted(600, 0), n_classes=3)
    average = dict.fromkeys(FEATURES, 0.0)
    assert quality.doubts({**average, "contrast": -3.0}, 1) == ("the map hardly stands out in the box",)
    assert quality.doubts({**average, "contrast": 3.0}, 1) == ()
    assert "boxes of this class often miss" in quality.doubts(average, 0)


def test_a_box_that_scores_high_has_no_doubts():
    quality = BoxQuality.fit(*planted(600, 0), n_classes=3)
    lowered = dict.fromkeys(FEATURES, 0.0)  # the size lowers every one of these, the contrast lifts them
    found = [(quality.score(row, 0), quality.doubts(row, 0)) for row in ({**lowered, "contrast": c} for c in (0, 1, 4))]
    assert [bool(doubts) for _, doubts in found] == [True, True, False]
    assert found[1][0] < 0.9 <= found[2][0]


def test_json_round_trip():
    quality = BoxQuality.fit(*planted(100, 2), n_classes=3)
    assert BoxQuality.from_json(json.loads(json.dumps(quality.to_json())), 3) == quality
    assert not quality.mirrored


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": [1.0]},
        {"scale": [0.0] * len(FEATURES)},
        {"features": ["colour"] * len(FEATURES)},
        {"intercept": "high"},
        {"class_weights": [0.0] * 7},
        {"mean": [float("nan")] * len(FEATURES)},
    ],
    ids=["too-few", "zero-scale", "unknown", "word", "classes", "nan"],
)
def test_broken_json_is_refused(changes):
    tree = BoxQuality.fit(*planted(100, 2), n_classes=3).to_json()
    with pytest.raises(CheckpointError, match="run `cdtr calibrate` again"):
        BoxQuality.from_json({**tree, **changes}, 3)


@pytest.mark.parametrize(("n", "hits"), [(30, 15), (100, 4), (100, 97)], ids=["few", "few-hits", "few-misses"])
def test_too_little_to_fit_on_is_an_error(n, hits):
    rows, labels, _ = planted(n, 3)
    with pytest.raises(DataError, match="to fit scores of boxes"):
        BoxQuality.fit(rows, labels, [index < hits for index in range(n)], 3)
