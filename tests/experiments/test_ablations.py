"""Ablations: the test part stays unused, and the table is right."""

import numpy as np
import pandas as pd
import pytest

from boneage.cohort.table import PARTS, split_cohort
from boneage.io import hdf5
from boneage.layout import Layout
from boneage.regression.settings import TrainingSettings
from experiments import ablations


def write_run(folder, name, ids, errors):
    """Predictions of a finished run that are off by `errors`, months."""
    table = pd.DataFrame({"id": ids, "split": "test", "is_male": True})
    table["bone_age_months"] = 100.0
    table["predicted_months"] = 100.0 + errors
    (folder / name).mkdir()
    table.to_csv(folder / name / "predictions.csv", index=False)


def test_table_pairs_by_seed_and_joins_sexes(tmp_path):
    rng = np.random.default_rng(0)
    ids = np.arange(400)
    for seed in (0, 1):
        off = rng.uniform(5, 15, len(ids)) * rng.choice([-1, 1], len(ids))
        write_run(tmp_path, f"plain.{seed}.all", ids, off)
        write_run(tmp_path, f"mse.{seed}.all", ids, off - np.sign(off))
        half = ids < 150
        for sex, chosen in (("male", half), ("female", ~half)):
            name = f"network_per_sex.{seed}.{sex}"
            write_run(tmp_path, name, ids[chosen][::-1], (off * 1.5)[chosen][::-1])
    # its other half is still to come
    write_run(tmp_path, "network_per_sex.2.male", ids[:150], np.ones(150))
    write_run(tmp_path, "huber.3.all", ids, np.full(400, 9.0))
    lines = ablations.report(ablations.Report(out=tmp_path, resamples=500))
    assert [line.split("|")[1].strip() for line in lines[2:]] == [
        "plain",
        "network per sex",
        "mse",
        "huber",
    ]
    assert "| -1.00 (-1.00 to -1.00) | 2 |" in lines[4]
    assert lines[5] == "| huber | 1 | 9.00 |  |  |"
    gain = float(lines[3].split("|")[4].split("(")[0])
    assert 4.5 < gain < 5.5
    assert lines[3].endswith("| 2 |")


def test_no_runs_is_one_line(tmp_path):
    with pytest.raises(ablations.InputError, match="has no finished run; train some"):
        ablations.report(ablations.Report(out=tmp_path))


@pytest.fixture
def layout(tmp_path):
    """300 black hands of known ages, split into three parts."""
    layout = Layout(tmp_path / "data")
    ids = np.arange(1, 301)
    rng = np.random.default_rng(0)
    ages = np.where(ids % 10, rng.integers(100, 140, 300), 30)
    table = pd.DataFrame({"id": ids, "boneage": ages, "male": ids % 2 == 0})
    layout.train_csv.parent.mkdir(parents=True)
    table.to_csv(layout.train_csv, index=False)
    with hdf5.create(layout.hands_h5, 300, 32, {}) as file:
        for radiograph_id in ids:
            file.add(radiograph_id, np.zeros((32, 32), np.uint8))
    split_cohort(layout)
    return layout


def test_test_part_is_never_touched(layout):
    cohort, parts = split_cohort(layout)
    chosen = ablations.choose_splits(layout, TrainingSettings(seed=1), choosing=20)
    used = [getattr(chosen, part).cohort.ids for part in PARTS]
    assert len(used[1]) == 20
    assert sorted(np.concatenate(used)) == sorted(cohort.ids[parts != "test"])
    assert sorted(used[2]) == sorted(cohort.ids[parts == "validation"])


def test_balanced_hands_are_as_many_steps(layout):
    settings = TrainingSettings(epochs=3, warmup_epochs=0.5)
    parts = ablations.choose_splits(layout, settings, choosing=20)
    drawn, once = ablations.balance_ages(parts, settings)
    assert len(drawn.train) == 3 * len(parts.train)
    assert (once.epochs, once.warmup_epochs) == (1, 0.5 / 3)
    young_before = (parts.train.cohort.bone_age_months < 60).mean()
    young = (drawn.train.cohort.bone_age_months < 60).mean()
    assert 1.2 * young_before < young < 3 * young_before


@pytest.mark.slow
def test_ablations_are_trained_once_and_reported(layout, tmp_path, capsys):
    options = ablations.Run(
        data=layout.data,
        out=tmp_path / "out",
        ablations=(
            "plain",
            "averaged_weights",
            "label_distribution",
            "auxiliary_distribution",
            "network_per_sex",
        ),
        image_size=75,
        epochs=2,
        choosing=20,
    )
    ablations.main(options)
    written = sorted((tmp_path / "out").glob("*/predictions.csv"))
    assert len(written) == 6
    times = [path.stat().st_mtime_ns for path in written]
    ablations.main(options)
    assert [path.stat().st_mtime_ns for path in written] == times
    capsys.readouterr()
    ablations.main(ablations.Report(out=tmp_path / "out", resamples=100))
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split(" | ")[1] for row in rows] == ["1"] * 5
    assert all(row.endswith(" | 1 |") for row in rows[1:])
