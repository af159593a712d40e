"""How well altered radiographs are read, warned of or refused: a table.

    python -m experiments.stress_test --originals DIR --csv train.csv --out stress.md
    python -m experiments.stress_test --phantoms 24 --non-hands 4 --out phantoms.md

Every radiograph is read as it is and in every alteration of experiments/alterations.py,
as predict.py reads it. Answers are kept in a CSV file beside --out: the same command
goes on from there, and does not ask the same models twice; after a change of the code
--overwrite asks all again.

Shifts are measured from the answer about the unaltered radiograph, errors from the bone
age in --csv or of the phantom; far off is meant of shifts, and of errors where nothing
was altered. A warning is a doubt about this radiograph: its mask, its detail, its age.
Notes (turned upright, inverted, sex unknown, no interval) and warnings that the models
give of every radiograph of a sex do not count. Pictures that show no hand
(experiments/non_hands.py) must get no age.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from boneage import cli
from boneage.cohort.table import read_cohort
from boneage.errors import InputError, check_minimum
from boneage.io import radiographs
from boneage.io.files import atomic_write, temporary_folder
from boneage.phantoms.radiograph import simulate
from boneage.prediction.inputs import Sex
from boneage.prediction.model_selection import find_models
from boneage.prediction.predictor import VIEW_COUNT, Predictor
from experiments.alterations import ALTERATIONS
from experiments.answers import (
    Answer,
    AnswerTable,
    Question,
    Reader,
    models_of,
    reader_of,
)
from experiments.non_hands import NON_HANDS

OFF_MONTHS = 24.0
MOST_WARNED = 0.03
"""Share of the unaltered radiographs that may be warned of or refused."""
PHANTOM_MONTHS = (24, 216)
PHANTOM_PX = 1024
ORIGINALS, PHANTOMS, NON_HANDS_GROUP = "originals", "phantoms", "pictures of no hand"
HEADER = (
    *("alteration", "strength", "hands", "mean absolute error", "mean shift"),
    *(f"{OFF_MONTHS:.0f} months off", "warned of", "refused", "off without a warning"),
)


@dataclass(frozen=True)
class Options(cli.ScriptOptions):
    """Which radiographs, and where the table goes."""

    paths: cli.Paths
    out: Path
    """Markdown file for the table; answers go to a CSV file beside it"""
    originals: Path | None = None
    """folder of radiographs as acquired, one upright left hand each"""
    csv: Path | None = None
    """CSV file with their ages and sexes, id,boneage,male; default: unknown"""
    phantoms: int = 0
    """number of simulated radiographs"""
    non_hands: int = 0
    """number of pictures of each kind that shows no hand"""
    alterations: tuple[str, ...] = ()
    """names of the alterations; default: all"""
    views: int = VIEW_COUNT
    """views of each hand that are averaged"""
    seed: int = 0
    """seed of the phantoms"""
    overwrite: bool = False
    """ask all again"""


@dataclass(frozen=True)
class Subject:
    """An unaltered radiograph. months: its bone age, NaN if unknown."""

    group: str
    name: str
    sex: Sex
    months: float
    load: Callable[[], np.ndarray]


@dataclass(frozen=True)
class Row:
    """What became of one alteration; counts of hands, and months.

    silent: names of hands that were answered without a warning and far off.
    """

    group: str
    alteration: str
    strength: str
    hands: int
    error_months: float
    shift_months: float
    off: int
    warned: int
    refused: int
    silent: tuple[str, ...]


def main(options: Options) -> None:
    """Ask what has not been asked yet, and write the table."""
    check_minimum(0, phantoms=options.phantoms, non_hands=options.non_hands)
    unknown = set(options.alterations) - set(ALTERATIONS)
    if unknown:
        got = cli.list_some(sorted(unknown))
        raise InputError(
            f"--alterations must be names of alterations (got {got}); choose from "
            f"{', '.join(ALTERATIONS)}"
        )
    subjects = collect_subjects(options)
    predictor = Predictor(find_models(options.layout, ()), (), options.views)
    predictor.load()
    answers_csv = options.out.with_suffix(".csv")
    if options.overwrite:
        answers_csv.unlink(missing_ok=True)
    table = AnswerTable(answers_csv, models_of(predictor))
    with temporary_folder("stress_test") as folder:
        left_out = ask(
            subjects, options.alterations, reader_of(predictor, folder), table
        )
    rows = list(summarise(subjects, options.alterations, table.answers))
    lines = [*markdown(rows), "", *verdicts(rows), *left_out]
    with atomic_write(options.out) as temporary:
        temporary.write_text("\n".join(lines) + "\n")
    cli.summary(*verdicts(rows), *left_out, wrote=options.out)


def collect_subjects(options: Options) -> list[Subject]:
    """The unaltered radiographs.

    Raises:
        InputError: there are none, or the table cannot be read.
    """
    subjects: list[Subject] = []
    if options.originals is not None:
        subjects += originals(options.originals, options.csv)
    subjects += [phantom(options.seed, number) for number in range(options.phantoms)]
    subjects += [
        non_hand(name, options.seed, number)
        for name in NON_HANDS
        for number in range(options.non_hands)
    ]
    if not subjects:
        raise InputError(
            "--originals or --phantoms must give radiographs (got none); name a folder"
        )
    return subjects


def originals(folder: Path, table: Path | None) -> list[Subject]:
    """The radiographs in a folder; sex and age by id, the name of the file."""
    known: dict[str, tuple[Sex, float]] = {}
    if table is not None:
        cohort = read_cohort(table, "name a table of ages and sexes")
        known = {
            str(radiograph_id): ("male" if is_male else "female", float(months))
            for radiograph_id, months, is_male in zip(
                cohort.ids, cohort.bone_age_months, cohort.is_male, strict=True
            )
        }
    unknown: tuple[Sex, float] = ("unknown", float("nan"))
    return [
        Subject(
            ORIGINALS,
            path.relative_to(folder).as_posix(),
            *known.get(path.stem, unknown),
            functools.partial(radiographs.read, path),
        )
        for path in radiographs.find_below(folder)[0]
    ]


def phantom(seed: int, number: int) -> Subject:
    """A simulated radiograph that depends on `seed` and `number` alone."""
    rng = np.random.default_rng([seed, number])
    months = int(rng.integers(*PHANTOM_MONTHS, endpoint=True))
    is_male = bool(rng.random() < 0.5)

    def load() -> np.ndarray:
        rng = np.random.default_rng([seed, number, 1])
        return simulate(rng, months, is_male, PHANTOM_PX).radiograph

    name = f"seed {seed} number {number}"
    return Subject(PHANTOMS, name, "male" if is_male else "female", months, load)


def non_hand(name: str, seed: int, number: int) -> Subject:
    """A picture of a kind in `NON_HANDS`, shown as a girl's radiograph."""

    def load() -> np.ndarray:
        return NON_HANDS[name](np.random.default_rng([seed, number]))

    return Subject(NON_HANDS_GROUP, f"{name} {number}", "female", np.nan, load)


