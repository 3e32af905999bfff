"""Which of our images a reviewed one is."""

from __future__ import annotations

from collections.abc import Mapping

from cdtr.corrections._boxes import BoxFile, ImageBoxes
from cdtr.errors import DataError
from cdtr.image_names import NameIndex, relative_name


def match_images(written: Mapping[str, ImageBoxes], reviewed: BoxFile, where: str) -> tuple[dict[str, ImageBoxes], int]:
    """Reviewed images by the name that we gave them, and the number of those that are none of ours.

    A name meets one of ours as ``NameIndex`` says.
    DataError for a name that leaves the folder, one that may be two images, and an image that comes twice.
    """
    index = NameIndex(written)
    found: dict[str, ImageBoxes] = {}
    unknown = 0
    for image in reviewed.images:
        matches = (_find(index, name, where) for name in image.names)
        image_id = next((match for match in matches if match is not None), None)
        if image_id is None:
            unknown += 1
            continue
        if image_id in found:
            raise DataError(f"{where} has {image_id} twice: keep one of them")
        ours = written[image_id].size_hw
        if None not in (ours, image.size_hw) and ours != image.size_hw:
            shown = " and ".join(f"{size[1]} x {size[0]}" for size in (image.size_hw, ours) if size is not None)
            raise DataError(f"{where}: {image_id} has {shown} pixels there and here: expected the same image")
        found[image_id] = image
    if not reviewed.images:
        raise DataError(f"{where} has no reviewed image: submit some, and export again with their annotations")
    if not found:
        raise DataError(
            f"{where} has {len(reviewed.images)} reviewed images, none of them of the {len(written)} that were "
            f"localized, such as {next(iter(written), 'none')!r}: point --boxes at the boxes that were reviewed"
        )
    return found, unknown


def _find(index: NameIndex, name: str, where: str) -> str | None:
    found = index.find(relative_name(name, where, "the folder"))
    if len(found) > 1:
        raise DataError(f"{where}: image {name!r:.100} may be {found[0]} or {found[1]}: give more of its path")
    return found[0] if found else None
