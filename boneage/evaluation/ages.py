"""Formatted bone ages and age groups, the same in every table, figure and interval."""

from collections.abc import Callable
from functools import partial

import numpy as np

AGE_EDGES_MONTHS = (60.0, 120.0, 180.0)
"""A birthday begins the next group; the first and the last group are open."""
AGE_GROUP_COUNT = len(AGE_EDGES_MONTHS) + 1


def age_group(months: np.ndarray | float) -> np.ndarray:
    """The group of each age, 0 for the youngest: int of the shape of `months`."""
    return np.searchsorted(AGE_EDGES_MONTHS, months, "right")


def age_group_name(group: int) -> str:
    """Write a group in years: `below 5 years`, `5 to 10 years`, `15 years or more`."""
    years = [f"{edge / 12:g}" for edge in AGE_EDGES_MONTHS]
    if group == 0:
        return f"below {years[0]} years"
    if group == len(years):
        return f"{years[-1]} years or more"
    return f"{years[group - 1]} to {years[group]} years"


def years_and_months(months: float) -> str:
    """Format an age in years and months: 106.4 is `8 y 10 m`; NaN is `unknown`."""
    if np.isnan(months):
        return "unknown"
    whole = round(float(months))
    sign = "\N{MINUS SIGN}" if whole < 0 else ""
    return f"{sign}{abs(whole) // 12} y {abs(whole) % 12} m"


def _is_in_age_group(group: int, months: np.ndarray, is_male: np.ndarray) -> np.ndarray:
    return age_group(months) == group


GROUPS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "all": lambda months, is_male: np.ones(len(months), bool),
    "male": lambda months, is_male: is_male,
    "female": lambda months, is_male: ~is_male,
    **{
        age_group_name(group): partial(_is_in_age_group, group)
        for group in range(AGE_GROUP_COUNT)
    },
}
"""Rows of tables: name -> (bone_age_months (N,), is_male (N,) bool) -> (N,) bool."""
