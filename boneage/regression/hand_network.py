"""A trained network as predictions and activation maps see it: on Keras, or compiled.

Both give the maps of the last features and what the linear unit makes of their mean.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from boneage.regression.label_distribution import MONTHS

if TYPE_CHECKING:
    import keras

    from boneage.io.engine import CompiledNetwork

FEATURES = "cam_features"
"""The layer whose maps the linear units average, in every network."""

LINEAR_UNIT = "linear_unit"
"""The layer that weighs the pooled features; with FEATURES it gives the maps.

One unit, in standard deviations of age, or the MONTHS logits of a distribution.
"""

REPORTED = "bone_age_months"
"""The last layer: months."""


class FeatureMaps(NamedTuple):
    """features: (N, row, column, channel) float32. units: (N, unit) float32."""

    features: np.ndarray
    units: np.ndarray


class HandNetwork(abc.ABC):
    """What a network of `network.build_network` computes of hands.

    config: its description, `keras.Model.get_config`.
    """

    def __init__(self, config: dict) -> None:
        self.config = config
        self._layers = {layer["name"]: layer for layer in config["layers"]}

    @property
    def image_size(self) -> int:
        """Side of the hands, px."""
        return self._layers["image"]["config"]["batch_shape"][1]

    @property
    def takes_sex(self) -> bool:
        """Whether the sex is an input."""
        return "is_male" in self._layers

    @property
    def rescaling(self) -> tuple[float, float] | None:
        """Months for one unit of the linear unit, and at 0; None for a distribution."""
        if self._layers[LINEAR_UNIT]["config"]["units"] == MONTHS:
            return None
        options = self._layers[REPORTED]["config"]
        return options["scale"], options["offset"]

    @property
    def backbone(self) -> dict:
        """Description of the network that makes the features.

        Raises:
            StopIteration: there is none.
        """
        layers = self.config["layers"]
        return next(x["config"] for x in layers if x["class_name"] == "Functional")

    @abc.abstractmethod
    def head_weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Kernel (input, unit) and intercept (unit,) of the linear unit."""

    @abc.abstractmethod
    def logit_months(self) -> np.ndarray:
        """Months that the logits of a distribution stand for, (MONTHS,)."""

    @abc.abstractmethod
    def _run(self, fed: dict[str, np.ndarray]) -> FeatureMaps: ...

    def __call__(self, images: np.ndarray, is_male: np.ndarray) -> FeatureMaps:
        """One forward pass.

        images: (N, size, size) uint8. is_male: (N,) bool.
        """
        fed = {"image": images[..., np.newaxis].astype(np.float32)}
        if self.takes_sex:
            fed["is_male"] = is_male.astype(np.float32)[:, np.newaxis]
        return self._run(fed)


class KerasHandNetwork(HandNetwork):
    """In Keras; each call computes with the weights as they are then."""

    def __init__(self, model: keras.Model) -> None:
        """Take a network of `network.build_network`, loaded or in training.

        Raises:
            ValueError: it lacks a layer of these networks.
        """
        import keras

        super().__init__(model.get_config())
        self._unit = model.get_layer(LINEAR_UNIT)
        # in training, a distribution's logits are what the network puts out
        self._reported = next((x for x in model.layers if x.name == REPORTED), None)
        self._model = keras.Model(
            model.inputs, [model.get_layer(FEATURES).output, self._unit.output]
        )

    def head_weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Kernel (input, unit) and intercept (unit,) of the linear unit."""
        kernel, intercept = (np.asarray(w) for w in self._unit.get_weights())
        return kernel, intercept

    def logit_months(self) -> np.ndarray:
        """Months that the logits of a distribution stand for, (MONTHS,)."""
        if self._reported is None:
            return np.arange(MONTHS, dtype=np.float32)
        return np.asarray(self._reported.get_weights()[0])[:, 0]

    def _run(self, fed: dict[str, np.ndarray]) -> FeatureMaps:
        return FeatureMaps(*self._model.predict_on_batch(fed))


class CompiledHandNetwork(HandNetwork):
    """Compiled from a file, without Keras."""

    def __init__(self, network: CompiledNetwork) -> None:
        """Take a network that puts out FEATURES and LINEAR_UNIT.

        It keeps the weights of REPORTED.
        """
        super().__init__(network.config)
        self._network = network

    def head_weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Kernel (input, unit) and intercept (unit,) of the linear unit."""
        kernel, intercept = self._network.weights[LINEAR_UNIT]
        return kernel, intercept

    def logit_months(self) -> np.ndarray:
        """Months that the logits of a distribution stand for, (MONTHS,)."""
        return self._network.weights[REPORTED][0][:, 0]

    def _run(self, fed: dict[str, np.ndarray]) -> FeatureMaps:
        return FeatureMaps(*self._network(fed))
