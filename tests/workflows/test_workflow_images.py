"""Which files an argument of `cdtr localize` means, and their ids."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdtr.errors import DataError
from cdtr.workflows.images import expand_images


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("a/x.jpg", "a/deep/x.jpg", "b/x.jpg", "b/[1].png", "b/notes.txt", ".hidden/x.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["a"], {"deep/x.jpg", "x.jpg"}),
        (["a/x.jpg"], {"x.jpg"}),
        (["a", "b"], {"a/deep/x.jpg", "a/x.jpg", "b/[1].png", "b/x.jpg"}),
        (["a/x.jpg", "b/x.jpg"], {"a/x.jpg", "b/x.jpg"}),
        (["a/x.jpg", "a/deep/x.jpg"], {"x.jpg", "deep/x.jpg"}),
        (["b/[1].png"], {"[1].png"}),
        (["*/x.jpg"], {"a/x.jpg", "b/x.jpg"}),
        (["a/**/*.jpg"], {"x.jpg", "deep/x.jpg"}),
        (["a", "a/x.jpg", "./a/x.jpg"], {"deep/x.jpg", "x.jpg"}),
        (["b/../a"], {"deep/x.jpg", "x.jpg"}),
    ],
    ids=[
        "folder",
        "file",
        "two folders",
        "same name",
        "nested",
        "brackets",
        "pattern",
        "deep pattern",
        "twice",
        "dots",
    ],
)
def test_ids_are_relative_to_what_was_given_and_never_meet(
    arguments: list[str], expected: set[str], photos: Path
) -> None:
    found = expand_images(arguments)
    assert len(found) == len(expected)
    assert {image_id for image_id, _ in found} == expected
    assert all(path.is_file() and path.as_posix().endswith(image_id) for image_id, path in found)
    absolute = expand_images([str(photos / argument) for argument in arguments])
    assert {image_id for image_id, _ in absolute} == expected


@pytest.mark.parametrize("argument", ["c", "a/y.jpg", "b/*.gif", ".hidden/.*"])
def test_an_argument_without_images_is_an_error(argument: str, photos: Path) -> None:
    with pytest.raises(DataError, match="expected"):
        expand_images(["a", argument])
