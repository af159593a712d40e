"""Comparison of paced and conventional runs: groups, intervals, words, figures."""

import json
import shutil
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from boneage.errors import InputError
from boneage.io.files import write_json
from boneage.io.locks import exclusive
from boneage.regression.run_folder import Run
from boneage.regression.settings import TrainingSettings
from boneage.transfer import comparison, runs
from boneage.transfer.methods import Method, group_methods, read_results
from tests.conftest import call

STEP = "paced_transfer/step6_visualize"
COUNT = 120
AGES = np.linspace(12, 216, COUNT)
STAGES = {"head": "head", "exit": "block13", "middle": "block5", "all": "all"}
THREE = {"head": "head", "exit": "block13", "all": "all"}


def finish(run: Run, start, errors, validation_mae=10.0, length=2, **settings) -> Run:
    """Write the files of a stage or a conventional run, except the network."""
    table = pd.DataFrame(
        {
            "id": np.arange(1, COUNT + 1),
            "split": "test",
            "is_male": settings.get("sex") == "male",
            "bone_age_months": AGES,
            "predicted_months": AGES + errors,
        }
    )
    run.write_predictions(table)
    trained = TrainingSettings(
        **{"model": "xception", "sex": "female", "fine_tune_from": STAGES[start]}
        | settings
    )
    write_json(
        run.config,
        {
            "age_mean_months": 120.0,
            "age_range_months": [1.0, 228.0],
            "split_hash": "abc",
            "learning_rate": trained.learning_rate,
            "best_validation_mae": validation_mae,
            "hands_hash": "abc",
            "preprocessing": {"fill_square": False},
            "settings": asdict(trained),
        },
    )
    write_json(run.evaluation, {"stage": start})
    history = {"epoch": range(1, length + 1), "loss": 9.0, "validation_loss": 11.0}
    history["validation_mae"] = 10.0
    pd.DataFrame(history).to_csv(run.history, index=False)
    return run


def paced(layout, name, errors, stages=THREE, validation_mae=(30, 12, 10), **settings):
    """A finished paced run of three stages; `errors` are those of the last one."""
    folder = layout.paced / name
    plan = {"rates": dict.fromkeys(stages, 1e-3), "epochs": dict.fromkeys(stages, 2)}
    write_json(folder / "plan.json", plan)
    for number, (start, mae) in enumerate(zip(stages, validation_mae, strict=True)):
        run = Run(folder / f"stage_{number + 1}_{start}")
        finish(run, start, errors + (2 - number) * 5, float(mae), **settings)


def conventional(layout, name, start, errors, **settings):
    """A finished conventional run of as many epochs."""
    settings = {"length": 6} | settings
    finish(Run(layout.conventional / name), start, errors, **settings)


def noise(seed, spread=6.0):
    return np.random.default_rng(seed).normal(0, spread, COUNT)


def group_of(layout) -> list[Method]:
    (methods,) = group_methods(read_results(runs.find_finished(layout)[0])).values()
    return methods


def test_runs_that_only_the_seed_distinguishes_are_one_method(layout):
    for seed in (1, 0):
        paced(layout, f"p{seed}", noise(seed), seed=seed)
        conventional(layout, f"a{seed}", "all", noise(seed + 5), seed=seed)
        conventional(layout, f"h{seed}", "head", noise(seed + 9), seed=seed)
    methods = group_of(layout)
    # from the head down, whatever the folders' order
    assert [method.label for method in methods] == ["paced", "from head", "from all"]
    assert [method.seeds for method in methods] == [[0, 1]] * 3
    assert methods[0].predicted_months.shape == (2, COUNT)


def test_label_says_what_tells_two_methods_apart(layout):
    paced(layout, "one", noise(0))
    paced(layout, "two", noise(0), batch_norm="frozen")
    conventional(layout, "a", "all", noise(1), learning_rate=1e-3)
    conventional(layout, "b", "all", noise(1), learning_rate=1e-4)
    conventional(layout, "c", "head", noise(1))
    assert [method.label for method in group_of(layout)] == [
        *("paced (batch norm frozen)", "paced (batch norm trained)", "from head"),
        *("from all (all 6 at 0.0001)", "from all (all 6 at 0.001)"),
    ]


def test_paced_run_is_judged_by_the_stage_that_validation_prefers(layout):
    paced(layout, "one", noise(0), validation_mae=(30, 9, 10))
    (method,) = group_of(layout)
    (training,), _ = runs.find_finished(layout)
    assert training.best.name == "stage_2_exit"
    assert method.validation_mae == 9
    errors = method.predicted_months[0] - AGES
    np.testing.assert_allclose(errors, noise(0) + 5, atol=0.001)
    assert method.results[0].history.epoch.tolist() == [1, 2, 3, 4, 5, 6]


