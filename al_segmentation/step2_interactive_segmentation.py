"""Train the committee; after each epoch ask about what its members disagree on.

Reads   data/gt/unannotated.h5, annotated.h5 (step2_image_2_h5.py --pool unannotated and
        --pool annotated; the second where some are annotated); pairs in data/gt/new
Writes  models/committee/member_<k>.keras, state.json, history.csv; of what it asks
        <id>.png, <id>_proposal.png and more in data/gt/new; data/gt/queries.jsonl;
        in the browser <id>_bin.png there, gt/unusable.csv, gt/agreement/<name>/;
        --agreement: data/gt/agreement.csv

    python al_segmentation/step2_interactive_segmentation.py --oracle browser

If interrupted, the same command continues after the last finished epoch.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from boneage import cli
from boneage.active_learning import agreement, dataset, initial_batch
from boneage.active_learning.agreement import SharingSettings
from boneage.active_learning.oracle import FolderOracle, Oracle, SimulatedOracle
from boneage.active_learning.settings import CommitteeSettings
from boneage.annotator import server
from boneage.errors import InputError
from boneage.io.locks import exclusive
from boneage.web import WebSettings


@dataclass(frozen=True)
class Options(cli.ScriptOptions):
    """How the committee is trained, and who answers."""

    paths: cli.Paths
    committee: CommitteeSettings
    page: WebSettings
    sharing: SharingSettings
    oracle: Literal["folder", "browser", "simulated"] = "folder"
    """source of annotations: a person, at a prompt or in a browser; known masks"""
    annotate_only: bool = False
    """annotate what waits in data/gt/new in the browser, without training"""
    truth: Path | None = None
    """folder of masks <id>_bin.png that --oracle simulated takes as annotations"""


def main(options: Options) -> None:
    """Train, ask, train; one process a committee."""
    layout, page, sharing = options.layout, options.page, options.sharing
    if options.oracle == "simulated" and options.truth is None:
        raise InputError("--oracle simulated must have --truth DIR; give both")
    page.check_page()
    sharing.check()
    if sharing.agreement:
        cli.summary(*agreement.write_table(layout), wrote=layout.agreement_csv)
    elif options.annotate_only:
        lines = server.annotate_waiting(layout, page, sharing.shared)
        cli.summary(*lines, wrote=layout.new)
    else:
        with exclusive(layout.committee), ExitStack() as served:
            learn(options, make_oracle(options, served))


def make_oracle(options: Options, served: ExitStack) -> Oracle:
    """Who answers; a page is served until `served` is closed."""
    if options.truth is not None and options.oracle == "simulated":
        return SimulatedOracle(options.layout, options.truth)
    if options.oracle == "browser":
        measure, shared = options.committee.measure, options.sharing.shared
        oracle = server.BrowserOracle(options.layout, options.page, measure, shared)
        return served.enter_context(oracle)
    return FolderOracle(options.layout)


def learn(options: Options, oracle: Oracle) -> None:
    """Begin a committee's training, or continue it."""
    layout, committee = options.layout, options.committee
    if initial_batch.is_needed(layout) and not initial_batch.ask(
        layout, oracle, committee.first, committee.seed
    ):
        return
    dataset.open_pools(layout)  # names a missing file before Keras takes its seconds
    from boneage.active_learning.loop import ActiveLearning

    learning = ActiveLearning.begin_or_resume(layout, committee)
    cli.summary(*learning.report(learning.run(oracle)), wrote=layout.committee)


if __name__ == "__main__":
    cli.run(main, Options)
