"""Are the activation maps true? One table over the runs of a cohort.

    python -m experiments.map_faithfulness --data DATA --models MODELS --markdown TABLE.md

Of each run, on hands of its test part: attention on growth plates and carpals against
their share of the hand (of phantoms alone it is known where they are), attention on
the hand against its share of the image, what is left of the maps when weights are
shuffled, and how far predictions move when the places of most attention go first.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from boneage import cli
from boneage.explanation import faithfulness
from boneage.explanation.activation_maps import (
    DISPLAY_PX,
    Explainer,
    centred_maps,
    explain_hands,
)
from boneage.io import radiographs, transforms
from boneage.io.files import atomic_write, read_json
from boneage.layout import Layout
from boneage.regression import dataset, run_folder
from boneage.regression.dataset import HandDataset
from boneage.segmentation.hand_images import (
    Enhancement,
    mask_to_hand_coordinates,
    to_hand_coordinates,
)

BONE_RADIUS = 1 / 40
"""Of a disc around a growth plate or carpal, as a share of the image's side."""
SHARES = np.array([0.02, 0.05, 0.1, 0.2, 0.3])
"""Of the image's area that are deleted, or inserted."""
SHUFFLED = (1, 5, 20)
"""How many layers, from the head down, are shuffled when maps are compared."""


@dataclass(frozen=True)
class Options(cli.ScriptOptions):
    """Which runs, on which hands."""

    paths: cli.Paths
    run: tuple[str, ...] = ()
    """Runs below models/regression; by default all of them."""
    hands: int = 60
    """Hands of the test part, chosen by chance."""
    seed: int = 0
    """Of the choice of hands, the shuffled weights and the order by chance."""
    markdown: Path | None = None
    """Where the table goes; it is printed in any case."""


