"""Export trained models to a folder to give away: half the size, with a model card.

Weights are stored in 16 bits. Keras loads them into the network's own 32 bits, so that
the file loads and computes like any other.
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
from boneage.ids import id_array, sort_ids
from boneage.io import hdf5
from boneage.io.files import atomic_write, read_json, write_json
from boneage.layout import STATE_JSON, Layout
from boneage.prediction import test_time_augmentation
from boneage.prediction.model_selection import select_ensembles
from boneage.prediction.predictor import Predictor
from boneage.regression import age_bias, inference
from boneage.regression.dataset import HANDS_BY, HandDataset
from boneage.regression.run_folder import Run
from boneage.reporting.model_card import ExportedRun, write_card

if TYPE_CHECKING:
    import keras
    import pandas as pd

WEIGHTS = "model.weights.h5"
"""Name of the weights in the archive that a `.keras` file is."""
BATCH_SIZE = 32
CORRECTION = "age_bias_correction"
"""Fact of a run whose predictions were corrected, see `age_bias`."""


def to_single_precision(model: keras.Model, config: dict) -> keras.Model:
    """The same network, computing in 32 bits whatever it was trained in.

    bfloat16 takes many times as long on processors without support for it.
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
        map_stride=config["settings"].get("map_stride", 32),
    )
    single.set_weights(model.get_weights())
    return single


def save_float16(model: keras.Model, path: Path) -> None:
    """Write a network, without optimizer, with weights in 16 bits.

    An array with a value beyond the range of 16 bits (65504; variances of batch norm
    may be larger) keeps its 32 bits.
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
    """Convert the arrays of an HDF5 file of weights to 16 bits where they fit."""
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
    bias_correction: float = 0.0,
) -> list[ExportedRun]:
    """Write committee, runs and model card into a folder laid out as models.

    layout: with the committee and segment_all.h5. The other arguments are those of
    `export_run` and `write_card`.

    Raises:
        InputError: something is missing, or would overwrite itself.
    """
    target = Layout(layout.data, out)
    sources = {layout.committee.resolve(), *(run.folder.resolve() for run in chosen)}
    targets = {target.committee, *(target.regression / run.name for run in chosen)}
    if sources & {folder.resolve() for folder in targets}:
        raise InputError(
            f"--out {out} would overwrite the models to export; choose another folder"
        )
    names = [run.name for run in chosen]
    if len(set(names)) < len(names):
        raise InputError(
            f"--runs must have different names (got {', '.join(sorted(names))}); "
            "rename a folder"
        )
    # checks that they share a split and are complete, before anything is replaced
    select_ensembles(layout, [str(run.folder.absolute()) for run in chosen], 1)
    export_committee(layout.committee, target.committee)
    exported = [
        export_run(
            run,
            Run(target.regression / run.name),
            layout,
            training_data,
            view_count,
            bias_correction,
        )
        for run in chosen
    ]
    predictor = Predictor(target, names, view_count)
    write_card(out / "README.md", predictor, exported, terms, failures)
    return exported


def export_committee(source: Path, target: Path) -> None:
    """Write a committee in 16 bits, and the part of its state that prediction needs.

    Raises:
        InputError: there is no committee in `source`.
    """
    from boneage.segmentation.committee import Committee

    committee = Committee.load(source)
    # an earlier one would belong to other members while they are replaced
    (target / STATE_JSON).unlink(missing_ok=True)
    for number, member in enumerate(committee.members):
        save_float16(member, target / f"member_{number}.keras")
    state = read_json(source / STATE_JSON, "step2_interactive_segmentation.py")
    facts = ("epoch", "members", "clip_limit", "committee_hash", "settings")
    # last: without it there is no committee
    write_json(
        target / STATE_JSON, {name: state[name] for name in facts if name in state}
    )


def export_run(
    run: Run,
    target: Run,
    layout: Layout,
    training_data: str,
    view_count: int,
    bias_correction: float = 0.0,
) -> ExportedRun:
    """Write a run in 16 bits, with the predictions of the exported network.

    Args:
        run: a finished run.
        target: its new folder.
        layout: with the hands of its predictions in segment_all.h5.
        training_data: in words, for the model card; of runs that do not state theirs.
        view_count: views to average in a second prediction, for intervals.
        bias_correction: strength of `age_bias.fit`, on the validation hands.

    Raises:
        InputError: hands are missing, or were made in another way; the run cannot be
            corrected.
    """
    config, table = run.read_config(), run.read_predictions()
    hands = _hands(layout, run, config, table)
    model = run.load_model()
    size, single = config["image_size"], to_single_precision(model, config)
    before = inference.predict(model, hands, size, BATCH_SIZE)
    facts = {}
    if bias_correction:
        correction = _fit_correction(run, config, table, before, bias_correction)
        age_bias.correct_network(single, correction)
        before = correction.apply(before)
        facts = {
            CORRECTION: {"strength": bias_correction, **correction._asdict()},
        }
    # earlier ones would belong to another network
    target.predictions.unlink(missing_ok=True)
    save_float16(single, target.model)
    exported = target.load_model()
    after = inference.predict(exported, hands, size, BATCH_SIZE)
    changes = np.abs(after - before)
    if not np.isfinite(changes).all():
        raise InputError(f"{run.model} must predict numbers; train the run again")
    table = table.assign(predicted_months=after)
    if view_count > 1:
        mirrored = test_time_augmentation.trained_with_flips(config)
        table[test_time_augmentation.prediction_column(view_count)] = _predict_views(
            exported, hands, size, view_count, mirrored
        )
    # a run that was exported before keeps what its card stated
    target_config = {"training_data": training_data} | _without_folders(config)
    write_json(target.config, target_config | facts)
    # last: a run with predictions is a finished one
    target.write_predictions(table)
    return ExportedRun(
        run.name, float(changes.max()), float(changes.mean()), len(changes)
    )


def _fit_correction(
    run: Run,
    config: dict,
    table: pd.DataFrame,
    predicted_months: np.ndarray,
    strength: float,
) -> age_bias.Correction:
    """The correction that the validation hands ask for.

    Raises:
        InputError: the run has one already, or predicts no ages.
    """
    if CORRECTION in config:
        raise InputError(
            f"{run.name} cannot be corrected twice (got --age-bias-correction "
            f"{strength:g}); leave the flag out, and it keeps its correction"
        )
    is_held_back = (table.split == "validation").to_numpy()
    true_months = table.bone_age_months.to_numpy(float)[is_held_back]
    try:
        return age_bias.fit(predicted_months[is_held_back], true_months, strength)
    except ValueError as error:
        raise InputError(
            f"{run.name} must predict ages to be corrected ({error}); train it longer"
        ) from None


def _without_folders(config: dict) -> dict:
    """The facts, with the name alone of a file that weights came from.

    Folders would tell of the machine that trained it; the file's hash is kept.
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
    absent = sort_ids(set(table.id) - set(packed.ids.tolist()))
    if absent:
        raise InputError(
            f"{layout.hands_h5} must hold all hands of {run.name} (got none of id "
            f"{absent[0]}); pack the hands it was trained on"
        )
    of_table = Cohort(
        id_array(table.id.tolist()),
        table.bone_age_months.to_numpy(float),
        table.is_male.to_numpy(bool),
    )
    return HandDataset(packed, packed.row_indices(of_table.ids), of_table)


def _predict_views(
    model: keras.Model, hands: HandDataset, size: int, view_count: int, mirrored: bool
) -> np.ndarray:
    """The mean prediction over the views of each hand, (hand,) float32."""
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
    """Size of all files below a folder, in millions of bytes."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6
