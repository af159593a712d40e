"""Does a calibration on few local radiographs pay, and does it refuse where not?

    python -m experiments.local_calibration --data RSNA --out local.md

First on the pretrained network's stored predictions of its test hands: the bone ages
are changed as another place's readers might give them, so many hands are drawn as the
local ones, and the others tell what calibrate.py would do to them. Then on radiographs
of the test part whose contrast is altered, as another scanner might show them, with
their own bone ages: half of them are local, the other half are judged. Each is repeated
with other draws. Where calibrate.py refuses, errors and intervals are the shipped ones.

Answers about radiographs are kept in a CSV file beside --out, and the same command goes
on from there. A figure of the first part is written beside --out as well.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from boneage import cli
from boneage.cohort import table
from boneage.errors import InputError, check_minimum
from boneage.io import radiographs
from boneage.io.files import atomic_write, temporary_folder
from boneage.layout import PRETRAINED, Layout
from boneage.plotting import FAINT, INK, SEXES, STYLE, save
from boneage.prediction import calibration_gain
from boneage.prediction.inputs import Sex
from boneage.prediction.local_calibration import Calibrator, Line, LocalReadings
from boneage.prediction.model_selection import SexEnsemble
from boneage.prediction.predictor import COVERAGE, VIEW_COUNT, Predictor
from experiments.alterations import ALTERATIONS
from experiments.answers import AnswerTable, Question, models_of, reader_of

GROUP = "test"
ORIGIN = calibration_gain.Origin("", "")
COUNTS = (30, 60, 120, 250)
ALTERED = (("", 0.0), ("contrast", 0.25), ("gamma", 2.5))

Change = Callable[[LocalReadings, np.random.Generator], np.ndarray]
"""Readings and a generator -> the bone ages that other readers would give, (n,)."""

CHANGES: dict[str, Change] = {
    "as the models learned": lambda hands, rng: hands.read_months,
    "6 months older": lambda hands, rng: hands.read_months + 6,
    "12 months older": lambda hands, rng: hands.read_months + 12,
    "girls 8 months older": lambda hands, rng: (
        hands.read_months + 8 * (1 - hands.is_male)
    ),
    "0.92 times, and 4 months older": lambda hands, rng: 0.92 * hands.read_months + 4,
    "readers less sure by 10 months": lambda hands, rng: (
        hands.read_months + rng.normal(0, 10, len(hands))
    ),
}


@dataclass(frozen=True)
class Options(cli.ScriptOptions):
    """How often, and where the tables go."""

    paths: cli.Paths
    out: Path
    """Markdown file for the tables; a figure and a CSV of answers go beside it"""
    draws: int = 50
    """draws of local radiographs for each row"""
    radiographs: int = 100
    """radiographs of the test part that are altered; 0 for the first part alone"""
    simulate: bool = True
    """simulate places; without, the altered radiographs alone"""
    seed: int = 0
    """seed of the draws"""


class Outcome(NamedTuple):
    """One draw, judged by radiographs that it does not contain; months and shares."""

    is_stored: bool
    has_lines: bool
    mae_before: float
    mae_after: float
    covered_before: float
    covered_after: float


def main(options: Options) -> None:
    """Simulate, ask about altered radiographs, write tables and a figure."""
    check_minimum(2, draws=options.draws)
    check_minimum(0, radiographs=options.radiographs)
    predictor = Predictor(Layout(options.paths.data, PRETRAINED), (), VIEW_COUNT)
    ensembles = predictor.ensembles
    lines: list[str] = []
    if options.simulate:
        simulated = simulate(options, ensembles)
        lines += ["## Simulated places", "", *table_lines("bone ages", simulated)]
        save(draw(simulated), options.out.with_suffix(".png"))
    if options.radiographs:
        altered = {}
        rng = np.random.default_rng(options.seed)
        for name, readings in ask(options, predictor).items():
            count = len(readings) // 2
            altered[name, count] = repeat(
                readings, count, ensembles, options.draws, rng
            )
        lines += ["", "## Altered radiographs", ""]
        lines += table_lines("contrast", altered)
    with atomic_write(options.out) as temporary:
        temporary.write_text("\n".join(lines) + "\n")
    cli.summary(*lines, wrote=options.out)


def simulate(
    options: Options, ensembles: dict[Sex, SexEnsemble]
) -> dict[tuple[str, int], list[Outcome]]:
    """Places whose readers differ, by their name and number of local radiographs."""
    simulated = {}
    hands = test_hands(ensembles)
    rng = np.random.default_rng(options.seed)
    for name, change in tqdm(CHANGES.items(), "simulated places", disable=None):
        changed = LocalReadings(
            hands.predicted_months, change(hands, rng), hands.is_male, hands.child
        )
        for count in COUNTS:
            outcomes = repeat(changed, count, ensembles, options.draws, rng)
            simulated[name, count] = outcomes
    return simulated


def test_hands(ensembles: dict[Sex, SexEnsemble]) -> LocalReadings:
    """The stored predictions of the test part, each hand a child of its own."""
    of_sexes = [(sex == "male", ensembles[sex].test_hands) for sex in ensembles]
    return LocalReadings(
        np.concatenate([hands.predicted_months for _, hands in of_sexes]),
        np.concatenate([hands.true_months for _, hands in of_sexes]),
        np.concatenate([np.full(len(hands), is_male) for is_male, hands in of_sexes]),
        np.arange(sum(len(hands) for _, hands in of_sexes)),
    )


def repeat(
    readings: LocalReadings,
    count: int,
    ensembles: dict[Sex, SexEnsemble],
    draws: int,
    rng: np.random.Generator,
) -> list[Outcome]:
    """Calibrate on `count` radiographs drawn at random, and judge by the others."""
    outcomes = []
    for _ in range(draws):
        is_local = np.zeros(len(readings), bool)
        is_local[rng.permutation(len(readings))[:count]] = True
        outcomes.append(
            outcome(readings.select(is_local), readings.select(~is_local), ensembles)
        )
    return outcomes


def outcome(
    local: LocalReadings, others: LocalReadings, ensembles: dict[Sex, SexEnsemble]
) -> Outcome:
    """What calibrate.py on the local radiographs does to others of the same place."""
    shipped = {sex: ensemble.calibration for sex, ensemble in ensembles.items()}
    before = np.abs(others.read_months - others.predicted_months)
    inside = calibration_gain.covered_count(others, shipped, COVERAGE) / len(others)
    try:
        stored = calibration_gain.calibrate(local, shipped, COVERAGE, ORIGIN)
    except InputError:
        mae = float(before.mean())
        return Outcome(False, False, mae, mae, inside, inside)
    calibrator = Calibrator(stored, shipped, COVERAGE)
    errors, halves = np.empty(len(others)), np.empty(len(others))
    for place, predicted in enumerate(others.predicted_months):
        sex: Sex = "male" if others.is_male[place] else "female"
        line = calibrator.line(sex)
        errors[place] = abs(others.read_months[place] - line.apply(predicted))
        halves[place] = calibrator.width(sex, predicted).half_months
    has_lines = any(line != Line() for line in stored.lines.values())
    after, covered = float(errors.mean()), float((errors <= halves).mean())
    return Outcome(True, has_lines, float(before.mean()), after, inside, covered)


def ask(options: Options, predictor: Predictor) -> dict[str, LocalReadings]:
    """Predictions for altered radiographs of the test part, by alteration."""
    layout = options.layout
    cohort = table.read_cohort(layout.train_csv)
    run = predictor.candidates[0]
    of_test = set(run.predictions.query("split == 'test'").id)
    is_usable = [
        int(i) in of_test and layout.radiograph(int(i)).exists() for i in cohort.ids
    ]
    cohort = cohort.select(np.flatnonzero(is_usable)[: options.radiographs])
    if len(cohort) < 2 * calibration_gain.MIN_RADIOGRAPHS:
        raise InputError(
            f"{layout.radiographs} must hold {2 * calibration_gain.MIN_RADIOGRAPHS} "
            f"radiographs of the test part of {run.name} or more (got {len(cohort)}); "
            "choose another --data, or --radiographs 0"
        )
    predictor.load()
    answers = AnswerTable(options.out.with_suffix(".csv"), models_of(predictor))
    months: dict[str, list[float]] = {name or "unaltered": [] for name, _ in ALTERED}
    with temporary_folder("local_calibration") as folder:
        read = reader_of(predictor, folder)
        for radiograph_id, is_male in tqdm(
            zip(cohort.ids.tolist(), cohort.is_male.tolist(), strict=True),
            "reading",
            total=len(cohort),
            disable=None,
        ):
            image = radiographs.read(layout.radiograph(radiograph_id))
            for name, strength in ALTERED:
                question = Question(
                    GROUP, str(radiograph_id), name, f"{strength:g}" if name else ""
                )
                if question not in answers.answers:
                    altered = (
                        ALTERATIONS[name].apply(image, strength) if name else image
                    )
                    answers.add(
                        question, read(altered, "male" if is_male else "female")
                    )
                months[name or "unaltered"].append(answers.answers[question].months)
    readings = {}
    for name, strength in ALTERED:
        predicted = np.array(months[name or "unaltered"])
        known = np.isfinite(predicted)
        words = ALTERATIONS[name].words.format(strength) if name else ""
        label = words if words.startswith(name) else f"{name} {words}"
        readings[label or "unaltered"] = LocalReadings(
            predicted, cohort.bone_age_months, cohort.is_male, cohort.ids
        ).select(known)
    return readings


def table_lines(
    heading: str, outcomes: dict[tuple[str, int], list[Outcome]]
) -> Sequence[str]:
    """A row for each place and number of local radiographs, means over the draws."""
    lines = [
        f"| {heading} | local radiographs | lines stored | intervals alone | refused "
        "| MAE before | MAE after | gain, 5th to 95th percentile "
        "| 90 % intervals cover before | after |",
        "|---|" + "---:|" * 9,
    ]
    for (name, count), of_row in outcomes.items():
        values = np.array(of_row, float)
        stored, with_lines = values[:, 0].mean(), values[:, 1].mean()
        gains = values[:, 2] - values[:, 3]
        low, high = np.quantile(gains, [0.05, 0.95])
        gain = f"{gains.mean():.1f} ({low:.1f} to {high:.1f})"
        lines.append(
            f"| {name} | {count} | {with_lines:.0%} | {stored - with_lines:.0%} "
            f"| {1 - stored:.0%} | {values[:, 2].mean():.1f} "
            f"| {values[:, 3].mean():.1f} | {gain} "
            f"| {values[:, 4].mean():.1%} | {values[:, 5].mean():.1%} |"
        )
    return lines


def draw(simulated: dict[tuple[str, int], list[Outcome]]) -> Figure:
    """Error and coverage on the others, over the number of local radiographs."""
    colors = (FAINT, SEXES["male"]["color"], "#56B4E9", SEXES["female"]["color"])
    colors += ("#009E73", INK)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 4.6))
        left, right = figure.subplots(1, 2)
        for name, color in zip(CHANGES, colors, strict=False):
            of_counts = [np.array(simulated[name, count], float) for count in COUNTS]
            gains = [values[:, 2] - values[:, 3] for values in of_counts]
            left.plot(
                COUNTS, [g.mean() for g in gains], "o-", color=color, ms=4, label=name
            )
            covered = [100 * values[:, 5].mean() for values in of_counts]
            right.plot(COUNTS, covered, "o-", color=color, ms=4)
        left.axhline(0, color=FAINT, lw=0.8)
        left.set(ylabel="fall of the MAE (months), refusals counted as 0")
        right.axhline(100 * COVERAGE, color=FAINT, lw=0.8)
        right.set(ylabel="bone ages inside the 90 % interval (%)", ylim=(70, 100))
        for axes in (left, right):
            axes.set(xlabel="local radiographs", xscale="log")
            axes.set_xticks(COUNTS, [str(count) for count in COUNTS])
            axes.minorticks_off()
        left.set_title("Gain on other radiographs of the place")
        right.set_title("Intervals after calibration")
        figure.legend(
            *left.get_legend_handles_labels(), loc="outside lower left", ncol=2
        )
    return figure


if __name__ == "__main__":
    cli.run(main, Options)
