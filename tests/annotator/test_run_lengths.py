"""Masks as run lengths: there and back, and what is no mask."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from boneage.annotator import run_lengths

SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12))


@given(arrays(np.uint8, SHAPES, elements=st.sampled_from([0, 255])))
def test_there_and_back_is_the_same_mask(mask):
    decoded = run_lengths.decode(run_lengths.encode(mask), mask.shape)
    np.testing.assert_array_equal(decoded, mask)


def test_first_run_is_outside():
    mask = np.array([[255, 0, 0], [255, 255, 0]], np.uint8)
    runs = np.frombuffer(run_lengths.encode(mask), "<u4")
    assert runs.tolist() == [0, 1, 2, 2, 1]


@pytest.mark.parametrize(
    "runs", [[], [5], [7], [0, 7], [2**32 - 1, 7], [2**32 - 1] * 4]
)
def test_runs_of_another_image_are_no_mask(runs):
    encoded = np.array(runs, "<u4").tobytes()
    assert run_lengths.decode(encoded, (2, 3)) is None


def test_half_a_number_is_no_mask():
    encoded = run_lengths.encode(np.zeros((2, 3), np.uint8))
    assert run_lengths.decode(encoded[:-1], (2, 3)) is None
