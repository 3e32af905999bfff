"""The order of training batches is one function of seed and epoch, however it is cut, resumed or loaded."""

import os
import pickle
import random
import signal
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cdtr.config import Config, load_config
from cdtr.data.loader import EvalImages, TrainImages, TrainLoader, collate, eval_loader, train_loader
from cdtr.data.sampler import EpochSampler
from cdtr.errors import ConfigError, DataError
from cdtr.faults import explain
from cdtr.records import Batch, Sample


def _config(batch: int = 8, accumulation: int = 1, workers: int = 0, repeats: int = 1, **data: Any) -> Config:
    return load_config().updated(
        seed=data.pop("seed", 5),
        data={"input_size": [16, 16], "resize": [20, 20], "workers": workers, "repeats": repeats, **data},
        train={"batch_size": batch, "accumulation": accumulation},
        evaluation={"batch_size": 4},
    )


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """21 random pictures of three classes and several sizes."""
    pixels = np.random.default_rng(0)
    made = []
    for number in range(21):
        path = tmp_path / f"{number:02d}.png"
        Image.fromarray(pixels.integers(0, 256, (20 + number, 24, 3), dtype=np.uint8)).save(path)
        made.append(Sample(path.name, path, number % 3))
    return made


def _ids(batch: Batch) -> list[str]:
    return [sample.image_id for sample in batch.samples]


def _epoch(loader: TrainLoader, epoch: int, step: int = 0) -> list[Batch]:
    loader.set_position(epoch, step)
    return list(loader)


def _same(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        _ids(a) == _ids(b) and torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)
        for a, b in zip(first, second, strict=True)
    )


def test_batch_says_what_it_holds(samples: list[Sample]) -> None:
    for batch in train_loader(samples, _config()):
        assert batch.images.shape == (8, 3, 16, 16)
        assert batch.labels.dtype == torch.int64
        assert batch.labels.tolist() == [sample.label for sample in batch.samples]
        assert batch.sizes_hw == tuple((20 + int(sample.image_id[:2]), 24) for sample in batch.samples)
        assert batch.clean_images is None


def test_official_batches_carry_clean_images(samples: list[Sample]) -> None:
    batches = _epoch(train_loader(samples, _config(augment="official")), 0)
    clean = [batch.clean_images for batch in batches]
    assert all(c is not None and c.shape == b.images.shape for c, b in zip(clean, batches, strict=True))
    assert any(not torch.equal(c, b.images) for c, b in zip(clean, batches, strict=True) if c is not None)


@pytest.mark.parametrize("repeats", [1, 3])
def test_epoch_is_a_permutation_or_copies_of_a_third(samples: list[Sample], repeats: int) -> None:
    loader = train_loader(samples, _config(batch=3, repeats=repeats))
    assert loader.steps_per_epoch == 7
    seen = [image_id for batch in _epoch(loader, 0) for image_id in _ids(batch)]
    assert set(Counter(seen).values()) == {repeats}
    assert len(seen) == len(samples)
    again = [image_id for batch in _epoch(loader, 1) for image_id in _ids(batch)]
    assert again != seen
    assert (sorted(again) == sorted(seen)) == (repeats == 1)


def test_incomplete_last_step_is_dropped(samples: list[Sample]) -> None:
    loader = train_loader(samples, _config(batch=8))
    assert loader.steps_per_epoch == len(loader) == len(_epoch(loader, 0)) == 2


@pytest.mark.parametrize("accumulation", [1, 2])
def test_step_is_the_same_for_any_number_of_processes(samples: list[Sample], accumulation: int) -> None:
    config = _config(batch=8, accumulation=accumulation)
    alone = _epoch(train_loader(samples, config), 3)
    pair = [_epoch(train_loader(samples, config, rank, 2), 3) for rank in range(2)]
    assert len(alone) == len(pair[0]) == len(pair[1]) == 2 * accumulation
    for whole, first, second in zip(alone, *pair, strict=True):
        assert _ids(whole) == _ids(first) + _ids(second)
        assert torch.equal(whole.images, torch.cat([first.images, second.images]))


def test_micro_batches_make_up_the_step(samples: list[Sample]) -> None:
    whole = _epoch(train_loader(samples, _config(batch=8)), 0)
    halves = _epoch(train_loader(samples, _config(batch=8, accumulation=2)), 0)
    assert [_ids(b) for b in whole] == [_ids(halves[i]) + _ids(halves[i + 1]) for i in (0, 2)]


