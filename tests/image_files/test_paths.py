import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdtr.account import Account
from cdtr.errors import DataError
from cdtr.image_files.paths import find_images, inside, natural_key, read_lines, require_images
from cdtr.image_files.written import mark_written


@given(st.lists(st.integers(0, 10_000), unique=True, min_size=2), st.integers())
def test_natural_order_counts(numbers: list[int], seed: int) -> None:
    names = [f"img{number}.jpg" for number in sorted(numbers)]
    mixed = names.copy()
    random.Random(seed).shuffle(mixed)
    assert sorted(mixed, key=natural_key) == names


@given(st.lists(st.text(), unique=True))
def test_natural_order_is_total(names: list[str]) -> None:
    backwards = names[::-1]
    assert sorted(names, key=natural_key) == sorted(backwards, key=natural_key)


def test_finds_images_below_without_hidden_and_foreign_files(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "a" / "deep").mkdir(parents=True)
    (root / "a" / ".thumbnails").mkdir()
    outside.mkdir()
    for name in ("a/img10.JPG", "a/img9.png", "a/deep/x.jpg", "a/.hidden.jpg", "a/.thumbnails/t.jpg", "a/note.txt"):
        (root / name).touch()
    (outside / "secret.jpg").touch()
    (root / "a" / "out.jpg").symlink_to(outside / "secret.jpg")
    (root / "a" / "in.jpg").symlink_to(root / "a" / "img9.png")
    (root / "a" / "dangling.jpg").symlink_to(root / "nothing.jpg")
    (root / "a" / "circle").symlink_to(root / "a", target_is_directory=True)
    mark_written(root / "a", ["overlays"])
    (root / "a" / "overlays").mkdir()
    (root / "a" / "overlays" / "img9.png.jpg").touch()
    account = Account("images")
    images = find_images(root / "a", root, account)
    names = [path.relative_to(root).as_posix() for path in images]
    assert names == ["a/deep/x.jpg", "a/img9.png", "a/img10.JPG", "a/in.jpg", "a/out.jpg"]
    assert account.left_out == {
        "dead links": {"a/dangling.jpg": 1},
        "linked folders that lead back to where they lie": {"a/circle": 1},
    }
    own = find_images(root / "a", root, account := Account("images"), follow=False)
    assert own == images[:-1], "a server follows no link"
    assert account.left_out["links that lead out of the folder"] == {"a/out.jpg": 1}


def test_images_left_out_of_a_folder_are_told(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    (tmp_path / "dead.jpg").symlink_to(tmp_path / "outside.jpg")
    with pytest.raises(DataError, match=r"holds no image: .*1 dead links \(such as dead\.jpg\)"):
        require_images(tmp_path)
    assert not recwarn.list
    (tmp_path / "a.jpg").touch()
    with pytest.warns(UserWarning, match="1 dead links"):
        assert require_images(tmp_path) == [tmp_path / "a.jpg"]
    (tmp_path / "dead.jpg").unlink()
    recwarn.clear()
    assert require_images(tmp_path) == [tmp_path / "a.jpg"]
    assert not recwarn.list


@pytest.mark.parametrize("name", ["../x.jpg", "a/../../x.jpg", "/etc/passwd"])
def test_path_that_leaves_the_root_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="outside"):
        inside(tmp_path, name)


def test_links_inside_may_lead_anywhere(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to("/dev/null")
    assert inside(tmp_path, "b/../a.jpg") == tmp_path / "a.jpg"


def test_path_inside_is_joined(tmp_path: Path) -> None:
    assert inside(tmp_path, "a/b.jpg") == tmp_path / "a/b.jpg"


@pytest.mark.parametrize(
    "content",
    [b"a 1.jpg\r\n\n  \xc3\xa9.jpg ", b"\xef\xbb\xbfa 1.jpg\n\xc3\xa9.jpg\n"],
    ids=["blank lines", "byte-order mark"],
)
def test_lines_of_a_list(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_bytes(content)
    assert read_lines(tmp_path / "train.txt") == ["a 1.jpg", "é.jpg"]


def test_list_of_another_encoding_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_bytes("caf\u00e9_1.jpg\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"train\.txt is not UTF-8 \(byte 3\): .*save it as UTF-8"):
        read_lines(tmp_path / "train.txt")


def test_only_line_ends_of_text_files_end_a_line(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes("a\u2028b\r\n c\x0cd \rlast\x85 one\n".encode())
    assert read_lines(tmp_path / "names.txt") == ["a\u2028b", "c\x0cd", "last\x85 one"]
    assert read_lines(tmp_path / "names.txt", strip=False) == ["a\u2028b", " c\x0cd ", "last\x85 one"]
