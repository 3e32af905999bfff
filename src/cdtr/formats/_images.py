"""The images of a data set, to be found by the names that files of boxes give them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from cdtr.account import Account
from cdtr.errors import DataError
from cdtr.image_files.paths import content_hash, walk
from cdtr.image_files.reading import read_size
from cdtr.image_files.tar_members import file_size
from cdtr.image_names import NameIndex, ends_alike, fold_name, relative_name
from cdtr.records import Sample

WRITTEN = "file of boxes that `cdtr localize` wrote: measured is how far it agrees"
_KINDS = {"images", "jpegimages", "labels", "annotations"}
_NO_LABELS = {"classes.txt", "labels.txt", "labelmap.txt", "train.txt", "val.txt", "test.txt", "readme.txt"}
MAX_PIXELS = 2**31  # only headers are read


def header_size(path: Path) -> tuple[int, int] | None:
    """Return the height and width of an image file; None if it cannot be read: such an image is not scored."""
    try:
        return read_size(path, MAX_PIXELS)
    except DataError:
        return None


class Images:
    """The labelled images of a data set.

    Args:
        root: The folder of the data set.
        samples: The images.
        class_names: The classes in the order of their indices.
        scope: The split whose boxes are wanted, where the user named it: a name that images of several splits have
            means the image of this split.
        masks: The masks that lie beside the images, by image id.
        size_hw: As ``DataSource.size_hw``.
        named: The user named the boxes; else they were found beside the images.
    """

    def __init__(
        self,
        root: Path,
        samples: Iterable[Sample],
        class_names: Sequence[str],
        scope: Iterable[Sample] | None = None,
        masks: Mapping[str, Path] | None = None,
        size_hw: Callable[[Sample], tuple[int, int]] | None = None,
        named: bool = False,
    ) -> None:
        self.root = root
        self.samples = tuple(samples)
        self.class_names = tuple(class_names)
        self.masks = dict(masks or {})
        self.named = named
        self._size_hw = size_hw or (lambda sample: read_size(sample.path, MAX_PIXELS))
        self._scope = None if scope is None else frozenset(sample.image_id for sample in scope)
        self._by_id = {sample.image_id: sample for sample in self.samples}
        self._names = NameIndex(self._by_id)
        self._by_stem: dict[str, list[tuple[PurePosixPath, Sample]]] | None = None
        self._by_place: dict[Path, Sample] | None = None
        self._by_bytes: dict[int, list[Sample]] | None = None
        self._longer: dict[str, str] = {}  # names that say more than an image's id does, by id

    def size_of(self, sample: Sample) -> tuple[int, int] | None:
        """Return height and width of an image; None where it cannot be read: such an image is not scored."""
        try:
            return self._size_hw(sample)
        except DataError:
            return None

    def find(self, name: str, where: str, below: str = "") -> Sample | None:
        """Find the image of a name.

        Args:
            name: The image's id, or enough of the end of it to be unambiguous.
            where: The place for errors.
            below: Keep to images whose ids begin with this folder.

        Returns:
            The image; None if there is none.

        Raises:
            DataError: The name leaves the data set, several images have it, or it is a second, longer name of an
                image, so that it means an image of another folder.
        """
        name = self._relative(name, where)
        if below and below + name in self._by_id:
            return self._by_id[below + name]
        found = self._in_scope([one for one in self._names.find(name) if one.startswith(below)])
        if len(found) > 1:
            raise DataError(f"{where}: image {name!r} may be {found[0]} or {found[1]}: {self._advice(found)}")
        if not found:
            return None
        self._check_longer(name, found[0], where)
        return self._by_id[found[0]]

    def start_of_ids(self, folder: Path) -> str:
        """Return what the ids of the images in a folder begin with; empty if that is not a folder of images."""
        if folder == self.root or not folder.is_relative_to(self.root):
            return ""
        start = folder.relative_to(self.root).as_posix() + "/"
        return start if any(sample.image_id.startswith(start) for sample in self.samples) else ""

    def with_files(
        self, folder: Path, suffix: str, account: Account | None = None, files: Sequence[Path] | None = None
    ) -> Iterator[tuple[Path, Sample]]:
        """Yield the files below a folder that are of one image each, and their images: ``a.txt`` of ``a.jpg``.

        Their paths are compared from the end, without folders such as ``images`` and ``labels``.

        Args:
            folder: Where to look.
            suffix: The suffix of the files, in lower case.
            account: Counts files in such folders that are of no image.
            files: The files to look at, by default all.

        Raises:
            DataError: A file may be of several images, or an image has a second file with another content.
        """
        before: dict[str, Path] = {}
        if files is None:
            files = sorted(path for path, _ in walk(folder) if path.suffix.lower() == suffix)
        for path in (path for path in files if path.is_file()):
            found = self.of_stem(path, folder)
            if found is None:
                inner = path.relative_to(folder).parts[:-1]
                alone = folder != self.root or any(part.casefold() in _KINDS for part in inner)
                if account is not None and alone and path.name.lower() not in _NO_LABELS:
                    account.leave(f"{suffix} files of no image", path.relative_to(folder).as_posix())
                continue
            first = before.setdefault(found.image_id, path)
            if first != path and first.read_bytes() != path.read_bytes():
                raise DataError(
                    f"{found.image_id} has two files of boxes, {first} and {path}: remove one, or name the "
                    "folder of those to use with `boxes=` or data.boxes"
                )
            yield path, found

    def of_stem(self, path: Path, folder: Path) -> Sample | None:
        """Find the image of a file below a folder by its name; raise DataError where it may be of several."""
        if self._by_stem is None:
            self._by_stem = {}
            for sample in self.samples:
                bare = _bare(PurePosixPath(sample.image_id))
                self._by_stem.setdefault(bare.name, []).append((bare, sample))
        name = _bare(PurePosixPath(path.relative_to(folder).as_posix()))
        found = [one for bare, one in self._by_stem.get(name.name, ()) if ends_alike(bare.parts, name.parts)]
        exact = [one for one in found if PurePosixPath(one.image_id).stem == path.stem]
        kept = self._in_scope([one.image_id for one in exact or found])
        if len(kept) > 1:
            raise DataError(
                f"{path} may be of {kept[0]} or {kept[1]}: {self._advice(kept, 'put it into folders like')}"
            )
        return self._by_id[kept[0]] if kept else None

    def at(self, path: Path) -> Sample | None:
        """Find the image that a path leads to, links followed."""
        if self._by_place is None:
            self._by_place = {sample.path.resolve(): sample for sample in self.samples}
        return self._by_place.get(path.resolve())

    def with_content(self, path: Path) -> list[Sample]:
        """Find the images that equal a file byte for byte; of several those of its name."""
        if self._by_bytes is None:
            self._by_bytes = {}
            for sample in self.samples:
                self._by_bytes.setdefault(file_size(sample.path), []).append(sample)
        content = path.read_bytes()
        same = [one for one in self._by_bytes.get(len(content), ()) if content_hash(one.path) == content_hash(path)]
        return [one for one in same if fold_name(one.path.name) == fold_name(path.name)] or same

    def in_scope(self, found: Sequence[Sample]) -> list[Sample]:
        """Keep, of several images, those of the split that the user named."""
        return [self._by_id[one] for one in self._in_scope([sample.image_id for sample in found])]

    def _relative(self, name: str, where: str) -> str:
        """Below the root: an absolute name that lies there is one of its images."""
        for root in (self.root.absolute(), self.root.resolve()):
            if Path(name).is_absolute() and Path(name).is_relative_to(root) and ".." not in Path(name).parts:
                return Path(name).relative_to(root).as_posix()
        return relative_name(name, where)

    def _in_scope(self, found: Sequence[str]) -> Sequence[str]:
        """Of several images those of the split that is asked for."""
        if self._scope is None or len(found) < 2:
            return found
        return [one for one in found if one in self._scope] or found

    def _advice(self, found: Sequence[str], folders: str = "name it with its folder, as in") -> str:
        first, second = (PurePosixPath(one).parts for one in found[:2])
        if first[1:] == second[1:] and self._scope is None:
            # A folder may be called otherwise (valid), and a split alone says nothing of boxes found in the data set.
            split = second[0] if second[0] in ("train", "val", "test") else "SPLIT"
            options = f"`split={split}` `boxes=FILE`"
            return f"say which split the boxes are of, as with {options}, or {folders} {found[0]}"
        return f"{folders} {found[0]}"

    def _check_longer(self, name: str, image_id: str, where: str) -> None:
        if len(PurePosixPath(name).parts) > len(PurePosixPath(image_id).parts):
            before = self._longer.setdefault(image_id, name)
            if before != name:
                raise DataError(
                    f"{where}: {image_id} of {self.root} may be {before} or {name}: give the folder that both "
                    "lie below as the data, or leave the others out of the file"
                )


def report_unmatched(names: Sequence[str], matched: int, images: Images, where: str, account: Account) -> None:
    """Count names that no image has, as a problem; raise DataError if no name has an image."""
    if not names:
        return
    if not matched:
        example = images.samples[0].image_id if images.samples else "none"
        raise DataError(
            f"{where} names no image of {images.root}: it has {names[0]!r}, the images are named like {example!r}"
        )
    for name in names:
        account.leave(f"of its images are not in {images.root}", name)


def tell_predicted(score: object, images: Images, path: Path, account: Account, where: str) -> None:
    """Remark on a box with a score, which a program found; raise DataError unless the user named the file.

    Reviewed boxes, whose score is 1, count as drawn ones.
    """
    if score is None or score in ("", "1", "1.0", 1):
        return
    if not images.named:
        raise DataError(
            f"{where} has a score, so {path} holds boxes that a program found: move it out of {images.root}, or name "
            "the boxes to use with `boxes=` or data.boxes"
        )
    if WRITTEN not in account.remarks:
        account.remark(
            "boxes with a score, so a program found them: measured is how far it agrees", where, serious=True
        )


def _bare(path: PurePosixPath) -> PurePosixPath:
    """Without the ending and without the folders that tell images and boxes apart, case and accents alike."""
    parts = [part for part in path.parent.parts if part.casefold() not in _KINDS]
    return PurePosixPath(*map(fold_name, (*parts, path.stem)))
