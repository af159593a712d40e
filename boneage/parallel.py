"""Map a function over images: all cores of this machine, or a Dask cluster's."""

import functools
import itertools
import logging
import os
import re
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from boneage.errors import InputError

AHEAD = 128
"""Results that may wait in memory for whoever takes them."""

PATIENCE_S = 30.0
"""How long a cluster may be without workers before the work is given up."""

ANSWER_S = 10.0
"""How long a scheduler may take to answer at first."""

ADDRESS = re.compile(r"(tcp|tls|ws|wss)://.+:\d+")


@dataclass(frozen=True)
class Skipped:
    """An item that could not be processed, and why."""

    item: Any
    reason: str


@dataclass(frozen=True)
class Workers:
    """Who does the work.

    jobs: processes of this machine; -1 for one a core, 1 for none but this one.
    scheduler: address of a Dask scheduler, whose workers do it instead; "" for none.
    folder: what these workers must see, because they are sent paths alone. ahead:
    results that may wait there, beyond two for each of their threads.
    """

    jobs: int = -1
    scheduler: str = ""
    folder: Path | None = None
    ahead: int = AHEAD


ALL_CORES = Workers()
THIS_PROCESS = Workers(jobs=1)


def _guarded(function: Callable[[Any], Any], item: Any) -> Any:
    try:
        return function(item)
    except InputError as error:
        return Skipped(item, str(error))


def _in_worker(function: Callable[[Any], Any], item: Any) -> Any:
    import cv2

    # one process a core already: threads within OpenCV would only contend
    cv2.setNumThreads(1)
    return _guarded(function, item)


def _in_processes(
    function: Callable[[Any], Any], items: Iterator[Any], jobs: int
) -> Iterator[tuple[Any, Any]]:
    from joblib import Parallel, delayed

    with Parallel(n_jobs=jobs, return_as="generator") as parallel:
        # a slice at a time: joblib runs ahead of whoever takes the results, and the
        # whole cohort would pile up in memory
        while here := list(itertools.islice(items, AHEAD)):
            outcomes = parallel(delayed(_in_worker)(function, item) for item in here)
            yield from zip(here, outcomes, strict=True)


def _on_cluster(
    function: Callable[[Any], Any], items: Iterator[Any], workers: Workers
) -> Iterator[tuple[Any, Any]]:
    """Yield items with their outcomes, in order; at most a few hundred in flight.

    Dask gives the items of a worker that dies to the others.
    """
    if not ADDRESS.fullmatch(workers.scheduler):
        raise InputError(
            f"--scheduler must be tcp://HOST:PORT (got {workers.scheduler})"
        )
    try:
        import distributed
    except ImportError:
        raise InputError(
            "--scheduler cannot be used without Dask; install it with pip install "
            '"dask[distributed]"'
        ) from None
    # lost connections are reported below, in one line
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    try:
        client = distributed.Client(workers.scheduler, timeout=ANSWER_S)
    except OSError as error:
        raise InputError(
            f"--scheduler {workers.scheduler} cannot be reached "
            f"({type(error).__name__}); start dask scheduler there"
        ) from None
    with client:
        cores = _check_workers(client, workers)
        submit = functools.partial(client.submit, _in_worker, function, pure=False)
        waiting: deque[tuple[Any, distributed.Future]] = deque()
        for item in items:
            waiting.append((item, submit(item)))
            if len(waiting) >= max(workers.ahead, 2 * cores):
                yield _first(waiting, client)
        while waiting:
            yield _first(waiting, client)


def _check_workers(client: Any, workers: Workers) -> int:
    """Count the cluster's threads; InputError if a worker cannot do the work."""
    try:
        client.wait_for_workers(1, timeout=PATIENCE_S)
    except TimeoutError:
        raise InputError(
            f"--scheduler {workers.scheduler} must have workers (got none); start some "
            f"with dask worker {workers.scheduler}"
        ) from None
    answers = client.run(_sees, workers.folder, on_error="return")
    for address, answer in answers.items():
        if isinstance(answer, Exception):
            raise InputError(
                f"the worker {address} must have this package in this version "
                f"({answer}); install it there"
            )
        if not answer:
            raise InputError(
                f"{workers.folder} cannot be seen by the worker {address}; all workers "
                "must see the same file system"
            )
    return sum(client.nthreads().values())


