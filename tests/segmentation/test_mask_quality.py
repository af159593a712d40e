"""quality.csv: on disk as soon as known, whole after a kill, in order at the end."""

import numpy as np
import pytest

from boneage.segmentation.mask_quality import (
    COLUMNS,
    MaskQuality,
    QualityTable,
    assess,
    assess_committee_mask,
)

HEADER = ",".join(COLUMNS)
THREE = MaskQuality(3, "otsu", "", "0.2000", "", "")
ONE = MaskQuality(1, "committee", "1a2b", "0.9000", "0.1000", "too large; ragged")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "masks" / "quality.csv"


def test_each_row_is_on_disk_at_once(path):
    table = QualityTable(path, overwrite=False)
    table.add(THREE)
    assert path.read_text() == f"{HEADER}\n3,otsu,,0.2000,,\n"
    table.close()


def test_closing_sorts_and_names_the_implausible(path):
    table = QualityTable(path, overwrite=False)
    table.add(THREE)
    table.add(ONE)
    table.close()
    assert table.implausible_line() == "1 implausible masks: 1 (see quality.csv)"
    rows = path.read_text().splitlines()
    assert rows[1:] == [
        "1,committee,1a2b,0.9000,0.1000,too large; ragged",
        "3,otsu,,0.2000,,",
    ]


def test_goes_on_from_the_rows_there(path):
    first = QualityTable(path, overwrite=False)
    first.add(THREE)
    first.close()
    second = QualityTable(path, overwrite=False)
    assert second.source(3) == THREE.source
    assert second.source(1) is None
    second.add(ONE)
    second.close()
    assert set(QualityTable(path, overwrite=False).rows) == {1, 3}


def test_overwrite_begins_anew(path):
    table = QualityTable(path, overwrite=False)
    table.add(THREE)
    table.close()
    assert QualityTable(path, overwrite=True).source(3) is None


def test_done_again_replaces_the_row(path):
    table = QualityTable(path, overwrite=False)
    table.add(ONE)
    table.add(MaskQuality(1, "person", "", "0.2000", "", ""))
    table.close()
    assert path.read_text() == f"{HEADER}\n1,person,,0.2000,,\n"


@pytest.mark.parametrize(
    "torn", ["1", "1,comm", "1,committee,1a2b,0.9000,0.1000,too la"]
)
def test_last_line_torn_by_a_kill_is_done_again(path, torn):
    path.parent.mkdir()
    path.write_text(f"{HEADER}\n3,otsu,,0.2000,,\n{torn}")
    table = QualityTable(path, overwrite=False)
    assert set(table.rows) == {3}
    table.add(ONE)
    table.close()
    assert QualityTable(path, overwrite=False).rows == {1: ONE, 3: THREE}


def test_assess():
    mask = np.zeros((10, 10), np.uint8)
    mask[:5] = 255
    row = assess(7, "otsu", mask, mask)
    assert (row.id, row.area_fraction, row.disagreement) == (7, "0.5000", "")
    assert assess(7, "otsu", mask * 0, mask).flags == "empty"
    row = assess_committee_mask(7, 5, "1a2b", mask, 0.25, mask)
    assert (row.source, row.committee) == ("committee, epoch 5", "1a2b")
    assert row.disagreement == "0.2500"


def test_committees_and_what_they_no_longer_made(path):
    table = QualityTable(path, overwrite=False)
    table.add(ONE)
    table.add(THREE)
    assert table.committees([1, 3]) == ["1a2b"]
    assert table.committees([3]) == []
    assert table.outdated_lines(5, "1a2b") == []
    (line,) = table.outdated_lines(6, "ffff")
    assert line.startswith("1 masks are of another committee (committee)")
    assert "--overwrite" in line
