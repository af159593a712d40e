"""Bone ages in words and in groups."""

import numpy as np
import pytest

from boneage.evaluation import ages


@pytest.mark.parametrize(
    ("months", "text"),
    [
        (0, "0 y 0 m"),
        (11.6, "1 y 0 m"),
        (106.4, "8 y 10 m"),
        (-3, "\u22120 y 3 m"),
        (-0.4, "0 y 0 m"),
        (np.nan, "unknown"),
    ],
)
def test_ages_are_written_as_people_say_them(months, text):
    assert ages.years_and_months(months) == text


@pytest.mark.parametrize(
    ("months", "name"),
    [
        (-3, "below 5 years"),
        (59.9, "below 5 years"),
        (60, "5 to 10 years"),
        (120, "10 to 15 years"),
        (179.9, "10 to 15 years"),
        (180, "15 years or more"),
        (400, "15 years or more"),
    ],
)
def test_a_birthday_begins_the_next_age_group(months, name):
    assert ages.age_group_name(int(ages.age_group(months))) == name


def test_every_age_is_in_one_group():
    groups = ages.age_group(np.arange(240.0))
    assert sorted(set(groups.tolist())) == list(range(ages.AGE_GROUP_COUNT))


def test_groups_of_tables_hold_their_own_hands():
    months = np.array([30.0, 90, 150, 200])
    is_male = np.array([True, False, True, False])
    held = {
        name: is_of_group(months, is_male).tolist()
        for name, is_of_group in ages.GROUPS.items()
    }
    assert held == {
        "all": [True] * 4,
        "male": [True, False, True, False],
        "female": [False, True, False, True],
        "below 5 years": [True, False, False, False],
        "5 to 10 years": [False, True, False, False],
        "10 to 15 years": [False, False, True, False],
        "15 years or more": [False, False, False, True],
    }
