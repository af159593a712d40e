"""A folder of trained models to give away: half the size, with what is known of them.

Weights are stored in 16 bits: Keras reads them into the network's own 32, so that the
file is loaded and computes like any other.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
from tqdm import tqdm

from boneage.cohort.table import Cohort
from boneage.errors import InputError
from boneage.io import hdf5
from boneage.io.files import atomic_write, read_json, write_json
from boneage.layout import STATE_JSON, Layout
from boneage.prediction import test_time_augmentation
from boneage.prediction.model_card import ExportedRun, write_card
from boneage.prediction.model_selection import select_ensembles
from boneage.prediction.predictor import Predictor
from boneage.regression import inference
from boneage.regression.dataset import HANDS_BY, HandDataset
from boneage.regression.run_folder import Run

if TYPE_CHECKING:
    import keras
    import pandas as pd

WEIGHTS = "model.weights.h5"
"""What the archive of a `.keras` file calls its weights."""
BATCH_SIZE = 32


def to_single_precision(model: keras.Model, config: dict) -> keras.Model:
    """The same network, computing in 32 bits whatever it was trained in.

    bfloat16 takes many times as long on processors that were not made for it.
    """
    from boneage.regression import network

    single = network.build_network(
        config["backbone"],
        config["image_size"],
        "none",
        network.takes_sex(model),
        config["age_mean_months"],
        config["age_deviation_months"],
        with_distribution=network.has_distribution(model),
    )
    single.set_weights(model.get_weights())
    return single


def save_float16(model: keras.Model, path: Path) -> None:
    """Write a network, without optimizer, with weights in 16 bits.

    A weight beyond what 16 bits hold (65504, as variances of batch norm may be) keeps
    its 32, and with it the others of its array.
    """
    import keras

    bare = keras.Model(model.inputs, model.outputs, name=model.name)
    with atomic_write(path) as temporary:
        bare.save(temporary)
        with zipfile.ZipFile(temporary) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        parts[WEIGHTS] = _weights_in_float16(parts[WEIGHTS])
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in parts.items():
                archive.writestr(name, content)


def _weights_in_float16(content: bytes) -> bytes:
    """Weights in HDF5 with every array of 32 bits that fits in 16."""
    converted = io.BytesIO()
    with h5py.File(io.BytesIO(content)) as source, h5py.File(converted, "w") as target:

        def convert(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Group):
                place = target.require_group(name)
            else:
                values = item[()]
                largest = np.finfo(np.float16).max
                if (
                    values.dtype == np.float32
                    and np.abs(values).max(initial=0) < largest
                ):
                    values = values.astype(np.float16)
                place = target.create_dataset(name, data=values)
            place.attrs.update(item.attrs)

        target.attrs.update(source.attrs)
        source.visititems(convert)
    return converted.getvalue()


def export_models(
    layout: Layout,
    chosen: Sequence[Run],
    out: Path,
    training_data: str,
    terms: str,
    view_count: int,
    failures: str = "",
) -> list[ExportedRun]:
    """Write committee, runs and model card into a folder laid out as models.

    layout: where the committee and segment_all.h5 lie. The others as in `export_run`
    and `write_card`.

    Raises:
        InputError: something is missing, or would be written over itself.
    """
    target = Layout(layout.data, out)
    sources = {layout.committee.resolve(), *(run.folder.resolve() for run in chosen)}
    targets = {target.committee, *(target.regression / run.name for run in chosen)}
    if sources & {folder.resolve() for folder in targets}:
        raise InputError(f"--out {out}: holds the models that are to be packed")
    names = [run.name for run in chosen]
    if len(set(names)) < len(names):
        raise InputError(f"--runs: two of one name, {', '.join(sorted(names))}")
    # of one split, and whole: before anything is replaced
    select_ensembles(layout, [str(run.folder.absolute()) for run in chosen], 1)
    export_committee(layout.committee, target.committee)
    exported = [
        export_run(
            run,
            Run(target.regression / run.name),
            layout,
            training_data,
            view_count,
        )
        for run in chosen
    ]
    predictor = Predictor(target, names, view_count)
    write_card(out / "README.md", predictor, exported, terms, failures)
    return exported


def export_committee(source: Path, target: Path) -> None:
    """Write a committee in 16 bits, and what a reader needs of its state.

    Raises:
        InputError: no committee there.
    """
    from boneage.segmentation.committee import Committee

    committee = Committee.load(source)
    # that of an earlier call would stand for members half replaced
    (target / STATE_JSON).unlink(missing_ok=True)
    for number, member in enumerate(committee.members):
        save_float16(member, target / f"member_{number}.keras")
    state = read_json(source / STATE_JSON, "step2_interactive_segmentation.py")
    facts = ("epoch", "members", "clip_limit", "settings")
    # last: without it there is no committee
    write_json(
        target / STATE_JSON, {name: state[name] for name in facts if name in state}
    )


def export_run(
    run: Run, target: Run, hands_of: Layout, training_data: str, view_count: int
) -> ExportedRun:
    """Write a run in 16 bits, with the predictions of the network as it is shipped.

    Args:
        run: a finished one.
        target: its new folder.
        hands_of: where segment_all.h5 holds the hands that it was measured on.
        training_data: what it was trained on, in words.
        view_count: the hands are predicted in so many views, too, for intervals.

    Raises:
        InputError: the hands are missing, or are others.
    """
    config, table = run.read_config(), run.read_predictions()
    hands = _hands(hands_of, run, config, table)
    model = run.load_model()
    # those of an earlier call would stand for another network
    target.predictions.unlink(missing_ok=True)
    save_float16(to_single_precision(model, config), target.model)
    size, exported = config["image_size"], target.load_model()
    before = inference.predict(model, hands, size, BATCH_SIZE)
    after = inference.predict(exported, hands, size, BATCH_SIZE)
    changes = np.abs(after - before)
    if not np.isfinite(changes).all():
        raise InputError(f"{run.model}: predicts no numbers; train it again")
    table = table.assign(predicted_months=after)
    if view_count > 1:
        mirrored = test_time_augmentation.trained_with_flips(config)
        table[test_time_augmentation.prediction_column(view_count)] = _predict_views(
            exported, hands, size, view_count, mirrored
        )
    target_config = _without_folders(config) | {"training_data": training_data}
    write_json(target.config, target_config)
    # last: a run with predictions is a finished one
    target.write_predictions(table)
    return ExportedRun(
        run.name, float(changes.max()), float(changes.mean()), len(changes)
    )


def _without_folders(config: dict) -> dict:
    """The facts, where weights came from a file with its name alone: its hash is there.

    Folders tell of whose machine it was trained on.
    """
    settings = config["settings"]
    weights = Path(settings["weights"]).name
    return config | {"settings": settings | {"weights": weights}}


def _hands(layout: Layout, run: Run, config: dict, table: pd.DataFrame) -> HandDataset:
    """The hands of a run's predictions, as they were when it was trained."""
    packed = hdf5.open_packed(layout.hands_h5, HANDS_BY)
    if packed.preprocessing != config["preprocessing"]:
        raise InputError(
            f"{layout.hands_h5} must hold hands made as those that {run.name} was "
            f"trained on (got {hdf5.preprocessing_in_words(packed.preprocessing)}, not "
            f"{hdf5.preprocessing_in_words(config['preprocessing'])}); make them again "
            "that way"
        )
    absent = np.setdiff1d(table.id, packed.ids)
    if len(absent):
        raise InputError(f"{layout.hands_h5}: no hand of id {absent[0]} of {run.name}")
    of_table = Cohort(
        table.id.to_numpy(),
        table.bone_age_months.to_numpy(float),
        table.is_male.to_numpy(bool),
    )
    return HandDataset(packed, packed.row_indices(of_table.ids), of_table)


def _predict_views(
    model: keras.Model, hands: HandDataset, size: int, view_count: int, mirrored: bool
) -> np.ndarray:
    """The mean of what is said of each hand's views, (hand,) float32."""
    months = []
    for index in tqdm(range(len(hands)), f"{view_count} views", disable=None):
        views = test_time_augmentation.make_views(
            hands.image(index, size), view_count, mirrored
        )
        is_male = hands.cohort.is_male[[index] * len(views)]
        predicted = inference.predict_images(model, views, is_male, view_count)
        months.append(predicted.mean())
    return np.array(months, np.float32)


def size_mb(folder: Path) -> float:
    """Of all files below a folder, in millions of bytes."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6
