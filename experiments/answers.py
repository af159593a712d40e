"""Ask a predictor about radiographs in memory, and keep every answer on disk."""

import csv
import io
import math
from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np

from boneage.errors import InputError
from boneage.io import radiographs
from boneage.io.files import append_line
from boneage.io.provenance import file_hash
from boneage.prediction.inputs import InputRadiograph, Sex
from boneage.prediction.predictor import Predictor
from boneage.segmentation import image_quality


@dataclass(frozen=True)
class Answer:
    """What is answered about one radiograph.

    months: NaN where it is refused. doubts: reasons that this radiograph gives to
    distrust the answer, separated by semicolons. refusal: why there is no answer.
    length_px, sharpness: of the hand, see `image_quality`; NaN where none is found.
    """

    months: float
    doubts: str = ""
    refusal: str = ""
    length_px: float = math.nan
    sharpness: float = math.nan


Reader = Callable[[np.ndarray, Sex], Answer]


class Question(NamedTuple):
    """A radiograph, by its name in a group, and how it was altered, strength "" if not.

    Rows of an `AnswerTable` are found by these.
    """

    group: str
    name: str
    alteration: str = ""
    strength: str = ""


def reader_of(predictor: Predictor, folder: Path) -> Reader:
    """Read as predict.py does, by way of a file in `folder`."""
    path = folder / "radiograph.png"

    def read(image: np.ndarray, sex: Sex) -> Answer:
        radiographs.write(path, image)
        try:
            prediction = predictor.predict(InputRadiograph(path, sex))
        except InputError as error:
            return Answer(math.nan, refusal=str(error).replace(str(path), "it"))
        return Answer(
            prediction.bone_age_months,
            "; ".join(prediction.doubts),
            prediction.refusal,
            image_quality.hand_length_px(prediction.mask),
            image_quality.sharpness(prediction.radiograph, prediction.mask),
        )

    return read


def models_of(predictor: Predictor) -> str:
    """Names what answers: hashes of the networks, and the number of views."""
    files = sorted(predictor.layout.committee.glob("member_*"))
    files += [candidate.run.model for candidate in predictor.candidates]
    return " ".join(
        [*(file_hash(path) or "" for path in files), f"{predictor.view_count}"]
    )


class AnswerTable:
    """A CSV file of answers; each is on disk as soon as it is given."""

    # last, so that of a torn line it is never whole
    COLUMNS = (*Question._fields, *(field.name for field in fields(Answer)), "models")

    def __init__(self, path: Path, models: str) -> None:
        """Go on from the answers in `path` that the same models gave."""
        self.path, self.models = path, models
        self.answers: dict[Question, Answer] = {}
        if not path.exists():
            return
        lines = path.read_text(errors="replace").splitlines()
        if lines and lines[0] != ",".join(self.COLUMNS):
            raise InputError(
                f"{path} must be a table of answers (got {lines[0][:50]!r}); remove "
                "it, or choose another --out"
            )
        # line by line: in a torn one a quotation mark may be open
        for row in (next(csv.reader([line]), []) for line in lines):
            if len(row) == len(self.COLUMNS) and row[-1] == models:
                months, doubts, refusal, length_px, sharpness = row[4:-1]
                self.answers[Question(*row[:4])] = Answer(
                    float(months), doubts, refusal, float(length_px), float(sharpness)
                )

    def add(self, question: Question, answer: Answer) -> None:
        """Append an answer."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if not self.path.exists() or not self.path.stat().st_size:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            writer.writerow(self.COLUMNS)
        writer.writerow([*question, *astuple(answer), self.models])
        append_line(self.path, text.getvalue())
        self.answers[question] = answer