def test_unfinished_runs_are_left_out_and_named(layout, capsys):
    paced(layout, "one", noise(0))
    paced(layout, "two", noise(0))
    (layout.paced / "two" / "stage_3_all" / "evaluation.json").unlink()
    conventional(layout, "a", "all", noise(0))
    (layout.conventional / "a" / "evaluation.json").unlink()
    call(layout, STEP, resamples=50)
    said = capsys.readouterr().out
    assert "two: 2 of 3 stages finished, left out" in said
    assert "a: not finished, left out" in said
    assert "two: 2 of 3 stages" in (layout.transfer / "table.md").read_text()


def test_nothing_to_compare_names_the_scripts(layout):
    with pytest.raises(InputError, match=r"run paced_transfer/step1_ptl_gen\.py and"):
        call(layout, STEP)


def test_groups_never_mix_sexes_or_test_radiographs(layout):
    paced(layout, "one", noise(0))
    conventional(layout, "a", "all", noise(0), sex="male")
    other = layout.conventional / "b"
    conventional(layout, "b", "all", noise(0))
    config = json.loads((other / "config.json").read_text())
    write_json(other / "config.json", config | {"split_hash": "xyz"})
    names = list(group_methods(read_results(runs.find_finished(layout)[0])))
    assert sorted(names) == [
        *("xception, female, hands 1", "xception, female, hands 2"),
        "xception, male",
    ]


@pytest.mark.parametrize(
    ("shift", "outcome"), [(4.0, "wins against"), (0.0, "ties with"), (-4.0, "loses")]
)
def test_verdict(layout, shift, outcome):
    for seed in (0, 1, 2):
        paced(layout, f"p{seed}", 10 + noise(seed, 2), seed=seed)
        conventional(
            layout, f"a{seed}", "all", 10 + shift + noise(seed + 9, 2), seed=seed
        )
    methods = group_of(layout)
    found = comparison.compare_group(methods, seed=0, resamples=500)
    assert f"paced transfer {outcome}" in comparison.verdict(methods, found)
    assert found[0].months == pytest.approx(-shift, abs=0.4)
    assert found[0].lower < -shift + 0.4
    assert found[0].upper > -shift - 0.4


def test_baseline_of_the_verdict_is_chosen_by_validation(layout):
    paced(layout, "p", 5 + noise(0, 1))
    # better on the test part, but validation cannot know
    conventional(layout, "a", "all", 1 + noise(1, 1), validation_mae=20.0)
    conventional(layout, "h", "head", 9 + noise(1, 1), validation_mae=15.0)
    methods = group_of(layout)
    found = comparison.compare_group(methods, seed=0, resamples=200)
    assert "paced is better than from head" in comparison.verdict(methods, found)


def test_pairing_sees_what_two_intervals_would_hide(layout):
    # two networks with the same errors, one of them half a month worse everywhere
    paced(layout, "p", 20 + noise(0, 8))
    conventional(layout, "a", "all", 20.5 + noise(0, 8))
    one, other = group_of(layout)
    found = comparison.compare(one, other, seed=0, resamples=500)
    assert found.is_significant
    assert -0.6 < found.lower <= found.upper < -0.4
    tables = [comparison.tabulate("g", m, 0, 500) for m in (one, other)]
    maes = [table[table.metric == "mae"].iloc[0] for table in tables]
    assert maes[0].upper > maes[1].lower


def test_seeds_that_disagree_widen_the_interval(layout):
    for seed, error in enumerate((6.0, 10.0, 14.0)):
        paced(layout, f"p{seed}", error + noise(0, 0.1), seed=seed)
        conventional(layout, f"a{seed}", "all", 8.0 + noise(1, 0.1), seed=seed)
    one, other = group_of(layout)
    found = comparison.compare(one, other, seed=0, resamples=1000)
    assert found.months == pytest.approx(2.0, abs=0.1)
    # radiographs alone would say 2.0 to 2.0
    assert found.lower < 0 < found.upper
    assert not found.is_significant


@pytest.mark.slow
def test_interval_of_three_seeds_is_not_too_short(layout):
    """Of 150 simulated pairs of equal methods, 8 should differ significantly."""
    rng, false_alarms = np.random.default_rng(0), 0
    shared = rng.normal(20, 2, COUNT)
    for _ in range(150):
        for seed in (0, 1, 2):
            level = rng.normal(0, 0.5, 2)
            paced(layout, f"p{seed}", shared + level[0], seed=seed)
            conventional(layout, f"a{seed}", "all", shared + level[1], seed=seed)
        found = comparison.compare(*group_of(layout), seed=1, resamples=300)
        false_alarms += found.is_significant
    assert false_alarms <= 16


def test_variation_between_three_trainings_has_two_degrees_of_freedom():
    rng = np.random.default_rng(0)
    drawn = comparison.add_seed_variance(
        np.zeros((200_000, 3)), np.array([-1.0, 0.0, 1.0]), rng
    )
    # the standard error of the mean times Student's t: 4.303; with 3 degrees 3.182
    assert np.quantile(drawn, 0.975) == pytest.approx(4.303 / 3**0.5, rel=0.03)


def test_plans_of_other_stages_are_other_methods(layout):
    paced(layout, "one", noise(0))
    middle = {"head": "head", "middle": "block5", "all": "all"}
    paced(layout, "two", noise(0), stages=middle)
    assert len(group_of(layout)) == 2