def alterations_of(subject: Subject, names: Sequence[str]) -> list[tuple]:
    """Name, strength as written, and strength of all that a subject is shown with."""
    unaltered = ("", "", 0.0)
    if subject.group == NON_HANDS_GROUP:
        return [unaltered]
    return [unaltered, *kinds(names)]


def kinds(names: Sequence[str]) -> Iterator[tuple[str, str, float]]:
    """Alteration, strength as written, and strength; without names of all."""
    for name, alteration in ALTERATIONS.items():
        if not names or name in names:
            for strength in alteration.strengths:
                yield name, f"{strength:g}", strength


def ask(
    subjects: Sequence[Subject],
    names: Sequence[str],
    read: Reader,
    table: AnswerTable,
) -> list[str]:
    """Add the answers that are missing to `table`.

    Returns:
        A line about each radiograph that could not be altered.
    """
    left_out = []
    total = sum(len(alterations_of(subject, names)) for subject in subjects)
    with tqdm(total=total, disable=None) as bar:
        for subject in subjects:
            image = None
            for name, written, strength in alterations_of(subject, names):
                question = Question(subject.group, subject.name, name, written)
                bar.update()
                if question in table.answers:
                    continue
                if image is None:
                    image = subject.load()
                try:
                    altered = (
                        ALTERATIONS[name].apply(image, strength) if name else image
                    )
                except InputError as error:
                    left_out.append(f"{subject.name}, {name} {written}: {error}")
                    continue
                altered = np.ascontiguousarray(altered)
                table.add(question, read(altered, subject.sex))
    return left_out


