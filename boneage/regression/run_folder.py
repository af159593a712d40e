"""The run folder: what a training leaves, and reading it again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from boneage.errors import InputError
from boneage.ids import parse_id
from boneage.io import engine, keras_models
from boneage.io.files import atomic_write, read_json, write_json
from boneage.io.provenance import file_hash, provenance
from boneage.regression.hand_network import (
    FEATURES,
    LINEAR_UNIT,
    REPORTED,
    CompiledHandNetwork,
    HandNetwork,
    KerasHandNetwork,
)

if TYPE_CHECKING:
    import keras
    import pandas as pd

    from boneage.regression.dataset import HandDataset

TRAINED_BY = "al_segmentation/step4_regression_multi_gpu.py"

LAYERS = (FEATURES, LINEAR_UNIT)
"""What every network of `network.build_network` has by name."""


@dataclass(frozen=True)
class Run:
    """One folder: `model.keras`, `config.json`, `history.csv`, `predictions.csv`."""

    folder: Path

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def model(self) -> Path:
        """The network at its best validation epoch."""
        return self.folder / "model.keras"

    @property
    def config(self) -> Path:
        """The trained network's facts: what it expects, how it was made."""
        return self.folder / "config.json"

    @property
    def history(self) -> Path:
        """A row an epoch: its rate, training and validation loss, validation MAE."""
        return self.folder / "history.csv"

    @property
    def predictions(self) -> Path:
        """`id,split,is_male,bone_age_months,predicted_months`: validation and test."""
        return self.folder / "predictions.csv"

    @property
    def evaluation(self) -> Path:
        """Trainable layers and metrics of a stage or a conventional run."""
        return self.folder / "evaluation.json"

    @property
    def cam_history(self) -> Path:
        """Activation maps of the panel after each epoch (step4_regression_with_cam)."""
        return self.folder / "cam_history.h5"

    @property
    def cam(self) -> Path:
        """Overlays, contact sheet, page and video: step6_cam.py."""
        return self.folder / "cam"

    @property
    def tensorboard(self) -> Path:
        """Logs: tensorboard --logdir models/regression."""
        return self.folder / "tensorboard"

    def read_config(self) -> dict:
        """The run's facts; InputError when the run does not exist."""
        return read_json(self.config, TRAINED_BY)

    def load_model(self) -> keras.Model:
        """Load the network in Keras's safe mode, without its optimizer."""
        return keras_models.load(self.model, LAYERS, self._advice)

    def open_network(self, thread_count: int = 0) -> HandNetwork:
        """The network to predict with: compiled if it can be, else in Keras.

        thread_count: see `engine.compile_network`.

        Raises:
            InputError: it is missing, damaged, or none of this pipeline.
        """
        compiled = engine.compile_network(
            self.model, LAYERS, self._advice, thread_count, [REPORTED]
        )
        if compiled is not None:
            return CompiledHandNetwork(compiled)
        return KerasHandNetwork(self.load_model())

    @property
    def _advice(self) -> str:
        return f"train {self.name} again"

    def read_predictions(self, part: str | None = None) -> pd.DataFrame:
        """The predictions of `part` (validation or test), or all of them."""
        numbers = ("bone_age_months", "predicted_months")
        table = _read_table(self.predictions, numbers, ("id", "split", "is_male"))
        twice = table.id[table.id.duplicated()]
        if len(twice):
            raise InputError(
                f"{self.predictions}: id {twice.iloc[0]} must be unique (got it "
                f"twice); train {self.name} again"
            )
        return table if part is None else table[table.split == part]

    def read_history(self) -> pd.DataFrame:
        """A row an epoch."""
        return _read_table(self.history, ("epoch", "loss", "validation_mae"))

    def write_history(self, rows: Sequence[dict]) -> None:
        """Write history.csv anew, and add its newest row to TensorBoard's log."""
        import pandas as pd
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        with atomic_write(self.history) as temporary:
            pd.DataFrame(rows).to_csv(temporary, index=False)
        newest = rows[-1]
        values = [
            Summary.Value(tag=name, simple_value=newest[name])
            for name in sorted(newest.keys() - {"epoch", "seconds"})
        ]
        event = Event(step=newest["epoch"], wall_time=time.time())
        event.summary.value.extend(values)
        writer = EventFileWriter(str(self.tensorboard))
        writer.add_event(event)
        writer.close()

    def promote_checkpoint(self, epoch: int) -> None:
        """Finish what a process that was killed after a checkpoint began.

        `last_<epoch>.keras` alone decides up to which epoch the run has come. The best
        network so far, `best_<epoch>.keras`, then takes its name; what is of any other
        epoch goes.
        """
        for path in self.folder.glob("best_*.keras"):
            if path.name == f"best_{epoch}.keras":
                path.replace(self.model)
            else:
                path.unlink()
        for path in self.folder.glob("last_*.keras"):
            if path.name != f"last_{epoch}.keras":
                path.unlink()

    def write_predictions(self, table: pd.DataFrame) -> None:
        """Write predictions.csv atomically."""
        with atomic_write(self.predictions) as temporary:
            table.to_csv(temporary, index=False, float_format="%.3f")

    def write_config(self, facts: dict) -> None:
        """Write config.json: `facts` and where they come from."""
        write_json(self.config, facts | provenance())


