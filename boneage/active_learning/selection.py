"""Selecting queries: the first batch, the most uncertain, a diverse few."""

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
    """Images shrunk to 16 x 16: (image, 256) float32 of mean 0 and length 1.

    images: (image, size, size) uint8.
    """
    small = [transforms.resize(image, THUMBNAIL_PX).ravel() for image in images]
    flat = np.array(small, np.float32).reshape(len(images), -1)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)


def _clusters(
    features: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """K-means: each row's cluster, and its distance to the cluster's centre."""
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        # too few distinct rows leave clusters empty: the callers fill up
        warnings.simplefilter("ignore", UserWarning)
        centres, labels = vq.kmeans2(features, count, minit="++", rng=rng)
    return labels, np.linalg.norm(features - centres[labels], axis=1)


def cluster_representatives(
    images: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Indices of `count` images that represent the rest, one per cluster of thumbnails.

    images: (image, size, size) uint8. For an empty cluster, a random image is taken.
    Source: Nguyen & Smeulders, Active learning using pre-clustering, ICML 2004.
    """
    if len(images) <= count:
        return np.arange(len(images))
    labels, distances = _clusters(thumbnails(images), count, rng)
    chosen = _best_per_cluster(labels, -distances, count)
    rest = np.setdiff1d(np.arange(len(images)), chosen)
    more = rng.choice(rest, count - len(chosen), replace=False)
    return np.concatenate([chosen, more])


def diverse_top_k(
    scores: np.ndarray, features: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Indices of the highest score in each of `count` clusters, highest first.

    scores: (image,); features: (image, feature), as of `thumbnails`; give it a few
    times as many candidates as are wanted. For an empty cluster, the highest remaining
    score is taken.
    Source: Zhdanov, Diverse mini-batch active learning, arXiv 1901.05954.
    """
    order = most_uncertain(scores, len(scores), rng)
    if len(scores) <= count:
        return order
    labels, _ = _clusters(features, count, rng)
    chosen = _best_per_cluster(labels, scores, count)
    remaining = order[~np.isin(order, chosen)]
    chosen = np.concatenate([chosen, remaining[: count - len(chosen)]])
    return order[np.isin(order, chosen)]


def _best_per_cluster(labels: np.ndarray, scores: np.ndarray, count: int) -> np.ndarray:
    members = [np.flatnonzero(labels == cluster) for cluster in range(count)]
    return np.array([m[np.argmax(scores[m])] for m in members if len(m)], int)
