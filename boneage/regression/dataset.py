"""The hands of a cohort, and which of them train, choose and test."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from boneage.cohort import excluded, table
from boneage.cohort.table import Cohort
from boneage.errors import InputError
from boneage.ids import RadiographId, ascending, is_among, row_indices, sort_ids
from boneage.io import hdf5, transforms
from boneage.io.hdf5 import PackedImages
from boneage.layout import Layout
from boneage.regression.label_distribution import MONTHS
from boneage.regression.settings import RegressionSettings

HANDS_BY = "al_segmentation/step3_gen_segmentation_with_enhance.py"


@dataclass(frozen=True)
class HandDataset:
    """A part of the cohort with its rows of the packed file.

    rows: (hand,) int64, row of each radiograph of `cohort` in `packed.images`.
    """

    packed: PackedImages
    rows: np.ndarray
    cohort: Cohort

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, chosen: np.ndarray) -> "HandDataset":
        """Keep the hands where `chosen`, (n,) bool, holds; or at places, int."""
        return HandDataset(self.packed, self.rows[chosen], self.cohort.select(chosen))

    def image(self, index: int, size: int) -> np.ndarray:
        """One hand, (size, size) uint8."""
        return transforms.resize(np.asarray(self.packed.images[self.rows[index]]), size)


def select_hands(
    layout: Layout, part: str, ids: Sequence[RadiographId] = (), sex: str = "all"
) -> tuple[HandDataset, np.ndarray]:
    """Select packed hands, those of unknown age too; print how many are left out.

    Args:
        layout: of the cohort; nothing is written, not even split.csv.
        part: one of `table.PARTS`, or "all".
        ids: these hands, whatever their part; empty for all of the part.
        sex: all, male or female.

    Returns:
        The hands, ascending by id, and the part of each, (hand,), one of
        `table.PARTS`, or "" if split.csv does not name it.

    Raises:
        InputError: a file is missing, an id is not in it, or no hand is left.
    """
    packed = hdf5.open_packed(layout.hands_h5, HANDS_BY)
    cohort, _ = table.read_with_test(layout)
    cohort = cohort.select(ascending(cohort.ids))
    for path, path_ids in (
        (layout.train_csv, cohort.ids),
        (layout.hands_h5, packed.ids),
    ):
        absent = sort_ids(set(ids) - set(path_ids.tolist()))
        if absent:
            raise InputError(f"{path} must contain id {absent[0]}; change --ids")
    parts = np.full(len(cohort), "", dtype=object)
    if layout.split_csv.exists():
        known, of_known = table.split_cohort(layout)
        parts[row_indices(cohort.ids, known.ids)] = of_known
    elif part != "all" and not len(ids):
        raise InputError(
            f"{layout.split_csv} cannot be found; give --part all, or --ids"
        )
    is_wanted = is_among(cohort.ids, ids) if len(ids) else np.isin(parts, [part])
    if part == "all" and not len(ids):
        is_wanted[:] = True
    is_packed = is_among(cohort.ids, packed.ids.tolist())
    is_of_sex = (cohort.is_male == (sex == "male")) | (sex == "all")
    for is_kept, why in ((is_packed, "have no hand"), (is_of_sex, f"are not {sex}")):
        if not is_kept[is_wanted].all():
            out = np.count_nonzero(~is_kept[is_wanted])
            print(f"{out} of {np.count_nonzero(is_wanted)} {why}: left out")
    chosen = is_wanted & is_packed & is_of_sex
    if not chosen.any():
        raise InputError(
            f"{layout.data} must contain a hand to show (got none for "
            f"{list(ids) or part}, sex {sex}); choose others"
        )
    cohort = cohort.select(chosen)
    return HandDataset(packed, packed.row_indices(cohort.ids), cohort), parts[chosen]


def split_hash_on_disk(layout: Layout) -> str | None:
    """The hash of the cohort's split, None where none has been drawn."""
    if not layout.split_csv.exists():
        return None
    cohort, of_cohort = table.split_cohort(layout)
    return table.split_hash(cohort.ids, of_cohort)


@dataclass(frozen=True)
class DataSplits:
    """The hands to train on, to choose the best epoch with, and to report."""

    train: HandDataset
    validation: HandDataset
    test: HandDataset
    split_hash: str

    @property
    def hands_hash(self) -> str:
        """Hash of the ids in each part: of one sex, and only those that are packed."""
        parts = {name: getattr(self, name).cohort.ids for name in table.PARTS}
        names = np.repeat(list(parts), [len(ids) for ids in parts.values()])
        return table.split_hash(np.concatenate(list(parts.values())), names)

    @property
    def content_hash(self) -> str:
        """Hash of the images in each part."""
        hashes = self.train.packed.image_hashes
        hands = [getattr(self, name) for name in table.PARTS]
        ids = np.concatenate([part.cohort.ids for part in hands])
        return table.split_hash(ids, hashes[np.concatenate([p.rows for p in hands])])

    def has_other_content(self, config: dict) -> bool:
        """Whether a run with this config.json saw other images (if known)."""
        return len({config.get("content_hash"), self.content_hash} - {None}) > 1

    @classmethod
    def read(cls, layout: Layout, settings: RegressionSettings) -> "DataSplits":
        """Read the packed hands and the split.

        Raises:
            InputError: a file is missing, a part is empty, or hands lack an age.
        """
        packed = hdf5.open_packed(layout.hands_h5, HANDS_BY)
        cohort, parts = table.split_cohort(
            layout, settings.seed, settings.validation_fraction, settings.test_fraction
        )
        split_hash = table.split_hash(cohort.ids, parts)
        chosen = is_among(cohort.ids, packed.ids.tolist())
        if not chosen.all():
            print(
                f"{layout.hands_h5}: {np.count_nonzero(~chosen)} of {len(cohort)} "
                "radiographs have no hand there and are left out"
            )
        is_flagged = is_among(cohort.ids, excluded.flagged(layout))
        if (chosen & is_flagged).any():
            print(
                f"{layout.unusable}: {np.count_nonzero(chosen & is_flagged)} flagged "
                "radiographs are left out"
            )
            chosen &= ~is_flagged
        if settings.sex != "all":
            chosen &= cohort.is_male == (settings.sex == "male")
        cohort, parts = cohort.select(chosen), parts[chosen]
        oldest = cohort.bone_age_months.max(initial=0)
        if settings.loss == "distribution" and oldest >= MONTHS:
            raise InputError(
                f"{layout.train_csv} must have bone ages below {MONTHS} months for "
                f"--loss distribution (got {oldest:g}); give --loss mae"
            )
        hands = HandDataset(packed, packed.row_indices(cohort.ids), cohort)
        for part in table.PARTS:
            if not np.any(parts == part):
                raise InputError(
                    f"{layout.hands_h5} must contain hands of the {part} part, sex "
                    f"{settings.sex} (got none); make them, or remove "
                    f"{layout.split_csv} to draw a new split"
                )
        train, validation, test = (hands.select(parts == p) for p in table.PARTS)
        return cls(train, validation, test, split_hash)