@pytest.mark.parametrize("accumulation", [1, 3])
def test_resumed_epoch_goes_on_with_the_same_batches(samples: list[Sample], accumulation: int) -> None:
    config = _config(batch=3, accumulation=accumulation)
    full = _epoch(train_loader(samples, config), 2)
    resumed = train_loader(samples, config)
    resumed.set_position(2, 5)
    assert len(resumed) == 2 * accumulation
    assert _same(list(resumed), full[5 * accumulation :])


def test_history_does_not_matter(samples: list[Sample]) -> None:
    loader = train_loader(samples, _config())
    first = _epoch(loader, 4)
    _epoch(loader, 0)
    torch.manual_seed(99)
    random.seed(99)
    np.random.seed(99)
    assert _same(_epoch(loader, 4), first)


def test_epoch_and_seed_change_the_augmentation(samples: list[Sample]) -> None:
    def picture(seed: int, key: tuple[int, int, int]) -> torch.Tensor:
        image = TrainImages(samples, _config(augment="resized_crop").data, seed)[key].image
        assert image is not None
        return image

    first = picture(0, (0, 0, 0))
    assert torch.equal(first, picture(0, (0, 0, 0)))
    assert not any(torch.equal(first, picture(*other)) for other in ((1, (0, 0, 0)), (0, (1, 0, 0)), (0, (0, 1, 0))))


def test_workers_load_the_same_batches(samples: list[Sample]) -> None:
    here = _epoch(train_loader(samples, _config(workers=0, augment="official")), 1)
    there = _epoch(train_loader(samples, _config(workers=2, augment="official")), 1)
    assert _same(here, there)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not say which cores a process has")
def test_no_more_workers_than_this_process_has_cores(samples: list[Sample]) -> None:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # PyTorch warns of too many
            batches = _epoch(train_loader(samples, _config(workers=2)), 0)
    finally:
        os.sched_setaffinity(0, cores)
    assert _same(batches, _epoch(train_loader(samples, _config(workers=0)), 0))


def test_loading_leaves_the_random_states_alone(samples: list[Sample]) -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    _epoch(train_loader(samples, _config(augment="official")), 0)
    list(eval_loader(samples, _config()))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
    assert random.getstate() == before[2]


def test_images_and_collation_can_be_sent_to_spawned_workers(samples: list[Sample]) -> None:
    images = TrainImages(samples, _config().data, 5)
    sent, sent_collate = pickle.loads(pickle.dumps((images, collate)))  # noqa: S301, what spawn does
    keys = [(0, position, position) for position in range(4)]
    here, there = collate([images[key] for key in keys]), sent_collate([sent[key] for key in keys])
    assert here.batch is not None
    assert torch.equal(here.batch.images, there.batch.images)
    assert len(pickle.loads(pickle.dumps(EvalImages(samples, _config().data)))) == 21  # noqa: S301


@pytest.mark.parametrize(
    ("count", "accumulation", "world", "size"),
    [(21, 1, 1, 21), (21, 2, 1, 20), (21, 2, 4, 16), (8, 2, 4, 8)],
    ids=["all", "accumulated", "distributed", "one-each"],
)
def test_few_images_make_one_step(count: int, accumulation: int, world: int, size: int) -> None:
    samplers = [EpochSampler(count, _config(batch=64, accumulation=accumulation), rank, world) for rank in range(world)]
    keys = [key for sampler in samplers for batch in sampler for key in batch]
    assert {sampler.steps_per_epoch for sampler in samplers} == {1}
    assert {len(sampler) for sampler in samplers} == {accumulation}
    assert len(keys) == size
    assert len({index for _, _, index in keys}) == size


def test_too_few_images_for_the_processes_are_refused(samples: list[Sample]) -> None:
    with pytest.raises(DataError, match="fewer than"):
        train_loader(samples[:3], _config(batch=8, accumulation=2), 0, 2)
    with pytest.raises(DataError, match="fewer than"):
        train_loader([], _config())


def test_batch_that_does_not_divide_is_refused(samples: list[Sample]) -> None:
    with pytest.raises(ConfigError, match="multiple of 6"):
        train_loader(samples, _config(batch=8, accumulation=3), 0, 2)


