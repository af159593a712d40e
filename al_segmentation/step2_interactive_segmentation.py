"""Train the committee; after each epoch ask about what its members disagree on.

Reads   data/gt/annotated.h5, unannotated.h5 (step2_image_2_h5.py --pool annotated and
        --pool unannotated); new pairs in data/gt/new
Writes  models/committee/member_<k>.keras, state.json, history.csv; in data/gt/new
        <id>.png, <id>_proposal.png and <id>_disagreement.png of what it asks;
        data/gt/queries.jsonl; in the browser <id>_bin.png there, and gt/unusable.csv

    python al_segmentation/step2_interactive_segmentation.py --oracle browser

The oracle draws <id>_bin.png beside the radiograph: with any program, or on a page in
the browser. --annotate-only opens that page for whatever waits in data/gt/new, and
trains nothing. Interrupted, the same command goes on from the last finished epoch.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from boneage import cli, parallel
from boneage.files import InputError, alone
from boneage.segmentation import annotations, unusable
from boneage.segmentation.settings import CommitteeSettings, PageSettings


@dataclass(frozen=True)
class Options(cli.Paths, CommitteeSettings, PageSettings):
    """How the committee is trained, and who answers."""

    oracle: Literal["folder", "browser", "simulated"] = "folder"
    """A person, asked at a prompt or on a page; or known masks."""
    annotate_only: bool = False
    """Open the page for what waits in data/gt/new, and train nothing."""
    truth: Path | None = None
    """Folder of the masks <id>_bin.png that the simulated oracle looks at."""


def main(options: Options) -> None:
    """Train, ask, train; one process a committee."""
    if options.oracle == "simulated" and options.truth is None:
        raise InputError("--oracle simulated needs --truth DIR, the masks it looks at")
    options.check_page()
    if options.annotate_only:
        from boneage.segmentation import annotator

        lines = annotator.annotate_waiting(options.layout, options)
        cli.summary(*lines, wrote=options.layout.new)
        return
    # a missing file is named before Keras, which takes seconds to import
    annotations.read_pools(options.layout)
    with alone(options.layout.committee), contextlib.ExitStack() as served:
        learn(options, served)


def learn(options: Options, served: contextlib.ExitStack) -> None:
    """Begin a committee's training, or go on with it."""
    from boneage.segmentation import annotator
    from boneage.segmentation.active_learning import ActiveLearning
    from boneage.segmentation.oracle import FolderOracle, SimulatedOracle

    learning = ActiveLearning(options.layout, cli.part_of(options, CommitteeSettings))
    askable = None
    if options.oracle == "simulated":
        oracle = SimulatedOracle(options.layout, options.truth)
        askable = set(oracle.known)
    elif options.oracle == "browser":
        oracle = annotator.BrowserOracle(options.layout, options, options.measure)
        served.enter_context(oracle)
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
        *unusable.report(options.layout),
        wrote=options.layout.committee,
    )


if __name__ == "__main__":
    cli.run(main, Options)
