"""The hands of a cohort, and which of them train, choose and test."""

from dataclasses import dataclass

import numpy as np

from boneage import cohort as cohorts
from boneage import hdf5, radiographs
from boneage.cohort import Cohort
from boneage.files import InputError
from boneage.hdf5 import Packed
from boneage.layout import Layout
from boneage.regression.settings import RegressionSettings


@dataclass(frozen=True)
class Hands:
    """A part of the cohort with its rows of the packed file.

    rows: (hand,) int64, row of each radiograph of `cohort` in `packed.images`.
    """

    packed: Packed
    rows: np.ndarray
    cohort: Cohort

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, chosen: np.ndarray) -> "Hands":
        """Keep the hands where `chosen`, (hand,) bool, holds."""
        return Hands(self.packed, self.rows[chosen], self.cohort.select(chosen))

    def image(self, index: int, size: int) -> np.ndarray:
        """One hand, (size, size) uint8."""
        return radiographs.resize(
            np.asarray(self.packed.images[self.rows[index]]), size
        )


@dataclass(frozen=True)
class Parts:
    """The hands to train on, to choose the best epoch with, and to report."""

    train: Hands
    validation: Hands
    test: Hands
    split_hash: str

    @classmethod
    def read(cls, layout: Layout, settings: RegressionSettings) -> "Parts":
        """Read the packed hands and the split.

        Raises:
            InputError: a file is missing, a part is empty, or hands lack an age.
        """
        packed = hdf5.read(
            layout.hands_h5, "al_segmentation/step3_gen_segmentation_with_enhance.py"
        )
        cohort, parts = cohorts.split(
            layout, settings.seed, settings.validation_fraction, settings.test_fraction
        )
        split_hash = cohorts.split_hash(cohort.ids, parts)
        chosen = np.isin(cohort.ids, packed.ids)
        if not chosen.all():
            print(
                f"{layout.hands_h5}: {np.count_nonzero(~chosen)} of {len(cohort)} "
                "radiographs have no hand there and are left out"
            )
        if settings.sex != "all":
            chosen &= cohort.is_male == (settings.sex == "male")
        cohort, parts = cohort.select(chosen), parts[chosen]
        hands = Hands(packed, packed.rows_of(cohort.ids), cohort)
        for part in cohorts.PARTS:
            if not np.any(parts == part):
                raise InputError(
                    f"{layout.split_csv}: no hand of the {part} part (sex "
                    f"{settings.sex}) in {layout.hands_h5.name}"
                )
        return cls(*(hands.select(parts == p) for p in cohorts.PARTS), split_hash)
