"""The committee on a whole cohort, in batches: from radiographs to final masks."""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from boneage import parallel
from boneage.io import radiographs
from boneage.io.files import read_json, up_to_date
from boneage.layout import Layout
from boneage.parallel import ALL_CORES, Skipped, Workers
from boneage.segmentation import dice, hand_images, preprocessing
from boneage.segmentation.confirmed_masks import (
    Confirmed,
    check_drawn_mask,
    read_confirmed,
)
from boneage.segmentation.mask_quality import (
    MaskQuality,
    QualityTable,
    assess,
    source_of,
)

if TYPE_CHECKING:
    from boneage.segmentation.committee import Committee


def segment_all(
    layout: Layout,
    ids: Sequence[int],
    table: QualityTable,
    batch_size: int = 16,
    workers: Workers = ALL_CORES,
) -> list[Skipped]:
    """Write the mask of each id and its row of `table`; returns what was set aside.

    A person's mask is taken as it is. Memory holds one batch and what was read ahead,
    whatever the cohort.
    """
    drawn = [i for i in ids if layout.annotation_path(i) is not None]
    confirmed = read_confirmed(layout.confirmed_masks)
    work = functools.partial(_take_over, layout, confirmed)
    set_aside = _finish(table, parallel.imap(work, drawn, workers, "annotated"))
    rest = sorted(set(ids) - set(drawn))
    if not rest:
        return set_aside
    # not above: the workers import this module, and need no Keras
    from boneage.segmentation.committee import Committee

    committee = Committee.load(layout.committee)
    prepare = functools.partial(_prepare, layout, committee.size, committee.clip_limit)
    batch = []
    for radiograph_id, outcome in parallel.imap(prepare, rest, workers, "segmenting"):
        if isinstance(outcome, Skipped):
            set_aside.append(outcome)
        else:
            batch.append((radiograph_id, *outcome))
        if len(batch) == batch_size:
            _segment_batch(layout, committee, batch, table)
            batch = []
    if batch:
        _segment_batch(layout, committee, batch, table)
    return set_aside


def other_committees(layout: Layout, table: QualityTable) -> list[str]:
    """A line of warning where masks come from the committee at another epoch."""
    state = layout.committee_state
    if not state.exists():  # all masks are a person's
        return []
    return table.other_committees(read_json(state, "step 2", ["epoch"])["epoch"])


def is_done(layout: Layout, table: QualityTable, radiograph_id: int) -> bool:
    """Whether the final mask is there, and the person's where a person drew one."""
    drawn = layout.annotation_path(radiograph_id)
    source = table.source(radiograph_id)
    if source is None or (drawn and source != "person"):
        return False
    return up_to_date(layout.mask(radiograph_id), drawn)


def _take_over(layout: Layout, confirmed: Confirmed, radiograph_id: int) -> MaskQuality:
    """Copy a person's mask, checked against the radiograph."""
    shape = radiographs.read(layout.radiograph(radiograph_id)).shape
    path = layout.annotation_path(radiograph_id)
    mask = radiographs.read_mask(path, shape)
    check_drawn_mask(radiograph_id, path, mask, confirmed)
    radiographs.write(layout.mask(radiograph_id), mask)
    return assess(radiograph_id, "person", mask)


def _finish(table: QualityTable, stream) -> list[Skipped]:
    set_aside = []
    for _, outcome in stream:
        if isinstance(outcome, Skipped):
            set_aside.append(outcome)
        else:
            table.add(outcome)
    return set_aside


def _prepare(
    layout: Layout, size: int, clip_limit: float, radiograph_id: int
) -> tuple[np.ndarray, tuple[int, int]]:
    radiograph = radiographs.read(layout.radiograph(radiograph_id))
    return preprocessing.prepare(radiograph, size, clip_limit), radiograph.shape


def _segment_batch(
    layout: Layout, committee: "Committee", batch: list[tuple], table: QualityTable
) -> None:
    """Predict (id, image, shape) of a batch; write mask and row of each."""
    images = np.stack([image for _, image, _ in batch])
    probabilities = committee.probabilities(images, batch_size=len(images))
    disagreements = dice.pairwise_disagreement(probabilities)
    for (radiograph_id, _, shape), probability, disagreement in zip(
        batch, probabilities.mean(axis=0), disagreements, strict=True
    ):
        mask = hand_images.mask_from_probability(probability, shape)
        radiographs.write(layout.mask(radiograph_id), mask)
        source = source_of(committee.epoch)
        table.add(assess(radiograph_id, source, mask, float(disagreement)))