def prediction_table(
    hands: HandDataset, part: str, predicted_months: np.ndarray
) -> pd.DataFrame:
    """Rows of predictions.csv, one a hand of a part."""
    import pandas as pd

    return pd.DataFrame(
        {
            "id": hands.cohort.ids,
            "split": part,
            "is_male": hands.cohort.is_male,
            "bone_age_months": hands.cohort.bone_age_months,
            "predicted_months": predicted_months,
        }
    )


@dataclass(frozen=True)
class ParentRun:
    """The training that another one continues.

    run: whose best network, head included, is gone on with; None for a new one.
    epochs: trained before; order and augmentation count on from there.
    """

    run: Run | None = None
    epochs: int = 0

    def facts(self) -> dict | None:
        """The parent's name, hash and epochs, for config.json."""
        if self.run is None:
            return None
        digest = file_hash(self.run.model)
        if digest is None:
            raise InputError(
                f"{self.run.model} cannot be found; remove {self.run.folder} and run "
                "the same command again"
            )
        return {"run": self.run.name, "model": digest, "epochs": self.epochs}


NO_PARENT = ParentRun()


def _read_table(
    path: Path, numbers: Sequence[str], others: Sequence[str] = ()
) -> pd.DataFrame:
    """Read one of a run's CSV files.

    Raises:
        InputError: missing, no CSV, or a column is missing or no number (NaN is one).
    """
    import pandas as pd

    if not path.is_file():
        raise InputError(f"{path} cannot be found; run {TRAINED_BY} first")
    try:
        table = pd.read_csv(path, converters={"id": parse_id})
    # no columns, no ids, rows of other lengths, not UTF-8: all of them ValueError
    except ValueError as error:
        raise InputError(
            f"{path} cannot be read ({error}); train the run again"
        ) from None
    for name in (*numbers, *others):
        if name not in table:
            raise InputError(f"{path} must have a column {name}; train the run again")
        if name in numbers and table[name].dtype.kind not in "iuf":
            raise InputError(
                f"{path}: {name} must be numbers (got text); train the run again"
            )
    return table


def finished_runs(folder: Path) -> list[Run]:
    """The runs below `folder` that have predictions, by name.

    Raises:
        InputError: there is none.
    """
    runs = [Run(path.parent) for path in sorted(folder.glob("*/predictions.csv"))]
    if not runs:
        raise InputError(
            f"{folder} must contain a finished run (got none); run {TRAINED_BY} first"
        )
    return runs


def run_summary(run: Run) -> list[str]:
    """Closing lines of a finished run: its error beside that of the training mean."""
    config, test = run.read_config(), run.read_predictions("test")
    error = (test.predicted_months - test.bone_age_months).abs().mean()
    constant = (config["age_mean_months"] - test.bone_age_months).abs().mean()
    return [
        f"best epoch {config['best_epoch']} of {config['settings']['epochs']}, "
        f"validation MAE {config['best_validation_mae']:.2f} months",
        f"test MAE {error:.2f} months on {len(test)} hands; always predicting the "
        f"training mean: {constant:.2f}",
    ]
