"""The repeated augmentation of DeiT's training, written out: what each process of the released code loads."""

from __future__ import annotations

from collections.abc import Sequence


def released_batches(
    permutation: Sequence[int], repeats: int, processes: int, per_process: int
) -> list[list[list[int]]]:
    """By process, its batches of ``per_process`` indices; an incomplete last one is dropped.

    Every index stands ``repeats`` times in a row; the processes take turns; each stops at its share of the largest
    multiple of 256 that the number of images reaches.
    """
    row = [index for index in permutation for _ in range(repeats)]
    while len(row) % processes:  # the released sampler goes round again so that all processes have the same number
        row.append(row[len(row) - len(permutation) * repeats])
    share = len(permutation) // 256 * 256 // processes
    by_process = []
    for process in range(processes):
        own = []
        for place in range(len(row)):
            if place % processes == process and len(own) < share:
                own.append(row[place])
        batches = []
        while len(own) >= per_process:
            batches.append(own[:per_process])
            own = own[per_process:]
        by_process.append(batches)
    return by_process
