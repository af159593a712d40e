"""The experiment on calibrations: what one draw says, and the table."""

import numpy as np
import pytest

from boneage.prediction.conformal import Calibration
from boneage.prediction.local_calibration import LocalReadings
from experiments import local_calibration


class Ensemble:
    """What the experiment asks of the networks of a sex."""

    def __init__(self, hands):
        self.calibration = self.test_hands = hands


@pytest.fixture
def ensembles():
    rng = np.random.default_rng(0)
    true = rng.uniform(30, 210, 300)
    predicted = true + rng.normal(0, 9, 300)
    return {
        "female": Ensemble(Calibration(predicted[:150], true[:150], "girls")),
        "male": Ensemble(Calibration(predicted[150:], true[150:], "boys")),
    }


def halves(ensembles, older_months):
    hands = local_calibration.test_hands(ensembles)
    changed = LocalReadings(
        hands.predicted_months,
        hands.read_months + older_months,
        hands.is_male,
        hands.child,
    )
    is_local = np.arange(len(hands)) % 3 == 0
    return changed.select(is_local), changed.select(~is_local)


def test_a_place_that_differs_gains(ensembles):
    found = local_calibration.outcome(*halves(ensembles, 12), ensembles)
    assert found.is_stored
    assert found.has_lines
    assert found.mae_before > 11
    assert found.mae_after < 8.5
    assert found.covered_before < 0.75
    assert 0.83 < found.covered_after < 0.97


def test_a_place_like_the_models_own_stays_as_it_is(ensembles):
    found = local_calibration.outcome(*halves(ensembles, 0), ensembles)
    assert not found.is_stored
    assert found.mae_before == found.mae_after
    assert found.covered_before == found.covered_after


def test_every_change_gives_bone_ages(ensembles):
    hands = local_calibration.test_hands(ensembles)
    rng = np.random.default_rng(0)
    for change in local_calibration.CHANGES.values():
        assert change(hands, rng).shape == hands.read_months.shape


def test_the_table_has_a_row_for_each_place(ensembles):
    rng = np.random.default_rng(0)
    hands = local_calibration.test_hands(ensembles)
    outcomes = local_calibration.repeat(hands, 60, ensembles, 2, rng)
    lines = local_calibration.table_lines("bone ages", {("ours", 60): outcomes})
    assert len(lines) == 3
    assert lines[2].startswith("| ours | 60 | 0% | 0% | 100% |")
    assert lines[0].count("|") == lines[2].count("|") == lines[1].count("|")
