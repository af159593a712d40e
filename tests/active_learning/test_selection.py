"""From scores and looks to the radiographs that are asked about."""

import numpy as np
import pytest

from boneage.active_learning import selection


def best(scores, count, seed=0):
    rng = np.random.default_rng(seed)
    return selection.most_uncertain(np.array(scores), count, rng).tolist()


def test_highest_scores_come_first():
    assert best([0.1, 0.9, 0.5, 0.7], 3) == [1, 3, 2]


def test_ties_are_broken_by_chance_and_come_once_each():
    chosen = [best([1, 1, 1, 1], 2, seed) for seed in range(20)]
    assert all(len(set(pair)) == 2 for pair in chosen)
    assert {index for pair in chosen for index in pair} == {0, 1, 2, 3}


def test_ties_do_not_push_a_higher_score_out():
    assert all(best([1, 1, 2, 1], 1, seed) == [2] for seed in range(10))


def test_all_where_there_are_fewer():
    assert sorted(best([3, 1], 10)) == [0, 1]
    assert best([], 10) == []


def test_undefined_scores_come_last():
    assert best([np.nan, 0.1, 0.2], 2) == [2, 1]


def flocks(sizes, seed=0):
    """(image, 32, 32) uint8: so many noisy copies of as many unlike pictures."""
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (len(sizes), 32, 32))
    images = np.repeat(pictures, sizes, axis=0) + rng.integers(
        -9, 9, (sum(sizes), 32, 32)
    )
    return images.clip(0, 255).astype(np.uint8), np.repeat(np.arange(len(sizes)), sizes)


@pytest.mark.parametrize("seed", range(5))
def test_first_batch_takes_one_of_each_kind_of_radiograph(seed):
    images, kinds = flocks([30, 3, 9, 2])
    chosen = selection.cluster_representatives(images, 4, np.random.default_rng(seed))
    assert sorted(kinds[chosen]) == [0, 1, 2, 3]


def test_first_batch_has_as_many_as_were_asked_for_even_among_twins():
    images = np.repeat(flocks([1])[0], 12, axis=0)
    chosen = selection.cluster_representatives(images, 5, np.random.default_rng(0))
    assert len(set(chosen.tolist())) == 5


def test_first_batch_of_a_small_pool_is_the_pool():
    chosen = selection.cluster_representatives(
        flocks([3])[0], 5, np.random.default_rng(0)
    )
    assert sorted(chosen) == [0, 1, 2]


def test_exposure_does_not_change_what_an_image_looks_like():
    images, _ = flocks([4])
    dark = (images // 2 + 20).astype(np.uint8)
    looks = selection.thumbnails(images)
    np.testing.assert_allclose(selection.thumbnails(dark), looks, atol=0.02)
    np.testing.assert_allclose(np.linalg.norm(looks, axis=1), 1, rtol=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_varied_queries_are_the_most_uncertain_of_each_kind(seed):
    images, kinds = flocks([6, 6, 6])
    scores = np.linspace(1, 2, 18)
    looks = selection.thumbnails(images)
    chosen = selection.diverse_top_k(scores, looks, 3, np.random.default_rng(seed))
    assert kinds[chosen].tolist() == [2, 1, 0]
    assert chosen.tolist() == [17, 11, 5]


def test_varied_queries_are_as_many_as_were_asked_for_even_among_twins():
    looks = np.ones((8, 4), np.float32)
    scores = np.arange(8.0)
    chosen = selection.diverse_top_k(scores, looks, 3, np.random.default_rng(0))
    assert len(set(chosen.tolist())) == 3
    assert chosen[0] == 7
