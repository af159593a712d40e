"""Map a function over images on all cores."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from boneage.files import InputError

AHEAD = 128
"""Results that may wait in memory for whoever takes them."""


@dataclass(frozen=True)
class SetAside:
    """An item that could not be processed, and why."""

    item: Any
    reason: str


def _guarded(function: Callable[[Any], Any], item: Any) -> Any:
    try:
        return function(item)
    except InputError as error:
        return SetAside(item, str(error))


def _in_worker(function: Callable[[Any], Any], item: Any) -> Any:
    import cv2

    # one process a core already: threads within OpenCV would only contend
    cv2.setNumThreads(1)
    return _guarded(function, item)


def _in_processes(
    function: Callable[[Any], Any], items: Sequence[Any], workers: int
) -> Iterator[Any]:
    from joblib import Parallel, delayed

    with Parallel(n_jobs=workers, return_as="generator") as parallel:
        # a slice at a time: joblib runs ahead of whoever takes the results, and the
        # whole cohort would pile up in memory
        for start in range(0, len(items), AHEAD):
            here = items[start : start + AHEAD]
            yield from parallel(delayed(_in_worker)(function, item) for item in here)


def stream(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    jobs: int = -1,
    description: str = "",
) -> Iterator[tuple[Any, Any]]:
    """Yield each item with `function` of it, in order, with a progress bar.

    Args:
        function: a picklable function of one item; where it raises InputError the
            item comes with a SetAside, any other error ends the stream.
        items: ids, paths.
        jobs: worker processes; -1 for one a core, 1 for none.
        description: stands before the progress bar.
    """
    workers = min((os.cpu_count() or 1) if jobs < 0 else jobs, len(items))
    if workers <= 1:
        outcomes = map(_guarded, [function] * len(items), items)
    else:
        outcomes = _in_processes(function, items, workers)
    progress = tqdm(outcomes, description, total=len(items), disable=None)
    yield from zip(items, progress, strict=True)


def map_images(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    jobs: int = -1,
    description: str = "",
) -> tuple[list[Any], list[SetAside]]:
    """The whole `stream` at once: the results in order, and the items set aside."""
    results, set_aside = [], []
    for _, outcome in stream(function, items, jobs, description):
        chosen = set_aside if isinstance(outcome, SetAside) else results
        chosen.append(outcome)
    return results, set_aside


def report(set_aside: Sequence[SetAside], limit: int = 10) -> list[str]:
    """One line for every item set aside, the first `limit` of them."""
    lines = [f"set aside: {entry.reason}" for entry in set_aside[:limit]]
    if len(set_aside) > limit:
        lines.append(f"set aside: {len(set_aside) - limit} more")
    return lines
