"""Train the committee; after each epoch ask about what its members disagree on.

Reads   data/gt/annotated.h5, unannotated.h5 (step2_image_2_h5.py --pool annotated and
        --pool unannotated); new pairs in data/gt/new
Writes  models/committee/member_<k>.keras, state.json, history.csv;
        data/gt/new/<id>.png and <id>_proposal.png of what it asks; queries.jsonl

    python al_segmentation/step2_interactive_segmentation.py --epochs 20

The oracle draws <id>_bin.png beside the radiograph. Interrupted, the same command goes
on from the last finished epoch.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from boneage import cli, parallel
from boneage.files import InputError, alone
from boneage.segmentation import annotations
from boneage.segmentation.settings import CommitteeSettings


@dataclass(frozen=True)
class Options(cli.Paths, CommitteeSettings):
    """How the committee is trained, and who answers."""

    oracle: Literal["folder", "simulated"] = "folder"
    """A person, asked at a prompt; or known masks."""
    truth: Path | None = None
    """Folder of the masks <id>_bin.png that the simulated oracle looks at."""


def main(options: Options) -> None:
    """Train, ask, train; one process a committee."""
    if options.oracle == "simulated" and options.truth is None:
        raise InputError("--oracle simulated needs --truth DIR, the masks it looks at")
    # a missing file is named before Keras, which takes seconds to import
    annotations.read_pools(options.layout)
    with alone(options.layout.committee):
        learn(options)


def learn(options: Options) -> None:
    """Begin a committee's training, or go on with it."""
    from boneage.segmentation.active_learning import ActiveLearning
    from boneage.segmentation.oracle import FolderOracle, SimulatedOracle

    learning = ActiveLearning(options.layout, options.committee_settings())
    askable = None
    if options.oracle == "simulated":
        oracle = SimulatedOracle(options.layout, options.truth)
        askable = set(oracle.known)
    else:
        oracle = FolderOracle(options.layout, learning.save_copy)
    set_aside = learning.run(oracle, askable)
    state = learning.state
    dice = learning.test_dice()
    cli.summary(
        *parallel.report(set_aside),
        f"{state['epoch']} epochs, {len(state['trained_ids'])} training pairs, "
        f"{len(set_aside)} set aside",
        f"committee Dice on its test part: mean {sum(dice) / len(dice):.4f}, "
        f"lowest {min(dice):.4f}, {len(dice)} radiographs",
        wrote=options.layout.committee,
    )


if __name__ == "__main__":
    cli.run(main, Options)
