from __future__ import annotations

import pytest

from cdtr import cores
from cdtr.workflows.localize import default_workers


@pytest.mark.parametrize(
    ("n_cores", "workers", "threads"), [(1, 1, 1), (2, 2, 1), (2, 8, 1), (16, 8, 2), (64, 8, 8), (16, 3, 5)]
)
def test_workers_share_the_cores(n_cores: int, workers: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "core_count", lambda: n_cores)
    assert cores.threads_each(workers) == threads


@pytest.mark.parametrize(
    ("n_images", "n_cores", "workers"), [(1, 16, 1), (8, 16, 1), (9, 16, 2), (1000, 4, 4), (1000, 64, 8)]
)
def test_localize_takes_a_batch_a_core_as_far_as_there_are_batches(
    n_images: int, n_cores: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "core_count", lambda: n_cores)
    assert default_workers(n_images, batch_size=8) == workers