def test_the_same_training_twice_is_named(layout, capsys):
    paced(layout, "one", noise(0))
    paced(layout, "two", noise(0))
    call(layout, STEP, resamples=20)
    assert "two repeats one with the same seed" in capsys.readouterr().out


def test_comparison_of_unlike_trainings_says_what_differs(layout):
    paced(layout, "p", 5 + noise(0), image_size=299, augmentation=1.0)
    less = {"augmentation": 0.0, "mirrored_share": 0.1}
    conventional(layout, "a", "all", 9 + noise(1), image_size=96, **less)
    (found,) = comparison.compare_group(group_of(layout), seed=0, resamples=200)
    assert "different image size: 299 and 96" in str(found)
    assert "different augmentation: 1.0 and 0.0" in str(found)
    # a run of before there was a choice mirrored half
    assert "different mirrored share: 0.5 and 0.1" in str(found)


def test_hands_made_otherwise_make_another_method(layout):
    for seed in (0, 1):
        paced(layout, f"p{seed}", noise(seed), seed=seed)
    for run in (layout.paced / "p1").glob("stage_*"):
        facts = json.loads((run / "config.json").read_text())
        write_json(
            run / "config.json", facts | {"preprocessing": {"fill_square": True}}
        )
    assert [method.label for method in group_of(layout)] == [
        "paced (preprocessing fill square no)",
        "paced (preprocessing fill square yes)",
    ]


def test_one_radiograph_says_nothing(layout):
    paced(layout, "p", noise(0))
    conventional(layout, "a", "all", 9 + noise(1))
    for path in layout.models.rglob("predictions.csv"):
        pd.read_csv(path).head(1).to_csv(path, index=False)
    methods = group_of(layout)
    (found,) = comparison.compare_group(methods, seed=0, resamples=20)
    assert not found.is_significant
    assert "no significant difference between paced and from all" in str(found)
    table = comparison.tabulate("all", methods[0], seed=0, resamples=20)
    assert table[["lower", "upper"]].isna().to_numpy().all()


def test_figures_of_groups_that_are_gone_go_too(layout):
    paced(layout, "p", noise(0))
    conventional(layout, "a", "all", noise(0), sex="male")
    call(layout, STEP, resamples=20)
    assert (layout.transfer / "loss_joint.png").exists()
    shutil.rmtree(layout.conventional)
    call(layout, STEP, resamples=20)
    figures = [path.name for path in layout.transfer.glob("*.png")]
    assert figures == ["loss_xception_female.png"]


def test_one_seed_and_unequal_budgets_are_said(layout):
    paced(layout, "p", 5 + noise(0))
    conventional(layout, "a", "all", 9 + noise(1), length=9)
    methods = group_of(layout)
    (found,) = comparison.compare_group(methods, seed=0, resamples=200)
    assert "based on one seed" in str(found)
    assert "different epochs: 6 and 9" in str(found)


def test_interval_holds_the_true_difference_as_often_as_it_says(layout):
    """Of 100 simulated pairs whose errors differ by a month: 95 expected."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(100):
        shared = rng.normal(20, 2, COUNT)
        paced(layout, "p", shared + rng.normal(0, 2, COUNT))
        conventional(layout, "a", "all", shared + 1 + rng.normal(0, 2, COUNT))
        found = comparison.compare(*group_of(layout), seed=1, resamples=200)
        held += found.lower <= -1 <= found.upper
    assert 88 <= held <= 99


def test_two_comparisons_at_once_are_refused(layout):
    paced(layout, "p", noise(0))
    with exclusive(layout.transfer), pytest.raises(InputError, match="another process"):
        call(layout, STEP, resamples=20)


def test_files_of_the_step(layout, capsys):
    for seed in (0, 1, 2):
        paced(layout, f"p{seed}", noise(seed), seed=seed)
        conventional(layout, f"a{seed}", "all", 12 + noise(seed + 5), seed=seed)
        conventional(layout, f"m{seed}", "all", noise(seed), sex="male", seed=seed)
    call(layout, STEP, resamples=100)
    assert sorted(path.name for path in layout.transfer.iterdir()) == [
        *("loss_joint.png", "loss_xception_female.png", "loss_xception_male.png"),
        *("table.csv", "table.md"),
    ]
    table = pd.read_csv(layout.transfer / "table.csv")
    chosen = table[(table.group == "xception, female") & (table.metric == "mae")]
    assert chosen.method.tolist() == ["paced", "from all"]
    expected = np.mean([np.abs(noise(seed)).mean() for seed in (0, 1, 2)])
    assert chosen.value.iloc[0] == pytest.approx(expected, abs=1e-3)
    assert (chosen.lower < chosen.value).all()
    assert (chosen.value < chosen.upper).all()
    shares = table[table.metric.isin(["r2", "concordance_correlation"])]
    assert (shares.upper <= 1).all()
    text = (layout.transfer / "table.md").read_text()
    assert "paced transfer wins against" in text
    assert "paced is better than from all by" in capsys.readouterr().out
