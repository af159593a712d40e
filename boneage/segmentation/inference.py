"""The committee on a whole cohort, in batches: from radiographs to final masks."""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from boneage import parallel
from boneage.ids import RadiographId, sort_ids
from boneage.io import radiographs
from boneage.io.files import read_json, up_to_date
from boneage.layout import Layout
from boneage.parallel import ALL_CORES, Skipped, Workers
from boneage.segmentation import dice, hand_images, image_quality, preprocessing
from boneage.segmentation.committee_folder import TRAINED_BY
from boneage.segmentation.compiled_committee import (
    CompiledCommittee,
    PredictingCommittee,
    open_committee,
)
from boneage.segmentation.confirmed_masks import (
    Confirmed,
    check_drawn_mask,
    read_confirmed,
)
from boneage.segmentation.mask_quality import (
    MaskQuality,
    QualityTable,
    assess,
    assess_committee_mask,
)

DOING = "segmenting"
"""Label of the progress bar."""


def segment_all(
    layout: Layout,
    ids: Sequence[RadiographId],
    table: QualityTable,
    batch_size: int = 16,
    workers: Workers = ALL_CORES,
) -> list[Skipped]:
    """Write the mask of each id and its row of `table`; returns what was set aside.

    A person's mask is taken as it is. Compiled, the committee runs in every worker;
    in Keras it runs here, on batches. Memory does not grow with the cohort.
    """
    drawn = [i for i in ids if layout.annotation_path(i) is not None]
    confirmed = read_confirmed(layout.confirmed_masks)
    work = functools.partial(_take_over, layout, confirmed)
    skipped = _finish(table, parallel.imap(work, drawn, workers, "annotated"))
    rest = sort_ids(set(ids) - set(drawn))
    if not rest:
        return skipped
    # here first: a broken member is no fault of a radiograph
    committee = open_committee(layout.committee)
    if isinstance(committee, CompiledCommittee):
        spread = workers.jobs != 1 or workers.scheduler != ""
        segment = functools.partial(
            _segment, layout, committee.committee_hash, int(spread)
        )
        return skipped + _finish(table, parallel.imap(segment, rest, workers, DOING))
    prepare = functools.partial(_prepare, layout, committee.size, committee.clip_limit)
    batch = []
    for radiograph_id, outcome in parallel.imap(prepare, rest, workers, DOING):
        if isinstance(outcome, Skipped):
            skipped.append(outcome)
        else:
            batch.append((radiograph_id, *outcome))
        if len(batch) == batch_size:
            _segment_batch(layout, committee, batch, table)
            batch = []
    if batch:
        _segment_batch(layout, committee, batch, table)
    return skipped


def outdated_lines(layout: Layout, table: QualityTable) -> list[str]:
    """A summary line where masks are of another committee than the present one."""
    path = layout.committee_state
    if not path.exists():  # all masks are a person's
        return []
    state = read_json(path, TRAINED_BY, ["epoch", "committee_hash"])
    return table.outdated_lines(state["epoch"], state["committee_hash"])


def is_done(layout: Layout, table: QualityTable, radiograph_id: RadiographId) -> bool:
    """Whether the final mask is there, and the person's where a person drew one."""
    drawn = layout.annotation_path(radiograph_id)
    source = table.source(radiograph_id)
    if source is None or (drawn and source != "person"):
        return False
    return up_to_date(layout.mask(radiograph_id), drawn)


def _take_over(
    layout: Layout, confirmed: Confirmed, radiograph_id: RadiographId
) -> MaskQuality:
    """Copy a person's mask, checked against the radiograph."""
    radiograph = radiographs.read(layout.radiograph(radiograph_id))
    # drawn, or the reader names the file that is gone
    path = layout.annotation_path(radiograph_id) or layout.answer(radiograph_id)
    mask = radiographs.read_mask(path, radiograph.shape)
    check_drawn_mask(radiograph_id, path, mask, confirmed)
    radiographs.write(layout.mask(radiograph_id), mask)
    return assess(radiograph_id, "person", mask, radiograph)


def _finish(table: QualityTable, stream) -> list[Skipped]:
    skipped = []
    for _, outcome in stream:
        if isinstance(outcome, Skipped):
            skipped.append(outcome)
        else:
            table.add(outcome)
    return skipped


def _prepare(
    layout: Layout, size: int, clip_limit: float, radiograph_id: RadiographId
) -> tuple[np.ndarray, tuple[int, int], np.ndarray]:
    """A radiograph as the committee sees it, its shape, and a small copy."""
    radiograph = radiographs.read(layout.radiograph(radiograph_id))
    image = preprocessing.prepare(radiograph, size, clip_limit)
    return image, radiograph.shape, image_quality.shrunk(radiograph, size)


@functools.lru_cache(maxsize=1)
def _own_committee(
    folder: Path, committee_hash: str, thread_count: int
) -> PredictingCommittee:
    """A worker's committee, loaded once; another hash is another committee."""
    return open_committee(folder, thread_count)


def _segment(
    layout: Layout, committee_hash: str, thread_count: int, radiograph_id: int
) -> MaskQuality:
    """Segment one radiograph and write its mask, all in one worker."""
    committee = _own_committee(layout.committee, committee_hash, thread_count)
    image, shape, small = _prepare(
        layout, committee.size, committee.clip_limit, radiograph_id
    )
    probabilities = committee.probabilities(image[np.newaxis], batch_size=1)[:, 0]
    return _write_mask(layout, committee, radiograph_id, probabilities, shape, small)


def _segment_batch(
    layout: Layout,
    committee: PredictingCommittee,
    batch: list[tuple],
    table: QualityTable,
) -> None:
    """Predict (id, image, shape, small) of a batch; write mask and row of each."""
    images = np.stack([image for _, image, *_ in batch])
    probabilities = committee.probabilities(images, batch_size=len(images))
    for index, (radiograph_id, _, *facts) in enumerate(batch):
        table.add(
            _write_mask(
                layout, committee, radiograph_id, probabilities[:, index], *facts
            )
        )


def _write_mask(
    layout: Layout,
    committee: PredictingCommittee,
    radiograph_id: int,
    probabilities: np.ndarray,
    shape: tuple[int, int],
    small: np.ndarray,
) -> MaskQuality:
    """Write the mask; returns its row of the table.

    probabilities: (member, size, size). shape, small: of `_prepare`.
    """
    mask = hand_images.committee_mask(probabilities, shape)
    radiographs.write(layout.mask(radiograph_id), mask)
    disagreement = dice.pairwise_disagreement(probabilities[:, np.newaxis])[0]
    return assess_committee_mask(
        radiograph_id,
        committee.epoch,
        committee.committee_hash,
        mask,
        float(disagreement),
        small,
    )
