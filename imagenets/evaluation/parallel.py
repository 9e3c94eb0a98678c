"""Many small tasks in order, in processes where that pays, under a progress bar."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from imagenets.core.interrupts import shielded_children

Item = TypeVar("Item")
Result = TypeVar("Result")

_CHUNK = 128  # images a task: long enough to hide its dispatch, short enough for the progress bar


def in_chunks(
    work: Callable[[Sequence[Item]], Result],
    items: Sequence[Item],
    workers: int | None,
    progress: bool = True,
    chunk: int = _CHUNK,
) -> Iterator[Result]:
    """Yields what `work` makes of each chunk of the items, in order.

    Args:
        work: Takes some items; must be picklable, and its results too.
        items: All items.
        workers: Processes; all available cores if None. Few items stay in this process.
        progress: Whether a bar may show on a terminal.
        chunk: Items a task.
    """
    from joblib import Parallel, cpu_count, delayed
    from tqdm import tqdm

    chunks = [items[i : i + chunk] for i in range(0, len(items), chunk)]
    jobs = min(workers or cpu_count(), len(chunks) // 4)
    results: Iterable[Result]
    if jobs <= 1:
        results = map(work, chunks)
    else:
        with shielded_children():
            results = Parallel(jobs, return_as="generator")(delayed(work)(one) for one in chunks)
    hidden = None if progress else True  # None: hidden unless stderr is a terminal
    with tqdm(total=len(items), unit="image", disable=hidden, file=sys.stderr) as bar:
        for one, result in zip(chunks, results, strict=True):
            bar.update(len(one))
            yield result
