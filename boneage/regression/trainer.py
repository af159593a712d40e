"""Fine-tuning one network: from the packed hands to a finished run folder."""

import functools
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from boneage.errors import InputError
from boneage.io import keras_models, provenance
from boneage.io.files import atomic_write
from boneage.regression import backbones, inference, label_distribution, run_folder
from boneage.regression.batches import TrainingBatches
from boneage.regression.dataset import DataSplits, HandDataset
from boneage.regression.devices import chosen_devices, make_deterministic
from boneage.regression.learning_rate import RateByStep, StopAfterEpoch, learning_rate
from boneage.regression.losses import LOSSES
from boneage.regression.network import (
    build_network,
    feed_dict,
    freeze_and_compile,
    logits_model,
    months_model,
    trainable_layers,
)
from boneage.regression.settings import TrainingSettings

LOSS_SCALE = 1.0
"""At the start of a float16 training. A loss in months has large gradients: at Keras's
32768 they overflow, and the first steps would be skipped until it has halved enough."""
LOSS_SCALE_STEPS = 200
"""Finite ones after which the scale doubles, in place of Keras's 2000."""

AfterEpoch = Callable[[keras.Model, int], None]


class Training:
    """One run: builds or reloads the network, trains, keeps the best epoch.

    `last_<epoch>.keras` is the whole state of training after that epoch, written every
    few minutes; `history.csv` has a row an epoch. A killed run goes on from the newest
    `last`, with the rows up to it.
    """

    def __init__(
        self,
        run: run_folder.Run,
        settings: TrainingSettings,
        splits: DataSplits,
        parent: run_folder.ParentRun = run_folder.NO_PARENT,
    ) -> None:
        """Prepare the network of epoch 0, or reload the last checkpoint."""
        self.run, self.settings, self.splits = run, settings, splits
        self.parent = parent
        self.size = settings.image_size or backbones.BACKBONES[settings.model].size
        self.run.folder.mkdir(parents=True, exist_ok=True)
        keras.utils.set_random_seed(settings.seed)
        if settings.deterministic:
            make_deterministic()
        self.scope = chosen_devices(settings.devices)
        self.history: list[dict] = []
        with self.scope:
            self.model = self._resume() or self._begin()
        replicas = self.scope.replicas
        # every device takes as many hands of a batch as the others
        batch_size = min(settings.batch_size, len(splits.train) // replicas) * replicas
        if batch_size == 0:
            raise InputError(
                f"--devices must be at most {len(splits.train)}, the hands to train on "
                f"(got {replicas})"
            )
        self.batches = TrainingBatches(
            self.splits.train,
            functools.partial(feed_dict, self.model),
            self.size,
            batch_size,
            settings.augmentation,
            settings.seed,
            settings.workers,
            (self.scope.index, self.scope.processes),
            settings.mirrored_share,
        )

    @property
    def writes(self) -> bool:
        """Whether this process is the one that leaves files."""
        return self.scope.index == 0

    @property
    def ages(self) -> np.ndarray:
        """Bone ages of the training part, months."""
        return self.splits.train.cohort.bone_age_months

    @property
    def age_scale(self) -> tuple[float, float]:
        """Mean and deviation of these, months; not below 1 for one hand's sake."""
        return float(np.mean(self.ages)), float(max(np.std(self.ages), 1))

    def _begin(self) -> keras.Model:
        """Compile the network of epoch 0."""
        settings, parent = self.settings, self.parent.run
        network = self._build() if parent is None else parent.load_model()
        model = logits_model(network)
        optimizer = keras.optimizers.Adam(settings.learning_rate)
        if settings.mixed_precision == "float16":
            optimizer = keras.optimizers.LossScaleOptimizer(
                optimizer, LOSS_SCALE, LOSS_SCALE_STEPS
            )
        freeze_and_compile(
            model,
            settings.model,
            settings.fine_tune_from,
            optimizer,
            LOSSES[settings.loss](),
            settings.batch_norm == "frozen",
        )
        return model

    def _build(self) -> keras.Model:
        settings = self.settings
        precision = settings.mixed_precision
        keras.config.set_dtype_policy(
            "float32" if precision == "none" else f"mixed_{precision}"
        )
        age_mean, age_deviation = self.age_scale
        model = build_network(
            settings.model,
            self.size,
            settings.weights,
            sex_input=settings.uses_sex,
            age_mean_months=age_mean,
            age_deviation_months=age_deviation,
            batch_norm_momentum=settings.batch_norm_momentum,
            with_distribution=settings.loss == "distribution",
            map_stride=settings.map_stride,
        )
        keras.config.set_dtype_policy("float32")
        return model

    def _resume(self) -> keras.Model | None:
        """Reload the newest checkpoint and the history up to it, if there is one."""
        saved = {
            int(path.stem.removeprefix("last_")): path
            for path in self.run.folder.glob("last_*.keras")
        }
        epoch = max(saved, default=0)
        if self.writes:
            self.run.promote_checkpoint(epoch)
        if not saved:
            return None
        rows = self.run.read_history().to_dict("records")
        self.history = [row for row in rows if row["epoch"] <= epoch]
        print(f"resuming after epoch {epoch}")
        advice = f"remove {self.run.folder} and train again"
        return keras_models.load(
            saved[epoch], run_folder.LAYERS, advice, with_optimizer=True
        )

    @property
    def best(self) -> dict | None:
        """The row of the epoch with the lowest validation MAE so far, NaN last."""
        return min(
            self.history,
            key=lambda row: np.nan_to_num(row["validation_mae"], nan=np.inf),
            default=None,
        )

    def train(self, after_epoch: AfterEpoch | None = None) -> None:
        """Train the remaining epochs; `after_epoch(model, epoch)` follows each.

        Ends early after `patience` epochs without a lower validation MAE, and leaves
        the run folder complete.
        """
        settings, splits, saved_at = self.settings, self.splits, time.monotonic()
        print(
            f"{len(splits.train)} hands to train on, {len(splits.validation)} to "
            f"choose the best epoch, {len(splits.test)} to test; on {self.scope.names}"
        )
        self._write_config()
        best_weights = None
        for epoch in range(len(self.history), settings.epochs):
            if self.best and epoch - self.best["epoch"] >= settings.patience:
                print(f"no better epoch for {settings.patience}: stopping")
                break
            row = self._epoch(epoch)
            self.history.append(row)
            if row is self.best:
                best_weights = self.model.get_weights()
            if self.writes:
                self.run.write_history(self.history)
            if after_epoch is not None:
                after_epoch(self.scope.evaluation_model(self.model), row["epoch"])
            if time.monotonic() - saved_at > settings.checkpoint_minutes * 60:
                self._checkpoint(best_weights)
                best_weights, saved_at = None, time.monotonic()
        # nothing is trained again from here on, with another outcome
        self._checkpoint(best_weights)
        self._finish()

    def _epoch(self, epoch: int) -> dict:
        """Train one epoch, counted from 0, and validate; its row of the history."""
        start, steps = time.monotonic(), len(self.batches)
        self.batches.start_epoch(self.parent.epochs + epoch)
        rate = functools.partial(learning_rate, self.settings, steps)
        with self.scope:
            fitted = self.model.fit(
                self.batches,
                initial_epoch=epoch,
                epochs=self.settings.epochs,
                shuffle=False,  # the batches are in this epoch's order already
                callbacks=[RateByStep(rate, epoch * steps), StopAfterEpoch()],
                verbose=1 if sys.stdout.isatty() else 2,
            )
        validation = self.splits.validation
        outputs = self.outputs(self.scope.evaluation_model(self.model), validation)
        true = validation.cohort.bone_age_months
        mae = self.scope.broadcast(
            np.abs(label_distribution.expected_months(outputs) - true).mean()
        )
        loss = keras.losses.get(LOSSES[self.settings.loss]())
        losses = keras.ops.convert_to_numpy(loss(true[:, np.newaxis], outputs))
        seconds = time.monotonic() - start
        print(f"validation MAE {mae:.2f} months, {seconds:.0f} s")
        return {
            "epoch": epoch + 1,
            "learning_rate": rate(epoch * steps),
            "loss": float(fitted.history["loss"][0]),
            "validation_loss": float(losses.mean()),
            "validation_mae": float(mae),
            "seconds": round(seconds, 1),
        }

    def outputs(self, model: keras.Model, hands: HandDataset) -> np.ndarray:
        """What the network, or its trained part, puts out: (hand, output) float32."""
        return inference.outputs(model, hands, self.size, 2 * self.settings.batch_size)

    def _checkpoint(self, best_weights: list[np.ndarray] | None) -> None:
        """Write the whole state after this epoch, and the best network if it is new."""
        epoch = self.history[-1]["epoch"]
        last = self.run.folder / f"last_{epoch}.keras"
        if not self.writes or last.exists():
            return
        if best_weights is not None:
            self._save_best(best_weights, self.run.folder / f"best_{epoch}.keras")
        with atomic_write(last) as temporary:
            self.model.save(temporary)
        self.run.promote_checkpoint(epoch)

    def _save_best(self, weights: list[np.ndarray], path: Path) -> None:
        """Write the network with `weights`, the best epoch's."""
        model = self.scope.evaluation_model(self.model)
        current = model.get_weights()
        model.set_weights(weights)
        # the same layers in a model that was never compiled: saved without optimizer
        network = months_model(
            keras.Model(model.inputs, model.outputs, name="bone_age")
        )
        with atomic_write(path) as temporary:
            network.save(temporary)
        model.set_weights(current)

    def _write_config(self) -> None:
        """Write the run's facts; the best epoch's once there is one."""
        if not self.writes:
            return
        settings, best = self.settings, self.best or {}
        self.run.write_config(
            {
                "backbone": settings.model,
                "image_size": self.size,
                "preprocessing": self.splits.train.packed.preprocessing,
                "sex": settings.sex,
                "sex_input": settings.uses_sex,
                "age_mean_months": self.age_scale[0],
                "age_deviation_months": self.age_scale[1],
                "age_range_months": [float(self.ages.min()), float(self.ages.max())],
                "training_hands": len(self.ages),
                "split_hash": self.splits.split_hash,
                "hands_hash": self.splits.hands_hash,
                "content_hash": self.splits.content_hash,
                "weights_hash": provenance.file_hash(settings.weights),
                "parent": self.parent.facts(),
                "trainable_layers": trainable_layers(self.model, settings.model),
                "trainable_parameters": sum(
                    int(np.prod(weight.shape))
                    for weight in self.model.trainable_weights
                ),
                "best_epoch": best.get("epoch"),
                "best_validation_mae": best.get("validation_mae"),
                "settings": asdict(settings),
            }
        )

    def _finish(self) -> None:
        """Predict validation and test with the best epoch; remove the checkpoint."""
        if not self.writes:
            return
        model = self.run.load_model()
        tables = []
        for part in ("validation", "test"):
            hands: HandDataset = getattr(self.splits, part)
            predicted = label_distribution.expected_months(self.outputs(model, hands))
            tables.append(run_folder.prediction_table(hands, part, predicted))
        self._write_config()
        self.run.write_predictions(pd.concat(tables))
        for path in self.run.folder.glob("last_*.keras"):
            path.unlink()
