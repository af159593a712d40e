"""The steps over a Dask cluster: a real scheduler, and workers that die on the way."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from boneage import parallel
from boneage.errors import InputError
from boneage.io import radiographs
from boneage.layout import Layout
from boneage.parallel import Skipped, Workers
from boneage.phantoms import radiograph
from tests.conftest import REPOSITORY

COUNT = 60


def start(*arguments: object, output: int = subprocess.PIPE) -> subprocess.Popen:
    folders = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])
    environment = os.environ | {"PYTHONPATH": folders}
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=REPOSITORY,
        env=environment,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_until(is_so, seconds: float = 60, every: float = 0.02) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(every)


class Cluster:
    """A scheduler and its workers on this machine, each a process without a nanny."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        place = folder / "scheduler.json"
        self.processes = [
            start(
                *("-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1"),
                *("--port", 0, "--no-dashboard", "--scheduler-file", place),
                output=subprocess.DEVNULL,
            )
        ]
        wait_until(place.exists)
        from distributed import Client

        self.client = Client(scheduler_file=str(place))
        self.address = self.client.scheduler.address

    def add_worker(self) -> subprocess.Popen:
        before = len(self.client.nthreads())
        worker = start(
            *("-m", "distributed.cli.dask_worker", self.address, "--no-nanny"),
            *("--nthreads", 1, "--no-dashboard", "--local-directory", self.folder),
            output=subprocess.DEVNULL,
        )
        self.processes.append(worker)
        wait_until(lambda: len(self.client.nthreads()) > before)
        return worker

    def close(self) -> None:
        self.client.close()
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    pytest.importorskip("distributed")
    made = Cluster(tmp_path_factory.mktemp("dask"))
    made.add_worker()
    made.add_worker()
    yield made
    made.close()


def cohort(layout: Layout) -> Layout:
    """Many radiographs from one phantom, no two alike, one of them damaged."""
    hand = radiograph.simulate(np.random.default_rng(0), 120, True, 512)
    for number in range(1, COUNT + 1):
        moved = np.roll(hand.radiograph, number, axis=0)
        radiographs.write(layout.radiograph(number), moved)
        radiographs.write(layout.mask(number), np.roll(hand.mask, number, axis=0))
    layout.radiograph(7).write_bytes(b"no image")
    layout.train_csv.parent.mkdir(parents=True)
    rows = "".join(f"{number},120,True\n" for number in range(1, COUNT + 1))
    layout.train_csv.write_text("id,boneage,male\n" + rows)
    return layout


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


def run(layout: Layout, step: str, *arguments: object) -> subprocess.Popen:
    folders = ("--data", layout.data, "--models", layout.models)
    return start(f"al_segmentation/{step}.py", *folders, *arguments)


@pytest.mark.slow
def test_killed_worker_changes_nothing(cluster, tmp_path):
    here = cohort(Layout(tmp_path / "here", tmp_path / "models"))
    there = Layout(tmp_path / "there", tmp_path / "models")
    shutil.copytree(here.data, there.data)
    victim = cluster.add_worker()
    step = run(there, "step1_corase_segment", "--scheduler", cluster.address)
    wait_until(lambda: len(list(there.coarse.glob("*_bin.png"))) > 10)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    done_by_then = len(list(there.coarse.glob("*_bin.png")))
    assert done_by_then < COUNT - 1
    said = [step.communicate(timeout=120)[0]]
    assert step.returncode == 0, said
    assert f"{COUNT - 1} of {COUNT} coarse masks, 1 set aside" in said[0]
    for name, *more in (
        ("step1_corase_segment",),
        ("step2_image_2_h5", "--pool", "unannotated", "--size", 64),
        ("step3_gen_segmentation_with_enhance",),
        ("step3_check_data", "--report", "problems.csv"),
    ):
        local = ("--jobs", 1)
        for layout, where in ((here, local), (there, ("--scheduler", cluster.address))):
            flags = [layout.data / x if x == "problems.csv" else x for x in more]
            step = run(layout, name, *flags, *where)
            said.append(step.communicate(timeout=120)[0])
            assert step.returncode == (name == "step3_check_data"), said[-1]
        # but for the folder's name the two say the same
        assert said[-1].replace("there", "here") == said[-2]
    expected, found = contents(here.data), contents(there.data)
    report = found["problems.csv"].replace(b"there", b"here")
    assert report == expected["problems.csv"]
    del expected["problems.csv"], found["problems.csv"]
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []
    assert len(found) > 3 * COUNT


