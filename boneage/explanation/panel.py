"""Records the activation maps of a few hands, the panel, while a network trains."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from boneage.errors import InputError
from boneage.explanation.activation_maps import Explainer
from boneage.ids import from_stored, to_stored
from boneage.io.files import atomic_write
from boneage.regression.dataset import HandDataset
from boneage.regression.run_folder import Run

if TYPE_CHECKING:
    import keras


class PanelRecorder:
    """A training callback that appends the panel's maps after each epoch."""

    def __init__(self, run: Run, hands: HandDataset, count: int) -> None:
        """Choose `count` of `hands`, spread evenly over their ages.

        Raises:
            InputError: the run has recorded another panel.
        """
        self.path = run.cam_history
        by_age = np.argsort(hands.cohort.bone_age_months, kind="stable")
        places = np.linspace(0, len(hands) - 1, min(count, len(hands)))
        self.hands = hands.select(
            np.isin(np.arange(len(hands)), by_age[places.round().astype(int)])
        )
        self.explainer: Explainer | None = None
        if self.path.exists() and not np.array_equal(
            read_panel(self.path).ids, self.hands.cohort.ids
        ):
            raise InputError(
                f"{self.path} cannot continue with another panel of hands; give the "
                "same --panel, or name another run with --run"
            )

    def __call__(self, model: keras.Model, epoch: int) -> None:
        """Explain the panel with `model` as it is after `epoch`, counted from 1."""
        # made once, because tracing a new one takes seconds
        self.explainer = self.explainer or Explainer(model)
        size = self.explainer.image_size
        images = np.stack([self.hands.image(i, size) for i in range(len(self.hands))])
        cohort = self.hands.cohort
        explanation = self.explainer(images, cohort.is_male, batch_size=len(images))
        append_panel(
            self.path,
            epoch,
            cohort.ids,
            explanation.maps,
            explanation.predicted_months,
        )


class Panel(NamedTuple):
    """The datasets epoch, id, map and predicted_months of cam_history.h5.

    epochs: (epoch,) int64, ascending. ids: (hand,). maps: (epoch, hand, row,
    column) float32, months. predicted_months: (epoch, hand) float32.
    """

    epochs: np.ndarray
    ids: np.ndarray
    maps: np.ndarray
    predicted_months: np.ndarray


def append_panel(
    path: Path,
    epoch: int,
    ids: np.ndarray,
    maps: np.ndarray,
    predicted_months: np.ndarray,
) -> None:
    """Add an epoch to the panel's file, which is replaced atomically.

    Stored epochs from `epoch` on are dropped, because a run that resumes from an older
    checkpoint trains them again.

    Args:
        path: cam_history.h5; created by the first call.
        epoch: number of the epoch, from 1.
        ids: (hand,), the same in every call.
        maps: (hand, row, column), months.
        predicted_months: (hand,).

    Raises:
        InputError: the file holds other hands, or maps of another size.
    """
    import h5py

    recorded = read_panel(path) if path.is_file() else None
    epochs, history, predictions = np.array([epoch]), maps[None], predicted_months[None]
    if recorded is not None:
        has_same_hands = np.array_equal(recorded.ids, ids)
        if not has_same_hands or recorded.maps.shape[1:] != maps.shape:
            raise InputError(
                f"{path} cannot continue with another panel of hands or another map "
                "size; remove it, or name another run with --run"
            )
        is_kept = recorded.epochs < epoch
        epochs = np.append(recorded.epochs[is_kept], epoch)
        history = np.concatenate([recorded.maps[is_kept], history])
        predictions = np.concatenate([recorded.predicted_months[is_kept], predictions])
    with atomic_write(path) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("epoch", data=epochs, dtype=np.int64)
        file.create_dataset("id", data=to_stored(ids.tolist()))
        file.create_dataset("map", data=history, dtype=np.float32)
        file.create_dataset("predicted_months", data=predictions, dtype=np.float32)


def read_panel(path: Path) -> Panel:
    """Read cam_history.h5.

    Raises:
        InputError: missing, not HDF5, or without the datasets.
    """
    import h5py

    if not path.is_file():
        raise InputError(
            f"{path} cannot be found; run "
            "al_segmentation/step4_regression_with_cam.py first"
        )
    try:
        with h5py.File(path) as file:
            names = ("epoch", "id", "map", "predicted_months")
            epochs, ids, *rest = (file[name][:] for name in names)
            return Panel(epochs, from_stored(ids), *rest)
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); remove it") from error
