"""Which of our images a reviewed one is."""

from __future__ import annotations

from collections.abc import Mapping

from cdtr.corrections._pixels import in_pixels
from cdtr.errors import DataError
from cdtr.formats import BoxFile
from cdtr.image_names import NameIndex, relative_name
from cdtr.records import ImageBoxes


def match_images(written: Mapping[str, ImageBoxes], reviewed: BoxFile, where: str) -> tuple[dict[str, ImageBoxes], int]:
    """Reviewed images by the name that we gave them, and the number of those that are none of ours.

    A name meets one of ours as ``NameIndex`` says.
    DataError for a name that leaves the folder, one that may be two images, and an image that comes twice.
    """
    index = NameIndex(written)
    matches = [_find_any(index, image, where, wait=image.bare) for image in reviewed.images]
    if None in matches and any(image.bare for image in reviewed.images):
        # Of a.jpg and a.png one may keep its suffix in a format without suffixes, and the other has the name a.
        left = NameIndex(set(written) - set(matches))
        matches = [
            _find_any(left, image, where) if match is None and image.bare else match
            for match, image in zip(matches, reviewed.images, strict=True)
        ]
    found: dict[str, ImageBoxes] = {}
    unknown = 0
    for image, image_id in zip(reviewed.images, matches, strict=True):
        if image_id is None:
            unknown += 1
            continue
        if image_id in found:
            raise DataError(f"{where} has {image_id} twice: keep one of them")
        ours = written[image_id].size_hw
        image = in_pixels(image, ours, where)
        if None not in (ours, image.size_hw) and ours != image.size_hw:
            shown = " and ".join(f"{size[1]} x {size[0]}" for size in (image.size_hw, ours) if size is not None)
            raise DataError(f"{where}: {image_id} has {shown} pixels there and here: expected the same image")
        found[image_id] = image
    if not reviewed.images:
        raise DataError(f"{where} has no reviewed image: submit some, and export again with their annotations")
    if not found:
        raise DataError(
            f"{where} has {len(reviewed.images)} reviewed images, none of them of the {len(written)} that were "
            f"localized, such as {next(iter(written), 'none')!r}: point `boxes=` at the boxes that were reviewed"
        )
    return found, unknown


def _find_any(index: NameIndex, image: ImageBoxes, where: str, wait: bool = False) -> str | None:
    """Return our image of the first of its names that means one, or None to ``wait`` for others to be matched first.

    Raises DataError for a name that means two images.
    """
    for name in image.names:
        found = index.find(relative_name(name, where, "the folder"))
        if len(found) > 1 and not wait:
            more = "give one of them its suffix" if image.bare else "give more of its path"
            raise DataError(f"{where}: image {name!r:.100} may be {found[0]} or {found[1]}: {more}")
        if len(found) == 1:
            return found[0]
    return None
