"""Keeps the activation maps of a few hands while a network trains."""

import keras
import numpy as np

from boneage.explanation.activation_maps import Explainer, append_panel, read_panel
from boneage.io.files import InputError
from boneage.regression.dataset import Hands
from boneage.regression.run_folder import Run


class PanelRecorder:
    """Called after each epoch: explains the same hands, and appends their maps."""

    def __init__(self, run: Run, hands: Hands, count: int) -> None:
        """Choose `count` of `hands`, spread evenly over their ages."""
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
                f"{self.path}: of another panel of hands; give the same --panel, or "
                "name another run with --run"
            )

    def __call__(self, model: keras.Model, epoch: int) -> None:
        """Explain the panel with `model` as it is after `epoch`, counted from 1."""
        # made once: every new one would be traced again, for seconds
        self.explainer = self.explainer or Explainer(model)
        size = self.explainer.image_size
        images = np.stack([self.hands.image(i, size) for i in range(len(self.hands))])
        cohort = self.hands.cohort
        shown = self.explainer(images, cohort.is_male, batch_size=len(images))
        append_panel(self.path, epoch, cohort.ids, shown.maps, shown.predicted_months)