def summarise(
    subjects: Sequence[Subject],
    names: Sequence[str],
    answers: dict[Question, Answer],
) -> Iterator[Row]:
    """A row for the unaltered radiographs of each group, then one an alteration.

    Radiographs that are refused as they are have no shift, and are left out of the
    other rows.
    """
    for group in dict.fromkeys(subject.group for subject in subjects):
        members = [subject for subject in subjects if subject.group == group]
        before = {s.name: answers[Question(group, s.name)].months for s in members}
        for name, strength, _ in alterations_of(members[0], names):
            asked = [
                (subject, answers[question])
                for subject in members
                if (question := Question(group, subject.name, name, strength))
                in answers
                and (not name or np.isfinite(before[subject.name]))
            ]
            yield row_of(group, name, strength, asked, before)


def row_of(
    group: str,
    name: str,
    strength: str,
    asked: Sequence[tuple[Subject, Answer]],
    before: dict[str, float],
) -> Row:
    """Count what became of one alteration; `before`: months of the unaltered."""
    months = np.array([answer.months for _, answer in asked])
    shifts = months - np.array([before[subject.name] for subject, _ in asked])
    errors = np.abs(months - np.array([subject.months for subject, _ in asked]))
    is_off = (np.abs(shifts) if name else errors) >= OFF_MONTHS
    is_warned = np.array([bool(a.doubts and not a.refusal) for _, a in asked], bool)
    return Row(
        group,
        name or "none",
        strength,
        len(asked),
        _mean(errors),
        _mean(shifts),
        int(is_off.sum()),
        int(is_warned.sum()),
        sum(bool(answer.refusal) for _, answer in asked),
        tuple(
            subject.name
            for (subject, _), is_silent in zip(asked, is_off & ~is_warned, strict=True)
            if is_silent
        ),
    )


def _mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


def markdown(rows: Sequence[Row]) -> list[str]:
    """A table a group of radiographs."""
    lines = []
    for group in dict.fromkeys(row.group for row in rows):
        lines += ["", f"## {group.capitalize()}", "", f"| {' | '.join(HEADER)} |"]
        lines.append("|---|---|" + "---:|" * (len(HEADER) - 2))
        for row in rows:
            if row.group == group:
                lines.append(f"| {' | '.join(_cells(row))} |")
    return lines[1:]


def _cells(row: Row) -> list[str]:
    alteration = ALTERATIONS.get(row.alteration)
    strength = alteration.words.format(float(row.strength)) if alteration else ""
    months = [row.error_months, row.shift_months]
    shares = [
        f"{100 * n / max(row.hands, 1):.0f} %" for n in dataclasses.astuple(row)[6:9]
    ]
    return [
        *(row.alteration, strength, str(row.hands)),
        "" if np.isnan(months[0]) else f"{months[0]:.1f}",
        "" if np.isnan(months[1]) else f"{months[1]:+.1f}",
        *shares,
        str(len(row.silent)),
    ]


def verdicts(rows: Sequence[Row]) -> list[str]:
    """What misses the two goals, a group at a time."""
    lines = []
    for group in dict.fromkeys(row.group for row in rows):
        first, *others = [row for row in rows if row.group == group]
        if group == NON_HANDS_GROUP:
            answered = first.hands - first.refused
            lines.append(
                f"{group}: given an age: {answered} of {first.hands}, {first.warned} "
                f"with a warning; the goal, none, is {'missed' if answered else 'met'}"
            )
            continue
        silent = [row for row in others if row.silent]
        count = sum(len(row.silent) for row in silent)
        lines.append(
            f"{group}: answers {OFF_MONTHS:.0f} months or more off without a warning: "
            f"{count}; the goal, none, is {'missed' if count else 'met'}"
        )
        lines += [
            f"    {row.alteration} {row.strength}: {cli.list_some(list(row.silent))}"
            for row in silent
        ]
        doubted = first.warned + first.refused
        is_met = doubted <= MOST_WARNED * first.hands
        lines.append(
            f"{group}: unaltered radiographs warned of or refused: {doubted} of "
            f"{first.hands}; the goal, {100 * MOST_WARNED:.0f} % at most, is "
            f"{'met' if is_met else 'missed'}"
        )
    return lines


if __name__ == "__main__":
    cli.run(main, Options)