def half_of(number: int) -> float:
    if number == 5:
        raise InputError("5: odd")
    return number / 2


def test_outcomes_come_in_order_whatever_the_number(cluster):
    # more than wait in memory at once
    numbers = list(range(parallel.AHEAD + 40))
    workers = Workers(scheduler=cluster.address)
    found = list(parallel.imap(half_of, numbers, workers))
    assert [item for item, _ in found] == numbers
    assert found[5][1] == Skipped(5, "5: odd")
    assert [half for n, (_, half) in enumerate(found) if n != 5] == [
        n / 2 for n in numbers if n != 5
    ]


def test_items_are_made_only_when_they_are_about_to_be_sent(cluster):
    class Counted(list):
        made = 0

        def __iter__(self):
            for item in super().__iter__():
                Counted.made += 1
                yield item

    workers = Workers(scheduler=cluster.address)
    stream = parallel.imap(abs, Counted(range(1000)), workers)
    next(stream)
    assert Counted.made <= parallel.AHEAD
    stream.close()


def test_workers_must_see_the_files(cluster, tmp_path):
    nowhere = Workers(scheduler=cluster.address, folder=tmp_path / "nowhere")
    with pytest.raises(
        InputError, match=r"nowhere cannot be seen by the worker tcp://"
    ):
        list(parallel.imap(abs, [1], nowhere))


def test_cluster_without_workers_is_named(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(parallel, "PATIENCE_S", 0.5)
    empty = Cluster(tmp_path)
    workers = Workers(scheduler=empty.address)
    try:
        with pytest.raises(
            InputError, match=r"must have workers .got none.; start some"
        ):
            list(parallel.imap(abs, [1], workers))
        worker = empty.add_worker()
        stream = parallel.imap(time.sleep, [0, 1000], workers)
        next(stream)
        worker.kill()
        with pytest.raises(InputError, match=r"got none any more.; start some"):
            next(stream)
        empty.add_worker()
        stream = parallel.imap(time.sleep, [0, 1000], workers)
        next(stream)
        empty.processes[0].kill()
        with pytest.raises(
            InputError, match="cannot be reached any more; start it again"
        ):
            next(stream)
    finally:
        empty.close()


def test_item_that_kills_its_workers_is_named(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    deadly = Cluster(tmp_path)
    for _ in range(4):
        deadly.add_worker()
    try:
        with pytest.raises(
            InputError, match=r"^9 cannot be processed: it ends every worker"
        ):
            list(parallel.imap(os._exit, [9], Workers(scheduler=deadly.address)))
    finally:
        deadly.close()


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("somewhere", r"--scheduler must be tcp://HOST:PORT .got somewhere"),
        ("tcp://127.0.0.1:9", r"tcp://127\.0\.0\.1:9 cannot be reached"),
    ],
)
def test_wrong_address(address, complaint, monkeypatch):
    monkeypatch.setattr(parallel, "ANSWER_S", 1.0)
    with pytest.raises(InputError, match=complaint):
        list(parallel.imap(abs, [1], Workers(scheduler=address)))


def test_without_dask_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    workers = Workers(scheduler="tcp://127.0.0.1:8786")
    with pytest.raises(InputError, match=r'pip install "dask\[distributed\]"'):
        list(parallel.imap(abs, [1], workers))


def test_nothing_to_do_needs_no_cluster():
    workers = Workers(scheduler="tcp://127.0.0.1:9")
    assert parallel.map_all(abs, [], workers) == ([], [])