@pytest.mark.parametrize("position", [(-1, 0), (0, -1), (0, 3)])
def test_position_outside_the_epoch_is_refused(samples: list[Sample], position: tuple[int, int]) -> None:
    loader = train_loader(samples, _config())
    with pytest.raises(DataError, match="no step"):
        loader.set_position(*position)


def test_position_at_the_end_leaves_nothing(samples: list[Sample]) -> None:
    assert _epoch(train_loader(samples, _config()), 0, 2) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_training_image_is_replaced_by_the_next_of_its_class(samples: list[Sample], workers: int) -> None:
    samples[4].path.write_bytes(samples[4].path.read_bytes()[:300])
    samples[7].path.write_bytes(b"")
    reports: list[tuple[str, str]] = []
    loader = train_loader(
        samples, _config(batch=7, workers=workers), on_broken=lambda s, reason: reports.append((s.image_id, reason))
    )
    for epoch in range(2):
        seen = Counter(image_id for batch in _epoch(loader, epoch) for image_id in _ids(batch))
        assert seen["04.png"] == seen["07.png"] == 0
        assert seen["10.png"] == 3  # itself, for 07 and for 04, whose next would be 07
        assert seen.total() == 21
    assert sorted(image_id for image_id, _ in reports) == ["04.png", "07.png"]
    assert set(loader.broken) == {"04.png", "07.png"}
    assert "is empty" in loader.broken["07.png"]


def test_class_without_readable_image_is_filled_from_others(samples: list[Sample]) -> None:
    for sample in samples[0::3]:
        sample.path.write_bytes(b"")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        batches = _epoch(train_loader(samples, _config(batch=21)), 0)
    assert len(batches[0].samples) == 21
    assert set(batches[0].labels.tolist()) == {1, 2}
    assert len({str(w.message) for w in caught if "left out" in str(w.message)}) == 7


def test_nothing_readable_is_an_error(samples: list[Sample]) -> None:
    for sample in samples:
        sample.path.write_bytes(b"")
    with pytest.raises(DataError, match="none of the 21"):
        _epoch(train_loader(samples, _config(), on_broken=lambda *_: None), 0)


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_keeps_order_and_leaves_broken_out(samples: list[Sample], workers: int) -> None:
    for index in (2, 8, 9, 10, 11):  # one inside a batch, and a whole batch
        samples[index].path.write_bytes(b"")
    reports: list[str] = []
    loader = eval_loader(samples, _config(workers=workers), on_broken=lambda s, _: reports.append(s.image_id))
    batches = list(loader)
    expected = [s.image_id for i, s in enumerate(samples) if i not in (2, 8, 9, 10, 11)]
    assert [image_id for batch in batches for image_id in _ids(batch)] == expected
    assert [len(batch.samples) for batch in batches] == [3, 4, 4, 4, 1]
    assert reports == ["02.png", "08.png", "09.png", "10.png", "11.png"]
    assert all(batch.images.shape[0] == len(batch.sizes_hw) == len(batch.samples) for batch in batches)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_evaluation_is_shared_out_without_padding(samples: list[Sample], world: int) -> None:
    parts = [
        [i for batch in eval_loader(samples, _config(), rank, world) for i in _ids(batch)] for rank in range(world)
    ]
    assert sorted(i for part in parts for i in part) == [sample.image_id for sample in samples]
    assert parts[-1] == [sample.image_id for sample in samples[world - 1 :: world]]


def test_evaluation_of_nothing_is_empty() -> None:
    assert list(eval_loader([], _config())) == []


def test_size_is_that_of_the_upright_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 10)).save(tmp_path / "a.jpg", exif=exif)
    (batch,) = eval_loader([Sample("a.jpg", tmp_path / "a.jpg", 0)], _config())
    assert batch.sizes_hw == ((30, 10),)


class _KilledImages(torch.utils.data.Dataset[int]):
    """Images so large that the system kills whoever reads them."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return index


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_a_worker_that_was_killed_is_no_fault_of_the_program() -> None:
    with pytest.raises(RuntimeError) as found:
        list(torch.utils.data.DataLoader(_KilledImages(), num_workers=1))
    message, code = explain(found.value)
    assert code == 1
    assert "most likely because the memory was used up" in message
    assert "data.workers" in message
    assert "`resume=True`" in message
