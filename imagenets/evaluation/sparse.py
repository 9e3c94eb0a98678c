"""Counts by key, kept sparse: the keys that occur are few among those that could."""

from __future__ import annotations

import numpy as np

from imagenets.evaluation.counts import Int64

Share = tuple[Int64, Int64]
"""Distinct keys, ascending, and their numbers: what adds up across processes and ranks."""

_WAITING = 1_000_000  # entries that may wait before they are folded


class SparseSums:
    """Adds numbers up by key, exactly; a key is an integer."""

    def __init__(self) -> None:
        """Starts with no key."""
        self._keys = np.empty(0, np.int64)
        self._numbers = np.empty(0, np.int64)
        self._waiting: list[Share] = []
        self._size = 0

    def add(self, keys: Int64, numbers: Int64) -> None:
        """Adds to some keys; they may repeat, in any order."""
        self._waiting.append((keys, numbers))
        self._size += len(keys)
        if self._size > _WAITING + len(self._keys) // 2:
            self.total()

    def total(self) -> Share:
        """The distinct keys, ascending, and their sums."""
        if self._waiting:
            keys = np.concatenate([self._keys, *(k for k, _ in self._waiting)])
            numbers = np.concatenate([self._numbers, *(n for _, n in self._waiting)])
            self._keys, inverse = np.unique(keys, return_inverse=True)
            self._numbers = np.zeros(len(self._keys), np.int64)
            np.add.at(self._numbers, inverse.reshape(-1), numbers)
            self._waiting, self._size = [], 0
        return self._keys, self._numbers
