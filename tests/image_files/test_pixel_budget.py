"""Pictures are counted by their pixels where they are held: no deadlock, whatever order threads come in."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from cdtr.api import input_images
from cdtr.api.batching import batches_of
from cdtr.api.input_images import read_ahead
from cdtr.errors import DataError
from cdtr.image_files.pixel_budget import PixelBudget, ReadAheadBudget


def test_threads_hold_no_more_than_allowed_but_for_one_large_picture():
    budget, held, most, lock = PixelBudget(10), [0], [0], threading.Lock()

    def work(pixels):
        with budget.hold(pixels):
            with lock:
                held[0] += pixels
                assert held[0] <= 10 or held[0] == pixels
                most[0] = max(most[0], held[0])
            time.sleep(0.001)
            with lock:
                held[0] -= pixels

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [random.Random(0).choice([1, 3, 5, 40]) for _ in range(100)], timeout=30))
    assert most[0] > 1


def test_a_budget_is_free_again_after_an_error():
    budget = PixelBudget(1)
    with pytest.raises(KeyError), budget.hold(5):
        raise KeyError
    with budget.hold(1):
        pass


def test_the_one_asked_for_is_admitted_whatever_the_others_hold():
    budget = ReadAheadBudget(10)
    budget.admit(1, 10)  # was faster than number 0
    budget.want(0)
    budget.admit(0, 99)
    waits = threading.Thread(target=budget.admit, args=(2, 1), daemon=True)
    waits.start()
    waits.join(0.05)
    assert waits.is_alive()
    budget.take(0)
    budget.take(1)
    waits.join(5)
    assert not waits.is_alive()
    budget.close()
    with pytest.raises(DataError):
        budget.admit(3, 1)


def stored(folder, n, side=100):
    items = []
    for index in range(n):
        path = folder / f"{index}.png"
        Image.new("RGB", (side, side)).save(path)
        items.append((path.name, path))
    return items


def test_reading_ahead_stops_at_its_pixels(tmp_path, monkeypatch):
    monkeypatch.setattr(input_images, "_PIXELS_AHEAD", 25_000)  # two pictures and a half
    decoded = []
    real = input_images.read_image

    def counted(path, max_pixels, admit):
        image = real(path, max_pixels, admit)
        decoded.append(path)
        return image

    monkeypatch.setattr(input_images, "read_image", counted)
    stream = read_ahead(stored(tmp_path, 12), 10**8, ahead=10)
    assert next(stream)[0] == "0.png"
    time.sleep(0.2)
    assert len(decoded) <= 3, "the one that was taken, and two pictures ahead"
    rest = list(stream)
    assert [image_id for image_id, _ in rest] == [f"{n}.png" for n in range(1, 12)]
    assert all(isinstance(picture, Image.Image) for _, picture in rest)


def test_a_reader_that_is_left_ends_its_threads(tmp_path, monkeypatch):
    monkeypatch.setattr(input_images, "_PIXELS_AHEAD", 10_000)
    before = threading.active_count()
    stream = read_ahead(stored(tmp_path, 10), 10**8, ahead=8)
    next(stream)
    closing = threading.Thread(target=stream.close, daemon=True)
    closing.start()
    closing.join(10)
    assert not closing.is_alive()
    assert threading.active_count() == before


def test_batches_are_bounded_by_pixels_and_keep_their_order():
    sizes = [(10, 5), (10, 5), (1, 1), (50, 50), (1, 1), (1, 1), (10, 9), (5, 5)]
    read = [(str(n), Image.fromarray(np.zeros((*size, 3), np.uint8))) for n, size in enumerate(sizes)]
    found = [batch.ids for batch in batches_of(read, 3, None, 100)]
    assert found == [["0", "1"], ["2"], ["3"], ["4", "5", "6"], ["7"]]
