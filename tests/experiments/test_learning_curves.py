"""Does asking pay: runs of every kind, and what is made of their tables."""

import numpy as np
import pandas as pd
import pytest

from boneage.errors import InputError
from boneage.io import hdf5
from boneage.segmentation import dice as segmentation_dice
from experiments import active_learning, committee_variants, learning_curves
from tests.conftest import quick_networks


@pytest.fixture
def packed(made_cohort):
    return made_cohort.annotated_h5


def run(packed, folder, *variants) -> pd.DataFrame:
    small = {"first": 2, "queries": 1, "rounds": 1, "images": 4, "test": 2}
    options = active_learning.Run(packed, folder, variants, (0,), 2, **small)
    with quick_networks():
        active_learning.main(options)
    return pd.read_csv(learning_curves.path_of(folder, variants[0], 0))


ALIKE = {"consensus_entropy", "jensen_shannon", "pairwise_dice", "on_the_edge"}
ALIKE |= {"3_members", "5_members", "clustered_first_random", "anew_random"}


@pytest.mark.parametrize("variant", sorted(active_learning.VARIANTS.keys() - ALIKE))
def test_every_way_of_asking_runs(packed, tmp_path, variant):
    table = run(packed, tmp_path, variant)
    counts = [4, 4] if variant == "all_annotations" else [2, 3]
    assert table.annotations.tolist() == np.repeat(counts, 2).tolist()
    assert table.id.nunique() == 2
    assert table.dice.between(0, 1).all()


def test_finished_runs_are_not_made_again(packed, tmp_path):
    run(packed, tmp_path, "random")
    path = learning_curves.path_of(tmp_path, "random", 0)
    before = path.stat().st_mtime_ns
    run(packed, tmp_path, "random")
    assert path.stat().st_mtime_ns == before


@pytest.mark.slow
def test_ways_of_asking_share_test_part_and_first_batch(packed, tmp_path):
    first = run(packed, tmp_path, "random")
    second = run(packed, tmp_path, "vote_entropy")
    assert first.id.tolist() == second.id.tolist()
    assert first.dice[:2].tolist() == second.dice[:2].tolist()


def test_report_writes_tables_and_a_figure(packed, tmp_path):
    for variant in ("random", "vote_entropy", "all_annotations"):
        run(packed, tmp_path, variant)
    lines = learning_curves.report(tmp_path)
    assert sum("vote entropy" in line for line in lines) == 1
    averages = pd.read_csv(tmp_path / "curves.csv")
    assert set(averages.variant) == {"random", "vote_entropy", "all_annotations"}
    assert (tmp_path / "curves.png").stat().st_size > 10_000
    assert (tmp_path / "table.md").read_text().splitlines() == lines[:-1]


def test_report_without_runs(tmp_path):
    with pytest.raises(InputError, match="has no finished run"):
        learning_curves.report(tmp_path)


def rounds(dice, variant="random", seed=0) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "variant": variant,
            "seed": seed,
            "round": np.arange(len(dice)),
            "annotations": 20 + 10 * np.arange(len(dice)),
            "dice": dice,
        }
    )


def needed(dice, target) -> float:
    return learning_curves.needed(rounds(dice), "dice", target)


def test_annotations_needed_are_the_first_that_reach_the_target_and_stay_near():
    assert needed([0.90, 0.94, 0.96, 0.97, 0.97], 0.955) == 40
    # one lucky round does not count
    assert needed([0.90, 0.97, 0.90, 0.91, 0.97], 0.95) != 30
    assert np.isnan(needed([0.9, 0.9, 0.9], 0.95))


def settling(variant="vote_entropy") -> pd.DataFrame:
    """Proposals hold from round 2 on, the doubt about the pool as well."""
    run = rounds([0.90, 0.93, 0.95, 0.96, 0.96, 0.96], variant)
    asked = [0.7, 0.8, 0.96, 0.97, 0.97, 0.97]
    return run.assign(asked_dice=asked, pool_disagreement=[9, 5, 4, 4, 4, 4])


def test_told_to_stop_on_what_was_known_then():
    # the doubt of rounds 4 and 5 is that of rounds 2 and 3
    assert learning_curves.advised(settling()).annotations == 70
    assert learning_curves.advised(settling()[:5]) is None


def test_lowest_tenth():
    dice = pd.Series(np.linspace(0, 1, 21))
    assert learning_curves.lowest_tenth(dice) == pytest.approx(0.025)
    assert learning_curves.lowest_tenth(pd.Series([0.3, 0.9])) == 0.3


def test_difference_from_chance_is_paired_by_seed():
    both = [
        rounds(np.array([0.8, 0.9]) + shift + gain, variant, seed)
        for seed, shift in enumerate((0.0, -0.3, 0.05))
        for variant, gain in (("random", 0.0), ("vote_entropy", 0.02))
    ]
    found = learning_curves.against_chance(pd.concat(both), "dice").loc["vote_entropy"]
    assert found.difference == pytest.approx(0.02)
    assert found.low == pytest.approx(0.02)
    assert found.seeds == 3


def test_snapshots_are_what_the_network_was_an_epoch_ago(packed):
    with quick_networks():
        committee = committee_variants.snapshots(3, 32, 2, 0)
        pairs = hdf5.open_packed(packed, "")
        states = []
        for epoch in range(3):
            states.append(committee.members[0].get_weights()[0].copy())
            active_learning._train(committee, pairs, np.arange(4), [0, epoch], 8)
    for age in (1, 2):
        np.testing.assert_array_equal(
            committee.members[age].get_weights()[0], states[3 - age]
        )
    assert not np.array_equal(committee.members[0].get_weights()[0], states[2])


def test_dropout_passes_differ(packed):
    with quick_networks():
        found = committee_variants.dropout(3, 32, 2, 0).probabilities(
            hdf5.open_packed(packed, "").images[:2]
        )
    assert found.shape == (3, 2, 32, 32)
    assert np.ptp(found, axis=0).max() > 0


def test_members_agree_off_the_edge_and_on_it():
    masks = np.zeros((2, 1, 128, 128), np.float32)
    masks[0, 0, 20:60, 20:60] = 1
    masks[1, 0, 21:60, 20:60] = 1  # an edge drawn a pixel lower
    masks[1, 0, 90:110, 90:110] = 1  # a piece that only one member sees
    off, on = (active_learning.EDGES[name](masks) for name in ("off", "only"))
    edge = np.s_[0, 0, 20, 20:60], np.s_[1, 0, 20, 20:60]
    piece = np.s_[0, 0, 95:105, 95:105], np.s_[1, 0, 95:105, 95:105]
    assert segmentation_dice.dice(off[edge[0]], off[edge[1]]) == 1
    assert segmentation_dice.dice(off[piece[0]], off[piece[1]]) == 0
    assert segmentation_dice.dice(on[edge[0]], on[edge[1]]) == 0
    assert segmentation_dice.dice(on[piece[0]], on[piece[1]]) == 1