def main(options: Options) -> None:
    """Measure every run, and print a column each."""
    found = run_folder.finished_runs(options.layout.regression)
    chosen = [run for run in found if not options.run or run.name in options.run]
    columns = {run.name: measure(options.layout, run, options) for run in chosen}
    table = pd.DataFrame(columns)
    lines = [
        "| | " + " | ".join(table.columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for name, row in table.iterrows():
        cells = ["" if pd.isna(value) else f"{value:.2f}" for value in row]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    print("\n".join(lines))
    if options.markdown is not None:
        with atomic_write(options.markdown) as temporary:
            temporary.write_text("\n".join(lines) + "\n")


def measure(layout: Layout, run: run_folder.Run, options: Options) -> dict[str, float]:
    """All measures of one run, by name."""
    rng = np.random.default_rng(options.seed)
    hands, _ = dataset.select_hands(layout, "test", sex=run.read_config()["sex"])
    some = rng.permutation(len(hands))[: options.hands]
    hands = hands.select(np.sort(some))
    model = run.load_model()
    explainer = Explainer(model)
    maps = explain_hands(explainer, hands, description=run.name).maps
    attention = attention_of(explainer, maps)
    inside = masks(layout, hands)
    return {
        **_on_bones(bones(layout, hands), attention, inside),
        **_on_the_hand(attention, inside),
        **_by_deletion(explainer, hands, attention),
        # last: it spoils the network
        **_shuffled(model, run.read_config()["backbone"], explainer, hands, maps, rng),
    }


def attention_of(explainer: Explainer, maps: np.ndarray) -> np.ndarray:
    """Absolute deviation of maps (N, row, column) from their means, DISPLAY_PX wide."""
    return np.abs([explainer.grid.upsample(one) for one in centred_maps(maps)])


def masks(layout: Layout, hands: HandDataset) -> np.ndarray:
    """Where the hand is, on whole radiographs too: (N, DISPLAY_PX, DISPLAY_PX) bool."""
    how = Enhancement.from_facts(hands.packed.preprocessing)
    read = (radiographs.read_mask(layout.mask(i)) for i in hands.cohort.ids)
    inside = (mask_to_hand_coordinates(mask, how).astype(np.uint8) for mask in read)
    return np.stack([transforms.resize(one, DISPLAY_PX) > 0 for one in inside])


def bones(layout: Layout, hands: HandDataset) -> np.ndarray | None:
    """Growth plates and carpals, (N, DISPLAY_PX, DISPLAY_PX) bool; None if unknown."""
    regions = []
    how = Enhancement.from_facts(hands.packed.preprocessing)
    for radiograph_id in hands.cohort.ids:
        facts = layout.truth / f"{radiograph_id}.json"
        if not facts.exists():
            return None
        known = read_json(facts, "step0_prepare_cohort.py")
        points = [*known["growth_plates"].values(), *known["carpals"].values()]
        mask = radiographs.read_mask(layout.mask(radiograph_id))
        places = to_hand_coordinates(np.array(points), mask, how)
        regions.append(faithfulness.discs(places, DISPLAY_PX * BONE_RADIUS, DISPLAY_PX))
    return np.stack(regions)


def _on_bones(
    regions: np.ndarray | None, attention: np.ndarray, inside: np.ndarray
) -> dict[str, float]:
    """Attention near growth plates and carpals, of all that lies on the hand."""
    if regions is None:
        return {}
    there, on_hand = regions & inside, attention * inside
    share, area = (
        np.nanmean(faithfulness.share_inside(values, there))
        for values in (on_hand, inside.astype(float))
    )
    return {
        "attention on growth plates and carpals, share of that on the hand": share,
        "their share of the hand's area": area,
        "pointing game: most attention there": np.mean(
            faithfulness.pointing_game_hits(on_hand, there)
        ),
    }


def _on_the_hand(attention: np.ndarray, inside: np.ndarray) -> dict[str, float]:
    share = np.nanmean(faithfulness.share_inside(attention, inside))
    return {"attention on the hand": share, "its share of the image": inside.mean()}


def curves(
    explainer: Explainer, hands: HandDataset, attention: np.ndarray, shares: np.ndarray
) -> dict[tuple[str, str], np.ndarray]:
    """How far predictions move at each share, mean of the hands in months.

    Keys: what the places of the first rank are, deleted or shown; whose order it is.
    """
    size, is_male = explainer.image_size, hands.cohort.is_male
    images = np.stack([hands.image(i, size) for i in range(len(hands))])
    instead = faithfulness.blurred(images, explainer.grid.step_px / 2)
    order = np.stack([transforms.resize(one, size) for one in attention])
    # as coarse as the hand's own attention, and as good as chance
    another = np.roll(order, 1, axis=0)

    def predict(now: np.ndarray) -> np.ndarray:
        return explainer(now, is_male).predicted_months

    ways = {"deleted": (images, instead), "shown": (instead, images)}
    return {
        (start, name): faithfulness.deletion_curve(predict, *pair, which, shares).mean(
            axis=0
        )
        for name, which in (("attention", order), ("another hand's", another))
        for start, pair in ways.items()
    }


def _by_deletion(
    explainer: Explainer, hands: HandDataset, attention: np.ndarray
) -> dict[str, float]:
    moved = curves(explainer, hands, attention, SHARES)
    return {
        f"months moved, first {start} by {name}": months.mean()
        for (start, name), months in moved.items()
    }


def _shuffled(
    model,
    backbone: str,
    explainer: Explainer,
    hands: HandDataset,
    maps: np.ndarray,
    rng,
) -> dict[str, float]:
    """Rank correlation of the maps with those of ever more shuffled networks."""
    found = {}
    shuffling = faithfulness.cascading_randomisation(model, backbone, rng)
    for count, _ in enumerate(shuffling, 1):
        if count in SHUFFLED:
            now = explain_hands(explainer, hands, description=f"{count} shuffled").maps
            rho = np.nanmean(faithfulness.rank_correlation(centred_maps(maps), now))
            found[f"rank correlation, {count} layers from the head shuffled"] = rho
        if count == max(SHUFFLED):
            break
    return found


if __name__ == "__main__":
    cli.run(main, Options)
