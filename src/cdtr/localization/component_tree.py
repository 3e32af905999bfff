"""The components of a map at every threshold at once, as a component tree.

A map's foreground only grows as the threshold falls, so its components form a tree: each appears at some level, stays
as it is over a range of levels, and is swallowed by a larger one. One pass of union-find over the pixels in descending
order of value finds them all (Najman and Couprie 2006), where searching each threshold afresh takes as many passes as
there are thresholds. The loops are compiled by numba and release the GIL.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

IntArray = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class ComponentTree:
    """Every different component of an integer map over all its levels, M of them.

    Component m is one of the foreground ``map > k`` for ``births[m] <= k < ends[m]``. boxes: (M, 4) half-open xyxy.
    pixels: (M,). contour_areas: (M,), the area of the polygon through the centres of its boundary's pixels, its holes
    counted as none of it. firsts: (M,), its first pixel in raster order.
    """

    births: IntArray
    ends: IntArray
    boxes: IntArray
    pixels: IntArray
    contour_areas: npt.NDArray[np.float64]
    firsts: IntArray


def component_tree(levels: IntArray, diagonal: bool = True) -> ComponentTree:
    """The components of ``levels > k`` for every k >= 0. levels: (H, W) int32, from 0 on; 0 is never foreground.

    diagonal: whether pixels that touch at a corner are connected.
    """
    births, ends, nodes = _grow(np.ascontiguousarray(levels, dtype=np.int32), diagonal)
    return ComponentTree(
        births=births.copy(),
        ends=ends.copy(),
        boxes=nodes[:, _X0 : _Y1 + 1].copy(),
        pixels=nodes[:, _PIXELS].copy(),
        contour_areas=nodes[:, _HALVES] / 2,
        firsts=nodes[:, _FIRST].copy(),
    )


def fill_holes(levels: IntArray) -> IntArray:
    """The map (H, W) whose foreground at each level is that of ``levels`` with its holes filled.

    A hole is background without a way to the frame through pixels that share a side.
    """
    filled: IntArray = _flood(np.ascontiguousarray(levels, dtype=np.int32))
    return filled


def hole_boxes(levels: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """(births, ends, boxes) of all holes: for ``births <= k < ends`` the foreground ``levels > k`` has this hole.

    boxes: (M, 4) half-open xyxy of the pixels around each hole, which are one wider than the hole.
    """
    top = int(levels.max())
    # Seen from below, background is foreground: levels <= k where top - levels >= top - k, that is > top - k - 1.
    # A frame of the deepest background joins everything that is not a hole to one component.
    below = np.pad((top - levels).astype(np.int32), 1, constant_values=top)
    holes = component_tree(below, diagonal=False)
    height, width = below.shape
    inner = (holes.boxes[:, 0] > 0) & (holes.boxes[:, 1] > 0)
    inner &= (holes.boxes[:, 2] < width) & (holes.boxes[:, 3] < height)
    # From padded to own pixels is -1; around the hole is one more on each side.
    around = holes.boxes[inner] + np.array([-2, -2, 0, 0], dtype=np.int32)
    return top - holes.ends[inner], top - holes.births[inner], around


@njit(cache=True, nogil=True, error_model="numpy")
def _sorted_pixels(flat):  # type: ignore[no-untyped-def]
    """Pixels by falling level, equal levels in raster order."""
    counts = np.zeros(flat.max() + 2, np.int64)
    for value in flat:
        counts[value] += 1
    for value in range(len(counts) - 2, -1, -1):
        counts[value] += counts[value + 1]
    order = np.empty(len(flat), np.int32)
    for pixel in range(len(flat)):
        value = flat[pixel]
        order[counts[value + 1]] = pixel
        counts[value + 1] += 1
    return order


@njit(cache=True, nogil=True, error_model="numpy")
def _quads(levels):  # type: ignore[no-untyped-def]
    """Half units of contour area that each level adds at a pixel.

    Four neighbouring pixels that are foreground hold a unit square of the polygon, three of them half of it.
    """
    height, width = levels.shape
    halves = np.zeros(height * width, np.int32)
    for y in range(height - 1):
        for x in range(width - 1):
            low = third = y * width + x
            low_value = third_value = np.int32(2147483647)
            for pixel in (y * width + x, y * width + x + 1, (y + 1) * width + x, (y + 1) * width + x + 1):
                value = levels[pixel // width, pixel % width]
                if value < low_value:
                    third, third_value = low, low_value
                    low, low_value = pixel, value
                elif value < third_value:
                    third, third_value = pixel, value
            halves[third] += 1
            halves[low] += 1
    return halves


# Columns of what is known of a component at its root, side by side in memory.
_PIXELS, _HALVES, _FIRST, _X0, _Y0, _X1, _Y1, _NODE = range(8)


@njit(cache=True, nogil=True, error_model="numpy")
def _merge(facts, parents, births, level, a, b):  # type: ignore[no-untyped-def]
    """Join two components by their roots; the root of both."""
    if facts[a, _PIXELS] < facts[b, _PIXELS]:
        a, b = b, a
    for gone in (a, b):  # what was recorded of either ends here: the joint one is another
        if facts[gone, _NODE] >= 0:
            births[facts[gone, _NODE]] = level
            facts[gone, _NODE] = -1
    parents[b] = a
    facts[a, _PIXELS] += facts[b, _PIXELS]
    facts[a, _HALVES] += facts[b, _HALVES]
    for column in (_FIRST, _X0, _Y0):
        facts[a, column] = min(facts[a, column], facts[b, column])
    for column in (_X1, _Y1):
        facts[a, column] = max(facts[a, column], facts[b, column])
    return a


@njit(cache=True, nogil=True, error_model="numpy")
def _grow(levels, diagonal):  # type: ignore[no-untyped-def]
    height, width = levels.shape
    flat = levels.ravel()
    n_pixels = len(flat)
    order = _sorted_pixels(flat)
    halves = _quads(levels)
    row = width + 2  # a frame of pixels that are never foreground saves asking for the edges
    parents = np.full((height + 2) * row, -1, np.int32)
    facts = np.empty((len(parents), 8), np.int32)
    ring = np.array([1, row + 1, row, row - 1, -1, -row - 1, -row, -row + 1], np.int32)
    births, ends = np.zeros(n_pixels, np.int32), np.empty(n_pixels, np.int32)
    nodes = np.empty((n_pixels, 8), np.int32)
    touched = np.empty(n_pixels, np.int32)  # components that grew at this level
    n_nodes = start = 0
    while start < n_pixels and flat[order[start]] > 0:
        level = flat[order[start]]
        end, n_touched = start, 0
        while end < n_pixels and flat[order[end]] == level:
            pixel = order[end]
            y, x = pixel // width, pixel % width
            root = (y + 1) * row + x + 1
            here = root
            parents[root] = root
            facts[root, _PIXELS], facts[root, _HALVES] = 1, halves[pixel]
            facts[root, _FIRST], facts[root, _NODE] = pixel, -1
            facts[root, _X0], facts[root, _Y0], facts[root, _X1], facts[root, _Y1] = x, y, x + 1, y + 1
            joined = False  # foreground neighbours in a row around the pixel are one component already
            for index in range(8):
                other = here + ring[index]
                if parents[other] < 0:
                    joined = False
                elif not joined and (diagonal or index % 2 == 0):
                    joined = True
                    while parents[other] != other:
                        parents[other] = parents[parents[other]]
                        other = parents[other]
                    if other != root:
                        root = _merge(facts, parents, births, level, root, other)
            if n_touched == 0 or touched[n_touched - 1] != root:
                touched[n_touched] = root
                n_touched += 1
            end += 1
        for index in range(n_touched):
            root = touched[index]
            while parents[root] != root:
                parents[root] = parents[parents[root]]
                root = parents[root]
            if facts[root, _NODE] < 0:
                facts[root, _NODE] = n_nodes
                for column in range(8):
                    nodes[n_nodes, column] = facts[root, column]
                ends[n_nodes] = level
                n_nodes += 1
        start = end
    return births[:n_nodes], ends[:n_nodes], nodes[:n_nodes]


@njit(cache=True, nogil=True, error_model="numpy")
def _flood(levels):  # type: ignore[no-untyped-def]
    """Each pixel's lowest highest value on a way to the frame: water that rises from outside, level by level."""
    height, width = levels.shape
    top = levels.max()
    n_pixels = height * width
    filled = np.full((height, width), -1, np.int32)
    heads = np.full(top + 1, -1, np.int32)  # a linked list of waiting pixels for each level
    following = np.full(n_pixels, -1, np.int32)
    for pixel in range(n_pixels):
        y, x = pixel // width, pixel % width
        if y == 0 or x == 0 or y == height - 1 or x == width - 1:
            value = levels[y, x]
            filled[y, x] = value
            following[pixel] = heads[value]
            heads[value] = pixel
    for level in range(top + 1):
        while heads[level] >= 0:
            pixel = heads[level]
            heads[level] = following[pixel]
            y, x = pixel // width, pixel % width
            for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                ny, nx = y + dy, x + dx
                if ny < 0 or nx < 0 or ny >= height or nx >= width or filled[ny, nx] >= 0:
                    continue
                value = max(levels[ny, nx], level)
                filled[ny, nx] = value
                other = ny * width + nx
                following[other] = heads[value]
                heads[value] = other
    return filled
