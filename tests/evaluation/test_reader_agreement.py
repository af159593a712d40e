"""Agreement of people and networks: pairs, the spread of people, and step5's option."""

import re

import numpy as np
import pytest

from boneage.errors import InputError
from boneage.evaluation import reader_agreement
from boneage.evaluation.reader_agreement import Readings
from boneage.layout import Layout
from boneage.regression.settings import BootstrapSettings
from tests.conftest import call
from tests.scripts.bad_input import READINGS

BOOTSTRAP = BootstrapSettings(resamples=200)


def readings(*errors, networks=0, count=80, seed=0) -> Readings:
    """Readers with standard deviations of error; the last `networks` are networks."""
    rng = np.random.default_rng(seed)
    true = rng.uniform(30, 210, count)
    months = np.stack([true + rng.normal(0, e, count) for e in errors], axis=1)
    is_network = np.arange(len(errors)) >= len(errors) - networks
    return Readings(months, tuple("abcdefg"[: len(errors)]), is_network)


def verdict(*errors, **more):
    found = reader_agreement.distances(readings(*errors, networks=1, **more), BOOTSTRAP)
    return found[-1].verdict()


def test_network_nearer_than_people_are_to_each_other_is_within_their_spread():
    assert verdict(10, 10, 10, 4) == "within the spread of people"


def test_network_farther_than_people_is_outside():
    assert verdict(6, 6, 6, 15) == "outside the spread of people"


def test_network_like_a_person_is_not_told_apart():
    assert verdict(8, 8, 8, 8, seed=4).startswith("not told apart")


def test_distances_by_hand():
    months = np.array([[100.0, 104, 110], [60.0, 58, 60]])
    table = Readings(months, ("x", "y", "net"), np.array([False, False, True]))
    of_x, of_y, of_net = reader_agreement.distances(table, BOOTSTRAP)
    # |100 - 104| and |60 - 58|
    assert of_x.to_people[0] == of_y.to_people[0] == 3
    # 10, 6 and 0, 2
    assert of_net.to_people[0] == 4.5
    assert of_net.excess[0] == 1.5
    assert np.isnan(of_net.to_mean[0])
    assert np.isnan(of_x.excess[0])


def test_people_and_networks_are_compared_with_means_of_as_many():
    months = np.array([[96.0, 100, 104, 100]])
    months = np.vstack([months, months])
    names, is_network = ("x", "y", "z", "net"), np.array([False] * 3 + [True])
    found = reader_agreement.distances(Readings(months, names, is_network), BOOTSTRAP)
    # 96 to (100 + 104) / 2, and 100 to 102, 100 and 98
    assert found[0].to_mean[0] == 6
    assert found[3].to_mean[0] == pytest.approx(4 / 3)


def test_only_radiographs_that_both_read_count():
    table = readings(5, 5, 5)
    table.months[:30, 0] = np.nan
    pairs, notes = reader_agreement.compare_pairs(table, BOOTSTRAP)
    counts = pairs[pairs.metric == "mae"].radiographs.tolist()
    assert counts == [50, 50, 80]
    assert notes == []
    table.months[31:, 0] = np.nan
    pairs, notes = reader_agreement.compare_pairs(table, BOOTSTRAP)
    assert notes[0] == "a and b share 1 radiographs: not compared"
    assert len(pairs[pairs.metric == "mae"]) == 1


def test_interval_of_a_pair_contains_the_true_difference():
    pairs, _ = reader_agreement.compare_pairs(readings(6, 8, count=400), BOOTSTRAP)
    row = pairs[pairs.metric == "mae"].iloc[0]
    # mean of |N(0, 10)|
    assert row.lower < 7.98 < row.upper
    assert row.upper - row.lower < 2
    assert pairs[pairs.metric == "bias"].lower.iloc[0] < 0


def test_step5_compares_readers(tmp_path, capsys):
    table = tmp_path / "readings.csv"
    months = readings(7, 8, 9, 20, networks=1, count=40).months
    lines = [
        f"{i},F,{','.join(f'{m:.1f}' for m in row)}" for i, row in enumerate(months)
    ]
    table.write_text("id,sex,Dr A,Dr B,Dr C,net\n" + "\n".join(lines) + "\n")
    layout = Layout(tmp_path / "data", tmp_path / "models")
    step5 = "al_segmentation/step5_statiscal_data"
    call(layout, step5, readers=table, networks=("net",), resamples=200)
    said = capsys.readouterr().out
    assert re.search(r"Dr A and Dr B: \d+\.\d .* months apart on 40 radiographs", said)
    assert "net: " in said
    assert "outside the spread of people" in said
    text = (layout.statistics / "readers.md").read_text()
    assert "| Dr A | Dr B | 40 |" in text
    assert "| net (network) | 40 |" in text
    assert (layout.statistics / "readers.png").is_file()
    assert (layout.statistics / "readers.csv").read_text().count("\n") == 1 + 6 * 5


def test_people_alone_have_no_network_to_judge(tmp_path, capsys):
    table = tmp_path / "readings.csv"
    table.write_text("id,A,B\n1,100,102\n2,50,57\n3,70,70\n")
    layout = Layout(tmp_path / "data", tmp_path / "models")
    call(layout, "al_segmentation/step5_statiscal_data", readers=table, resamples=50)
    assert "spread" not in capsys.readouterr().out


@pytest.mark.parametrize("name", READINGS)
def test_readings_are_read_or_refused_in_one_line(tmp_path, name):
    content, expected = READINGS[name]
    path = tmp_path / "readings.csv"
    path.write_text(content)
    if not isinstance(expected, str):
        found = reader_agreement.read_readings(path, ("net",))
        np.testing.assert_array_equal(found.months, np.array(expected, float))
        assert found.is_network.tolist() == [False, True]
        return
    with pytest.raises(InputError, match=expected) as caught:
        reader_agreement.read_readings(path, ("net",))
    assert "\n" not in str(caught.value)
    assert "readings.csv" in str(caught.value)