def _sees(folder: Path | None) -> bool:
    return folder is None or folder.is_dir()


def _first(waiting: deque, client: Any) -> tuple[Any, Any]:
    """Take the first item off, wait for its outcome as long as somebody works."""
    import distributed

    item, future = waiting.popleft()
    address = client.scheduler.address
    while True:
        try:
            distributed.wait(future, timeout=PATIENCE_S)
            return item, future.result()
        except TimeoutError:
            if client.status != "running" or client.nthreads():
                continue
            raise InputError(
                f"--scheduler {address} must have workers (got none any more); start "
                "some, and run the same command to continue"
            ) from None
        except distributed.KilledWorker as error:
            raise InputError(
                f"{item} cannot be processed: it ends every worker ({error})"
            ) from error
        except distributed.CancelledError:
            raise InputError(
                f"--scheduler {address} cannot be reached any more; start it again, "
                "and run the same command to continue"
            ) from None


def imap(
    function: Callable[[Any], Any],
    items: Collection[Any],
    workers: Workers = ALL_CORES,
    description: str = "",
) -> Iterator[tuple[Any, Any]]:
    """Yield each item with `function` of it, in order, with a progress bar.

    Args:
        function: a picklable function of one item; where it raises InputError the
            item comes with a SetAside, any other error ends the stream.
        items: ids, paths, or what makes its items when it is gone through.
        workers: who does it.
        description: stands before the progress bar.

    Raises:
        InputError: the Dask cluster cannot be reached, or does not see the files.
    """
    count = len(items)
    yield from tqdm(
        outcomes(function, items, workers), description, total=count, disable=None
    )


def outcomes(
    function: Callable[[Any], Any], items: Collection[Any], workers: Workers
) -> Iterator[tuple[Any, Any]]:
    """The same without a progress bar."""
    count, jobs = len(items), workers.jobs
    jobs = min((os.cpu_count() or 1) if jobs < 0 else jobs, count)
    if workers.scheduler and count:
        yield from _on_cluster(function, iter(items), workers)
    elif jobs <= 1:
        yield from ((item, _guarded(function, item)) for item in items)
    else:
        yield from _in_processes(function, iter(items), jobs)


def imap_threads(
    function: Callable[[Any], Any], items: Sequence[Any], thread_count: int
) -> Iterator[tuple[Any, Any]]:
    """Yield each item with `function` of it, in order, from threads of this process.

    For work that holds no lock of Python's while it computes, on what processes would
    each have to load. At most two items a thread are ahead of whoever takes them.

    Args:
        function: where it raises InputError the item comes with a Skipped, any other
            error ends the stream.
        items: what it takes.
        thread_count: 1 for none but this thread.
    """
    if thread_count <= 1:
        yield from ((item, _guarded(function, item)) for item in items)
        return
    waiting: deque[tuple[Any, Future]] = deque()
    pool = ThreadPoolExecutor(thread_count)
    try:
        for item in items:
            waiting.append((item, pool.submit(_guarded, function, item)))
            if len(waiting) > 2 * thread_count:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def map_all(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    workers: Workers = ALL_CORES,
    description: str = "",
) -> tuple[list[Any], list[Skipped]]:
    """The whole `stream` at once: the results in order, and the items set aside."""
    results: list[Any] = []
    set_aside: list[Skipped] = []
    for _, outcome in imap(function, items, workers, description):
        chosen = set_aside if isinstance(outcome, Skipped) else results
        chosen.append(outcome)
    return results, set_aside


def for_each(work: Callable[[Any], None], items: Sequence[Any]) -> list[Skipped]:
    """Work on one item after the other; those that it refuses, by their `name`.

    Raises:
        InputError: it refuses all: why it refuses the first.
    """
    set_aside = []
    for item in items:
        try:
            work(item)
        except InputError as error:
            set_aside.append(Skipped(item, f"{item.name}: {error}"))
    if set_aside and len(set_aside) == len(items):
        raise InputError(set_aside[0].reason)
    return set_aside


def skipped_lines(set_aside: Sequence[Skipped], limit: int = 10) -> list[str]:
    """One line for every item set aside, the first `limit` of them."""
    lines = [f"set aside: {entry.reason}" for entry in set_aside[:limit]]
    if len(set_aside) > limit:
        lines.append(f"set aside: {len(set_aside) - limit} more")
    return lines
