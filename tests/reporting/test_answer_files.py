"""Files of answers that are whole at every moment."""

import contextlib
import json

import pytest

from boneage.prediction.inputs import InputRadiograph
from boneage.reporting.answer_files import JsonFile
from tests.scripts.test_full_disk import disk  # noqa: F401


def test_full_disk_leaves_what_was_written(tiny_predictor, hand, disk):  # noqa: F811
    read = tiny_predictor.predict(InputRadiograph(hand, "male")).without_images()
    path, filling = disk / "ages.json", disk / "filling"
    file = JsonFile(path, tiny_predictor)
    file.add(read, [])
    count = 1
    with filling.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while stream.write(bytes(4096)):
            pass
    with pytest.raises(OSError, match=r"No space left.*ages.json"):  # noqa: PT012
        # what is left of the last block is used up first
        while count < 10:
            file.add(read, [])
            count += 1
    assert len(json.loads(path.read_text())["radiographs"]) == count
    filling.unlink()
    file.add(read, [])
    assert len(json.loads(path.read_text())["radiographs"]) == count + 1
