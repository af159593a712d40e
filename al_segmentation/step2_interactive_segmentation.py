"""Train the committee; after each epoch ask about what its members disagree on.

Reads   data/gt/unannotated.h5, annotated.h5 (step2_image_2_h5.py --pool unannotated and
        --pool annotated; the second where some are annotated); pairs in data/gt/new
Writes  models/committee/member_<k>.keras, state.json, history.csv; in data/gt/new
        <id>.png, <id>_proposal.png and <id>_disagreement.png of what it asks;
        data/gt/queries.jsonl; in the browser <id>_bin.png there, and gt/unusable.csv

    python al_segmentation/step2_interactive_segmentation.py --oracle browser

The annotator draws <id>_bin.png beside the radiograph, with any program or in the
browser. If interrupted, the same command continues after the last finished epoch.
"""

from contextlib import ExitStack
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
class Options(cli.ScriptOptions):
    """How the committee is trained, and who answers."""

    paths: cli.Paths
    committee: CommitteeSettings
    page: WebSettings
    oracle: Literal["folder", "browser", "simulated"] = "folder"
    """source of annotations: a person, at a prompt or in a browser; known masks"""
    annotate_only: bool = False
    """annotate what waits in data/gt/new in the browser, without training"""
    truth: Path | None = None
    """folder of masks <id>_bin.png that --oracle simulated takes as annotations"""


def main(options: Options) -> None:
    """Train, ask, train; one process a committee."""
    layout = options.layout
    if options.oracle == "simulated" and options.truth is None:
        raise InputError("--oracle simulated must have --truth DIR; give both")
    options.page.check_page()
    if options.annotate_only:
        from boneage.annotator import server

        cli.summary(*server.annotate_waiting(layout, options.page), wrote=layout.new)
        return
    committee = options.committee
    with exclusive(layout.committee), ExitStack() as served:
        oracle = make_oracle(options, served)
        if not initial_batch.is_needed(layout) or initial_batch.ask(
            layout, oracle, committee.first, committee.seed
        ):
            learn(options, oracle)


def make_oracle(options: Options, served: ExitStack) -> Oracle:
    """Who answers; a page is served until `served` is closed."""
    if options.truth is not None and options.oracle == "simulated":
        return SimulatedOracle(options.layout, options.truth)
    if options.oracle == "browser":
        from boneage.annotator import server

        measure = options.committee.measure
        oracle = server.BrowserOracle(options.layout, options.page, measure)
        return served.enter_context(oracle)
    return FolderOracle(options.layout)


def learn(options: Options, oracle: Oracle) -> None:
    """Begin a committee's training, or continue it."""
    # a missing file is named before Keras, which takes seconds to import
    dataset.open_pools(options.layout)
    from boneage.active_learning.loop import ActiveLearning

    learning = ActiveLearning.begin_or_resume(options.layout, options.committee)
    lines = learning.report(learning.run(oracle))
    cli.summary(*lines, wrote=options.layout.committee)


if __name__ == "__main__":
    cli.run(main, Options)
