"""Train the committee; after each epoch ask about what its members disagree on.

Reads   data/gt/unannotated.h5, annotated.h5 (step2_image_2_h5.py --pool unannotated and
        --pool annotated; the second where some are annotated); pairs in data/gt/new
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

from boneage import cli
from boneage.active_learning import dataset, initial_batch
from boneage.active_learning.oracle import FolderOracle, Oracle, SimulatedOracle
from boneage.active_learning.settings import CommitteeSettings
from boneage.errors import InputError
from boneage.io.locks import exclusive
from boneage.web import WebSettings


@dataclass(frozen=True)
class Options(cli.Paths, CommitteeSettings, WebSettings):
    """How the committee is trained, and who answers."""

    oracle: Literal["folder", "browser", "simulated"] = "folder"
    """A person, asked at a prompt or on a page; or known masks."""
    annotate_only: bool = False
    """Open the page for what waits in data/gt/new, and train nothing."""
    truth: Path | None = None
    """Folder of the masks <id>_bin.png that the simulated oracle looks at."""


def main(options: Options) -> None:
    """Train, ask, train; one process a committee."""
    layout = options.layout
    if options.oracle == "simulated" and options.truth is None:
        raise InputError("--oracle simulated needs --truth DIR, the masks it looks at")
    options.check_page()
    if options.annotate_only:
        from boneage.annotator import server

        lines = server.annotate_waiting(layout, options)
        cli.summary(*lines, wrote=layout.new)
        return
    with exclusive(layout.committee), contextlib.ExitStack() as served:
        oracle, askable = answering(options, served)
        if not initial_batch.is_needed(layout) or initial_batch.ask(
            layout, oracle, options.first, options.seed, askable
        ):
            learn(options, oracle, askable)


def answering(options: Options, served: contextlib.ExitStack) -> tuple:
    """Who answers, and which ids it can answer; None for all."""
    if options.oracle == "simulated":
        oracle = SimulatedOracle(options.layout, options.truth)
        return oracle, set(oracle.known)
    if options.oracle == "browser":
        from boneage.annotator import server

        oracle = server.BrowserOracle(options.layout, options, options.measure)
        return served.enter_context(oracle), None
    return FolderOracle(options.layout), None


def learn(options: Options, oracle: Oracle, askable: set[int] | None) -> None:
    """Begin a committee's training, or go on with it."""
    # a missing file is named before Keras, which takes seconds to import
    dataset.read_pools(options.layout)
    from boneage.active_learning.loop import ActiveLearning

    settings = cli.part_of(options, CommitteeSettings)
    learning = ActiveLearning(options.layout, settings)
    set_aside = learning.run(oracle, askable)
    cli.summary(*learning.report(set_aside), wrote=options.layout.committee)


if __name__ == "__main__":
    cli.run(main, Options)
