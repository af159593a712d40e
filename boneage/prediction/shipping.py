"""A folder of trained models to give away: half the size, with what is known of them.

Weights are stored in 16 bits: Keras reads them into the network's own 32, so that the
file is loaded and computes like any other.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
from tqdm import tqdm

from boneage import cohort, hdf5
from boneage.files import InputError, read_json, replacing, write_json
from boneage.layout import Layout
from boneage.prediction import output, views
from boneage.prediction.asking import STATEMENT, Ensemble
from boneage.regression import runs
from boneage.regression.parts import HANDS_BY, Hands
from boneage.regression.runs import Run

if TYPE_CHECKING:
    import keras
    import pandas as pd

WEIGHTS = "model.weights.h5"
"""What the archive of a `.keras` file calls its weights."""
BATCH_SIZE = 32


@dataclass(frozen=True)
class Shipped:
    """What 16 bits did to a run.

    change_months: the largest change of a prediction. mean_change_months: of all.
    hands: predicted both ways.
    """

    run: str
    change_months: float
    mean_change_months: float
    hands: int


def in_single_precision(model: keras.Model, config: dict) -> keras.Model:
    """The same network, computing in 32 bits whatever it was trained in.

    bfloat16 takes many times as long on processors that were not made for it.
    """
    from boneage.regression import regressor

    network = regressor.build(
        config["backbone"],
        config["image_size"],
        "none",
        regressor.takes_sex(model),
        config["age_mean_months"],
        config["age_deviation_months"],
    )
    network.set_weights(model.get_weights())
    return network


def halve(model: keras.Model, path: Path) -> None:
    """Write a network, without optimizer, with weights in 16 bits.

    A weight beyond what 16 bits hold (65504, as variances of batch norm may be) keeps
    its 32, and with it the others of its array.
    """
    import keras

    bare = keras.Model(model.inputs, model.outputs, name=model.name)
    with replacing(path) as temporary:
        bare.save(temporary)
        with zipfile.ZipFile(temporary) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        parts[WEIGHTS] = _halved(parts[WEIGHTS])
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in parts.items():
                archive.writestr(name, content)


def _halved(content: bytes) -> bytes:
    """Weights in HDF5 with every array of 32 bits that fits in 16."""
    halved = io.BytesIO()
    with h5py.File(io.BytesIO(content)) as source, h5py.File(halved, "w") as target:

        def take_over(name: str, item: h5py.Group | h5py.Dataset) -> None:
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
        source.visititems(take_over)
    return halved.getvalue()


def ship(
    layout: Layout,
    chosen: Sequence[Run],
    out: Path,
    training_data: str,
    terms: str,
    view_count: int,
) -> list[Shipped]:
    """Write committee, runs and model card into a folder laid out as models.

    layout: where the committee and segment_all.h5 lie. The others as in `ship_run`
    and `write_card`.

    Raises:
        InputError: something is missing, or would be written over itself.
    """
    target = Layout(layout.data, out)
    if target.committee.resolve() == layout.committee.resolve():
        raise InputError(f"--out {out}: holds the models that are to be packed")
    ship_committee(layout.committee, target.committee)
    shipped = [
        ship_run(
            run,
            Run(target.regression / run.name),
            layout,
            training_data,
            view_count,
        )
        for run in chosen
    ]
    ensemble = Ensemble(target, [run.name for run in chosen], view_count)
    write_card(out / "README.md", ensemble, shipped, terms)
    return shipped


def ship_committee(source: Path, target: Path) -> None:
    """Write a committee in 16 bits, and what a reader needs of its state.

    Raises:
        InputError: no committee there.
    """
    from boneage.segmentation.committee import Committee

    committee = Committee.load(source)
    for number, member in enumerate(committee.members):
        halve(member, target / f"member_{number}.keras")
    state = read_json(source / "state.json", "step2_interactive_segmentation.py")
    wanted = ("epoch", "members", "clip_limit", "settings")
    # last: without it there is no committee
    write_json(target / "state.json", {k: state[k] for k in wanted if k in state})


def ship_run(
    run: Run, target: Run, hands_of: Layout, training_data: str, view_count: int
) -> Shipped:
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
    halve(in_single_precision(model, config), target.model)
    size, light = config["image_size"], target.load_model()
    before = runs.predict(model, hands, size, BATCH_SIZE)
    after = runs.predict(light, hands, size, BATCH_SIZE)
    changes = np.abs(after - before)
    if not np.isfinite(changes).all():
        raise InputError(f"{run.model}: predicts no numbers; train it again")
    table = table.assign(predicted_months=after)
    if view_count > 1:
        table[views.column(view_count)] = _seen(light, hands, size, view_count)
    write_json(target.config, config | {"training_data": training_data})
    # last: a run with predictions is a finished one
    target.write_predictions(table)
    return Shipped(run.name, float(changes.max()), float(changes.mean()), len(changes))


def _hands(layout: Layout, run: Run, config: dict, table: pd.DataFrame) -> Hands:
    """The hands of a run's predictions, as they were when it was trained."""
    packed = hdf5.read(layout.hands_h5, HANDS_BY)
    if packed.preprocessing != config["preprocessing"]:
        raise InputError(
            f"{layout.hands_h5}: made as {packed.preprocessing}; {run.name} was "
            f"trained on {config['preprocessing']}"
        )
    absent = np.setdiff1d(table.id, packed.ids)
    if len(absent):
        raise InputError(f"{layout.hands_h5}: no hand of id {absent[0]} of {run.name}")
    of_table = cohort.Cohort(
        table.id.to_numpy(),
        table.bone_age_months.to_numpy(float),
        table.is_male.to_numpy(bool),
    )
    return Hands(packed, packed.rows_of(of_table.ids), of_table)


