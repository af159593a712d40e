"""A radiograph that is open in the annotator, with its masks and maps from disk."""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from boneage.active_learning.oracle import Query
from boneage.errors import InputError
from boneage.ids import RadiographId
from boneage.io import radiographs, transforms
from boneage.io.radiographs import Mask
from boneage.layout import Layout
from boneage.segmentation import coarse


@dataclass(frozen=True)
class OpenImage:
    """One radiograph being annotated.

    radiograph: (row, column) uint8 or uint16. start: the mask to begin with: the saved
    one, else the proposal, else the coarse mask. proposal, disagreement: the
    committee's, uint8; None where there is none. version: the state of its mask
    and flag on disk when it was opened. notes: files that exist but cannot be used.
    """

    layout: Layout
    query: Query
    radiograph: np.ndarray
    start: Mask
    proposal: Mask | None
    disagreement: np.ndarray | None
    version: str
    notes: tuple[str, ...] = ()

    @property
    def radiograph_id(self) -> RadiographId:
        """Its id."""
        return self.query.radiograph_id

    @functools.cached_property
    def coarse(self) -> Mask:
        """Step 1's mask, read or made when it is first wanted."""
        return coarse_mask(self.layout, self.radiograph_id, self.radiograph)

    @property
    def second(self) -> Mask | None:
        """A second opinion beside the proposal; None where the coarse mask is it."""
        return None if self.proposal is None else self.coarse


def read_open_image(
    layout: Layout, query: Query, version: str, annotation: Path
) -> OpenImage:
    """Read a radiograph, its masks and its maps.

    annotation: where the mask lies that has been saved; it may be missing.

    Raises:
        InputError: the radiograph cannot be read. What cannot be used of the others is
            in the notes.
    """
    i, notes = query.radiograph_id, []
    radiograph = radiographs.read(layout.query(i))

    def usable(path: Path) -> np.ndarray | None:
        try:
            return _read_of_shape(path, radiograph.shape)
        except InputError as error:
            notes.append(str(error))
            return None

    saved, proposal = usable(annotation), usable(layout.proposal(i))
    start = next((mask for mask in (saved, proposal) if mask is not None), None)
    if start is None:
        start = coarse_mask(layout, i, radiograph)
    return OpenImage(
        layout,
        query,
        radiograph,
        _binary(start),
        None if proposal is None else _binary(proposal),
        usable(layout.disagreement(i)),
        version,
        tuple(notes),
    )


def coarse_mask(
    layout: Layout, radiograph_id: RadiographId, radiograph: np.ndarray
) -> Mask:
    """Step 1's coarse mask; computed here if there is no usable one."""
    path = layout.coarse_mask(radiograph_id)
    try:
        mask = _read_of_shape(path, radiograph.shape)
    except InputError:  # of another size or damaged: quickly made anew
        mask = None
    return coarse.coarse_mask(radiograph) if mask is None else _binary(mask)


def _binary(image: np.ndarray) -> Mask:
    return np.where(image > 0, np.uint8(255), np.uint8(0))


def _read_of_shape(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """An image of the radiograph's size; None if there is none.

    Raises:
        InputError: it cannot be read, or has another size.
    """
    if not path.exists():
        return None
    image = radiographs.read(path)
    if image.shape != shape:
        raise InputError(
            f"{path} must have the shape {shape} (got {image.shape}); it is not used"
        )
    return transforms.to_uint8(image)
