"""predict.py over a Dask cluster: the same files, networks loaded once a worker."""

import json
import shutil

import pytest

from boneage.prediction import on_cluster
from tests.regression.test_multi_host import cluster, start  # noqa: F401
from tests.tiny_runs import BOTH, exit_code


def times_loaded() -> tuple[int, int]:
    """Of a worker: how often a predictor was made, and asked for."""
    info = on_cluster._own_predictor.cache_info()
    return info.misses, info.misses + info.hits


@pytest.mark.slow
def test_cluster_writes_the_same_files(
    cluster,  # noqa: F811
    trained,
    hand,
    tmp_path,
    monkeypatch,
):
    monkeypatch.chdir(tmp_path)
    shutil.copy(hand, "hand.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    rows = "hand.png,F\nbroken.png,M\n" + "hand.png,M\nhand.png,unknown\n" * 10
    (tmp_path / "list.csv").write_text("file,sex\n" + rows)
    said, found = [], []
    for name, where in (("here", ()), ("there", ("--scheduler", cluster.address))):
        process = start(
            *("predict.py", tmp_path / "list.csv", "--models", trained.models),
            *("--runs", *BOTH, "--csv", tmp_path / name / "ages.csv"),
            *("--json", tmp_path / name / "ages.json"),
            *("--report", tmp_path / name / "pages", *where),
        )
        said.append(process.communicate(timeout=240)[0])
        assert process.returncode == 0, said[-1]
        folder = tmp_path / name
        found.append({path.name: path for path in folder.rglob("*.*")})
    assert said[1].replace("/there/", "/here/") == said[0]
    here, there = found
    assert there.keys() == here.keys()
    assert len(there) == 2 + 21
    assert there["ages.csv"].read_text() == here["ages.csv"].read_text()
    pages = [name for name in here if name.endswith(".png")]
    assert all(there[n].read_bytes() == here[n].read_bytes() for n in pages)
    content = json.loads(there["ages.json"].read_text())
    assert len(content["radiographs"]) == 21
    assert content["skipped"][0]["file"] == str(tmp_path / "broken.png")
    loaded, asked = zip(*cluster.client.run(times_loaded).values(), strict=True)
    assert loaded == (1, 1)
    assert sum(asked) == 22


def test_scheduler_belongs_to_files_alone(trained, capsys, monkeypatch):
    flags = ["--serve", "--scheduler", "tcp://127.0.0.1:9"]
    monkeypatch.setattr("sys.argv", ["predict.py", *flags])
    assert exit_code(*flags, "--models", trained.models) == 2
    assert "--scheduler cannot be used with --serve" in capsys.readouterr().err