def _seen(model: keras.Model, hands: Hands, size: int, view_count: int) -> np.ndarray:
    """The mean of what is said of each hand's views, (hand,) float32."""
    months = []
    for index in tqdm(range(len(hands)), f"{view_count} views", disable=None):
        seen = views.views_of(hands.image(index, size), view_count)
        is_male = hands.cohort.is_male[[index] * view_count]
        said = runs.predict_images(model, seen, is_male, view_count)
        months.append(said.mean())
    return np.array(months, np.float32)


def size_mb(folder: Path) -> float:
    """Of all files below a folder, in millions of bytes."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6


def write_card(
    path: Path, ensemble: Ensemble, shipped: Sequence[Shipped], terms: str
) -> None:
    """Write the model card: what the models are, how good, and for what not."""
    facts = output.facts(ensemble)
    data = {about["training_data"] for about in facts["runs"]}
    text = [
        "# Trained models",
        "",
        f"**{STATEMENT.capitalize()}.** Read by `predict.py` where nothing else is "
        "trained; `--models` with this folder's name asks them in any case.",
        "",
        f"Trained on: {'; '.join(sorted(data))}. Terms: {terms}",
        "",
        "| run | backbone | px | sex | training hands | bone ages, months | "
        "test MAE, one view | commit |",
        "|---|---|---:|---|---:|---|---:|---|",
    ]
    for about in facts["runs"]:
        least, greatest = about["age_range_months"]
        error = about["test_mae_months"]
        text.append(
            f"| {about['run']} | {about['backbone']} | {about['image_size_px']} | "
            f"{about['sex']} | {about['training_hands']} | {least:g} to {greatest:g} | "
            f"{'-' if error is None else f'{error:.1f}'} months | "
            f"{(about['git_commit'] or 'unknown')[:9]} |"
        )
    text += [
        "",
        "The average of the runs, and its intervals (split conformal by sex and "
        "predicted age, from the validation hands, which also chose each run's epoch), "
        "on test hands that nothing was chosen with:",
        "",
        "| hands | views | validation | test | test MAE | "
        f"within the {100 * ensemble.coverage:g} % interval |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for sex, measured in facts["tested"].items():
        error, count = measured["test_mae_months"], measured["test_hands"]
        share = 100 * measured["within_interval"] / count if count else math.nan
        text.append(
            f"| {sex} | {measured['views']} | {measured['validation_hands']} | "
            f"{count} | "
            f"{'-' if error is None else f'{error:.1f}'} months | {share:.1f} % |"
        )
    text += ["", "Weights in 16 bits, against the same networks in 32:", ""]
    text += [
        f"- {one.run}: predictions of {one.hands} hands change by at most "
        f"{one.change_months:.3f} months, by {one.mean_change_months:.3f} on average"
        for one in shipped
    ]
    preprocessing = sorted({about["preprocessing"] for about in facts["runs"]})
    text += [
        "",
        f"Hands: {'; '.join(preprocessing)}; cut out by the committee in `committee/`.",
        "",
        "Not for: decisions about a patient; hands of people unlike those trained on; "
        "ages beyond those above; radiographs of injured or malformed hands; telling "
        "anyone's age in years since birth.",
    ]
    with replacing(path) as temporary:
        temporary.write_text("\n".join(text) + "\n")
