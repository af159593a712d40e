"""Which radiographs are asked about: the first, the most uncertain, a varied few."""

import warnings

import numpy as np
from scipy.cluster import vq

from boneage.io import transforms

THUMBNAIL_PX = 16


def most_uncertain(
    scores: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Indices of the `count` highest scores, highest first, ties by chance.

    Each index once; all of them where there are fewer than `count`.
    """
    shuffled = rng.permutation(len(scores))
    order = np.argsort(-scores[shuffled], kind="stable")
    return shuffled[order[:count]]


def thumbnails(images: np.ndarray) -> np.ndarray:
    """What an image looks like from afar: (image, 256) float32 of mean 0 and length 1.

    images: (image, size, size) uint8.
    """
    small = [transforms.resize(image, THUMBNAIL_PX).ravel() for image in images]
    flat = np.array(small, np.float32).reshape(len(images), -1)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)


def _clusters(
    looks: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """K-means: the cluster of each row of `looks`, and its distance to the centre."""
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        # fewer unlike rows than clusters leave some empty: made up for by the callers
        warnings.simplefilter("ignore", UserWarning)
        centres, labels = vq.kmeans2(looks, count, minit="++", rng=rng)
    return labels, np.linalg.norm(looks - centres[labels], axis=1)


def cluster_representatives(
    images: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Indices of `count` images that stand for the rest: one a cluster of thumbnails.

    images: (image, size, size) uint8. A cluster left empty is made up for by chance.
    Source: Nguyen & Smeulders, Active learning using pre-clustering, ICML 2004.
    """
    if len(images) <= count:
        return np.arange(len(images))
    labels, distances = _clusters(thumbnails(images), count, rng)
    chosen = _best_of_each(labels, -distances, count)
    rest = np.setdiff1d(np.arange(len(images)), chosen)
    more = rng.choice(rest, count - len(chosen), replace=False)
    return np.concatenate([chosen, more])


def diverse_top_k(
    scores: np.ndarray, looks: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Indices of the highest score in each of `count` clusters, highest first.

    scores: (image,); looks: (image, feature), see `thumbnails`. To be given a few times
    as many candidates as are wanted. A cluster left empty is made up for by the highest
    scores that are left.
    Source: Zhdanov, Diverse mini-batch active learning, arXiv 1901.05954.
    """
    order = most_uncertain(scores, len(scores), rng)
    if len(scores) <= count:
        return order
    labels, _ = _clusters(looks, count, rng)
    chosen = _best_of_each(labels, scores, count)
    left = order[~np.isin(order, chosen)]
    chosen = np.concatenate([chosen, left[: count - len(chosen)]])
    return order[np.isin(order, chosen)]


def _best_of_each(labels: np.ndarray, scores: np.ndarray, count: int) -> np.ndarray:
    members = [np.flatnonzero(labels == cluster) for cluster in range(count)]
    return np.array([m[np.argmax(scores[m])] for m in members if len(m)], int)
