"""Findings about copies: files that are equal byte for byte, and images that look alike."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix, identity
from scipy.sparse.csgraph import connected_components

from cdtr.data.check.findings import Finding, counted
from cdtr.data.check.scan import ImageFacts
from cdtr.data.duplicates import describe_copies, find_copies, order_splits
from cdtr.data.near_copies import NEAR, TooManyPairsError, link_alike
from cdtr.records import DataSource, UInt8Array

IntArray = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Copies:
    """Which of N images are copies.

    images: those that can be read. content: (N,), equal numbers are equal files. node, alike: as ``link_alike`` returns
    them; without perceptual hashes a node is a content, and looks like itself only.
    """

    images: tuple[ImageFacts, ...]
    content: IntArray
    node: IntArray
    alike: csr_matrix

    def alike_in(self, group_of: IntArray, n_groups: int) -> csr_matrix:
        """(nodes, groups): how many images of each group look like those of a node, these included."""
        return self.alike @ _counts(self.node, group_of, (self.alike.shape[0], n_groups))

    def equal_in(self, group_of: IntArray, n_groups: int) -> csr_matrix:
        """(contents, groups): how many images of each group are byte for byte a content."""
        return _counts(self.content, group_of, (int(self.content.max(initial=-1)) + 1, n_groups))

    def groups(self, chosen: Mask) -> list[list[ImageFacts]]:
        """The chosen images (N,) that look alike, directly or through others."""
        _, of_node = connected_components(self.alike, directed=False)
        members: dict[int, list[ImageFacts]] = {}
        for index in np.flatnonzero(chosen).tolist():
            members.setdefault(int(of_node[self.node[index]]), []).append(self.images[index])
        return [found for found in members.values() if len(found) > 1]

    def unequal_groups(self) -> list[list[ImageFacts]]:
        """Groups of alike images, one of each equal files of a split; those across splits or classes come first."""
        groups = []
        for found in self.groups(np.ones(len(self.images), dtype=np.bool_)):
            different = list({(one.split, one.sample.label, one.content): one for one in found}.values())
            if len({one.content for one in different}) > 1:
                groups.append(_mixed(different))
        return sorted(groups, key=lambda group: -len({(one.split, one.sample.label) for one in group}))


def compare_images(
    facts: Sequence[ImageFacts], distance: int = NEAR, progress: Callable[[int], None] | None = None
) -> Copies:
    """Which of the images that can be read are copies of each other; of images with a hash also the near ones.

    Where those are too many, a warning says so and equal files alone are told.
    """
    readable = tuple(one for one in facts if one.fault is None)
    _, content = np.unique([one.content or one.sample.image_id for one in readable], return_inverse=True)
    content = content.ravel().astype(np.int64)
    node, alike = content, identity(int(content.max(initial=-1)) + 1, dtype=np.int64, format="csr")
    if any(one.perceptual_hash is not None for one in readable):
        try:
            node, alike = link_alike(np.stack([_hash_of(one) for one in readable]), distance, progress)
        except TooManyPairsError as error:
            warnings.warn(f"alike images are not listed, {error}", stacklevel=2)
    return Copies(readable, content, node, alike)


def find_duplicates(source: DataSource, facts: Sequence[ImageFacts], copies: Copies) -> Iterator[Finding]:
    """Equal files and alike images across splits and within each, and those under several classes."""
    contents = {one.sample.path: one.content for one in facts}
    exact = find_copies(source, contents.get)
    if exact:
        items = tuple(" = ".join([one.sample.image_id, *(kept.image_id for kept in one.kept)]) for one in exact)
        message = f"{describe_copies(exact)}, byte for byte: data.deduplicate leaves them out of training"
        yield Finding("copies-across", message, items)
    order = order_splits(source)
    split_of = np.array([order.index(one.split) for one in copies.images], dtype=np.int64)
    near = copies.alike_in(split_of, len(order))[copies.node].toarray()
    equal = copies.equal_in(split_of, len(order))[copies.content].toarray()
    for here, there in combinations(range(len(order)), 2):
        # An image that lies there byte for byte is counted already.
        found = (split_of == here) & (near[:, there] > 0) & (equal[:, there] == 0)
        if found.any():
            twins = (split_of == there) & (near[:, here] > 0) & (equal[:, here] == 0)
            message = (
                f"{counted(int(found.sum()))} of {order[here]}, and {int(twins.sum())} of {order[there]} that "
                "look the same, beside the equal files: `out=DIR` draws them side by side in copies.jpg"
            )
            yield Finding("near-across", message, _names(copies.groups(found | twins)))
    for here, split in enumerate(order):
        yield from _within(split, copies, split_of == here, near[:, here], equal[:, here])
    yield from _under_several_classes(source, copies)


def _within(split: str, copies: Copies, own: Mask, near: IntArray, equal: IntArray) -> Iterator[Finding]:
    """near, equal: (N,), how many images of the split are like each image, itself included."""
    same = own & (equal > 1)
    if same.any():
        different = len(np.unique(copies.content[same]))
        message = (
            f"{split}: {counted(int(same.sum()))} have an equal file in the split, in all {counted(different, 'file')}"
        )
        yield Finding("copies-within", message, _names(copies.groups(same)))
    alike = own & (near > equal)
    if alike.any():
        groups = copies.groups(alike)
        message = (
            f"{split}: {counted(int(alike.sum()))} look like another one of the split, beside the equal files, "
            f"{counted(len(groups), 'group')}"
        )
        yield Finding("near-within", message, _names(groups))


def _under_several_classes(source: DataSource, copies: Copies) -> Iterator[Finding]:
    label_of = np.array([one.sample.label for one in copies.images], dtype=np.int64)
    per_node = copies.alike_in(label_of, len(source.class_names))
    own = np.asarray(per_node[copies.node, label_of]).ravel()
    every = np.asarray(per_node.sum(axis=1)).ravel()[copies.node]
    found = every > own
    if found.any():
        groups = copies.groups(found)
        items = tuple(
            " = ".join(f"{one.sample.image_id} ({source.class_names[one.sample.label]})" for one in group)
            for group in groups
        )
        message = (
            f"{counted(int(found.sum()))}, {counted(len(groups), 'different image')}, lie under several classes, "
            f"such as {items[0]}"
        )
        yield Finding("labels-differ", message, items)


def _counts(row_of: IntArray, group_of: IntArray, shape: tuple[int, int]) -> csr_matrix:
    return csr_matrix((np.ones(len(row_of), dtype=np.int64), (row_of, group_of)), shape=shape)


def _mixed(group: Sequence[ImageFacts]) -> list[ImageFacts]:
    """The first of each split and class, then the others."""
    first = {(one.split, one.sample.label): one for one in reversed(group)}
    taken = {id(one) for one in first.values()}
    return [*reversed(first.values()), *(one for one in group if id(one) not in taken)]


def _hash_of(one: ImageFacts) -> UInt8Array:
    """Its perceptual hash; a blank image's is made of its bytes, and so is like that of equal files alone."""
    if one.perceptual_hash is not None:
        return one.perceptual_hash
    return np.frombuffer(hashlib.sha256(str(one.content).encode()).digest(), dtype=np.uint8)


def _names(groups: Sequence[Sequence[ImageFacts]]) -> tuple[str, ...]:
    return tuple(" = ".join(one.sample.image_id for one in group) for group in groups)
