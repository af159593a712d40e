"""Bad input on every step that reads it: one line each, and the rest is processed."""

import contextlib
import io
import re
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pandas as pd
import pydicom
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from boneage.cohort import columns, table
from boneage.cohort.table import Cohort
from boneage.errors import InputError
from boneage.ids import parse_id
from boneage.io import dicom, hdf5, radiographs
from tests.conftest import REPOSITORY, call
from tests.scripts import bad_input
from tests.scripts.bad_input import IMAGES, TABLES

GOOD = (901, 902, 903)
# those of IMAGES that a step finds under <id>.png
PNG_KINDS = [name for name, kind in IMAGES.items() if kind.suffix != ".dcm"]
OF_NO_USE = [n for n in PNG_KINDS if isinstance(IMAGES[n].expected, str)]

NO_OVERRIDE = "-dac_override,-dac_read_search"


def test_there_are_many_kinds():
    assert len(IMAGES) >= 60
    assert len(TABLES) >= 40


@pytest.mark.parametrize("name", IMAGES)
def test_image_is_read_as_it_is_or_refused_in_one_line(tmp_path, name):
    kind = IMAGES[name]
    path = tmp_path / f"1{kind.suffix}"
    kind.make(path)
    if isinstance(kind.expected, str):
        with pytest.raises(InputError, match=re.escape(kind.expected)) as caught:
            radiographs.read(path)
        assert str(caught.value).startswith((f"{path} ", f"{path}: "))
    else:
        found = radiographs.read(path)
        assert found.dtype == kind.expected.dtype
        np.testing.assert_array_equal(found, kind.expected)


@pytest.mark.parametrize("name", TABLES)
def test_table_is_read_as_it_is_or_refused_in_one_line(tmp_path, name):
    content, expected = TABLES[name]
    path = tmp_path / "train.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if isinstance(expected, str):
        with pytest.raises(InputError, match=re.escape(expected)) as caught:
            table.read_cohort(path)
        message = str(caught.value)
        assert message.startswith((f"{path} ", f"{path}: "))
        assert "\n" not in message
    else:
        found = table.read_cohort(path)
        columns = (found.ids, found.bone_age_months, found.is_male)
        assert tuple(column.tolist() for column in columns) == expected


def test_messages_are_those_that_a_person_has_read():
    """Changed on purpose? Write them anew as bad_input.py says, and read them."""
    written = (REPOSITORY / "tests" / "scripts" / "messages.txt").read_text()
    assert bad_input.messages().splitlines() == written.splitlines()


@pytest.fixture
def mixed(layout):
    """Good radiographs beside one of every bad kind, all named <id>.png; their ids."""
    layout.radiographs.mkdir(parents=True)
    ids = {}
    for number, name in enumerate(PNG_KINDS, start=1):
        IMAGES[name].make(layout.radiograph(number))
        ids[name] = number
    for radiograph_id in GOOD:
        bad_input.quiet_grey(layout.radiograph(radiograph_id), radiograph_id)
    every = np.array([*ids.values(), *GOOD])
    ages = np.full(len(every), 100.0)
    table.write_cohort(layout.train_csv, Cohort(every, ages, ages > 0))
    return layout, ids


def said_of(text, *numbers):
    """How many items the closing lines of a step set aside."""
    assert "Traceback" not in text
    return int(re.search(r"(\d+) set aside", text)[1])


def test_step0_imports_what_is_an_image(layout, tmp_path, capsys):
    folder = tmp_path / "theirs"
    folder.mkdir()
    rows = []
    for number, kind in enumerate(IMAGES.values(), start=1):
        kind.make(folder / f"{number}{kind.suffix}")
        rows.append(f"{number},{number + 40},True\n")
    (folder / "ages.csv").write_text("id,boneage,male\n" + "".join(rows))
    step0 = "al_segmentation/step0_prepare_cohort"
    call(layout, step0, source="folder", from_=folder)
    readable = {
        number: kind.expected
        for number, kind in enumerate(IMAGES.values(), start=1)
        if not isinstance(kind.expected, str)
    }
    assert said_of(capsys.readouterr().out) == len(IMAGES) - len(readable)
    imported = table.read_cohort(layout.train_csv)
    assert imported.ids.tolist() == list(readable)
    for number, expected in readable.items():
        found = radiographs.read(layout.radiograph(number))
        np.testing.assert_array_equal(found, expected)


def test_step1_masks_the_rest(mixed, capsys):
    layout, ids = mixed
    call(layout, "al_segmentation/step1_corase_segment")
    assert said_of(capsys.readouterr().out) == len(OF_NO_USE)
    usable = {*ids.values(), *GOOD} - {ids[name] for name in OF_NO_USE}
    masked = {i for i in usable if layout.coarse_mask(i).exists()}
    assert masked == usable
    assert len(list(layout.coarse.glob("*_bin.png"))) == len(usable)


def test_step2_packs_the_rest(mixed, capsys):
    layout, ids = mixed
    call(layout, "al_segmentation/step2_image_2_h5", pool="unannotated", size=32)
    assert said_of(capsys.readouterr().out) == len(OF_NO_USE)
    packed = hdf5.open_packed(layout.unannotated_h5, "step2")
    usable = {*ids.values(), *GOOD} - {ids[name] for name in OF_NO_USE}
    assert set(packed.ids.tolist()) == usable


def test_step2_takes_no_mask_that_is_none(mixed, capsys):
    """A mask of each bad kind; two good pairs."""
    layout, ids = mixed
    layout.annotated.mkdir(parents=True)
    for name, number in ids.items():
        bad_input.quiet_grey(layout.annotated / f"{number}_ori.png", number)
        IMAGES[name].make(layout.annotated / f"{number}_bin.png")
    for i in GOOD:
        bad_input.quiet_grey(layout.annotated / f"{i}_ori.png", i)
        mask = (bad_input.GREY > 100) * np.uint8(255)
        radiographs.write(layout.annotated / f"{i}_bin.png", mask)
    step = "al_segmentation/step2_image_2_h5"
    # neither these nor the good ones look like hands
    confirmed = (ids["1 bit"], *GOOD)
    call(layout, step, pool="annotated", size=32, confirm=confirmed)
    packed = hdf5.open_packed(layout.annotated_h5, "step2")
    # of the kinds, only one has two values, neither of them everywhere
    assert packed.ids.tolist() == [ids["1 bit"], *GOOD]
    assert said_of(capsys.readouterr().out) == len(ids) - 1


def test_step3_enhances_the_rest(mixed, capsys):
    layout, ids = mixed
    for i in (*ids.values(), *GOOD):
        mask = (bad_input.GREY > 100) * np.uint8(255)
        radiographs.write(layout.mask(i), mask)
    call(layout, "al_segmentation/step3_gen_segmentation_with_enhance")
    packed = hdf5.open_packed(layout.hands_h5, "step3")
    of_other_shape = [
        *("jpeg turned by exif", "png turned by exif", "tiff turned"),
        *("1 x 1", "one row"),
    ]
    no_use = {ids[name] for name in OF_NO_USE + of_other_shape}
    assert set(packed.ids.tolist()) == {*ids.values(), *GOOD} - no_use
    assert said_of(capsys.readouterr().out) == len(no_use)


def test_step3_check_data_counts_them(mixed, capsys, tmp_path):
    layout, ids = mixed
    report = tmp_path / "report.csv"
    assert call(layout, "al_segmentation/step3_check_data", report=report) == 1
    problems = pd.read_csv(report).query("stage == 'radiographs'").id
    nothing_to_see = ["all black", "all white", "1 x 1", "one row"]
    bad = {ids[name] for name in OF_NO_USE + nothing_to_see}
    assert set(problems) == bad
    assert "Traceback" not in capsys.readouterr().out


def test_step3_segments_the_rest(mixed, trained_committee, capsys):
    layout, ids = mixed
    shutil.copytree(trained_committee.committee, layout.committee)
    call(layout, "al_segmentation/step3_gen_segmentation_result")
    assert said_of(capsys.readouterr().out) == len(OF_NO_USE)
    usable = {*ids.values(), *GOOD} - {ids[name] for name in OF_NO_USE}
    assert {i for i in usable if layout.mask(i).exists()} == usable


LARGE = """
import sys
from pathlib import Path
from boneage.io import radiographs
from boneage.errors import InputError
try:
    radiographs.read(Path(sys.argv[1]))
except InputError as error:
    print(error)
status = Path("/proc/self/status")
lines = status.read_text().splitlines() if status.exists() else ["VmHWM: 0"]
print(next(int(x.split()[1]) // 1024 for x in lines if x.startswith("VmHWM")))
"""


def test_twenty_thousand_pixels_a_side_cost_no_memory(tmp_path):
    """The peak of a process of its own (what getrusage says counts its parent, too)."""
    path = tmp_path / "1.png"
    path.write_bytes(bad_input.png_of(20_000, 20_000))
    command = [sys.executable, "-c", LARGE, path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    refusal, megabytes = done.stdout.splitlines()
    assert refusal == (
        f"{path} must have at most 10000 px a side (got 20000 x 20000 px); reduce it"
    )
    assert int(megabytes) < 500


def test_file_larger_than_any_radiograph_is_not_read(tmp_path):
    path = tmp_path / "1.png"
    with path.open("wb") as file:
        file.write(bad_input.PNG)
        file.truncate(1 << 40)
    with pytest.raises(
        InputError, match=r"1\.png must be at most 256 MB \(got 1048576 MB"
    ):
        radiographs.read(path)


def test_file_that_may_not_be_read_is_named(tmp_path):
    path = tmp_path / "1.png"
    path.write_bytes(bad_input.PNG)
    path.chmod(0)
    command = [sys.executable, "-c", LARGE, path]
    if bad_input.is_let_in(path):
        # root may read everything, but for capabilities that it can be robbed of
        drop = shutil.which("setpriv")
        if drop is None:
            pytest.skip("root reads whatever the permissions, and setpriv is missing")
        command = [drop, "--bounding-set", NO_OVERRIDE, *command]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    refusal = done.stdout.splitlines()[0]
    assert refusal == f"{path} cannot be read (Permission denied)"


def packed_file(path, **change):
    """A good packed file, then changed: dataset or attribute -> content, None to go."""
    with hdf5.create(path, 2, 8, {"clip_limit": 0.03}) as writer:
        for i in (1, 2):
            writer.add(i, np.full((8, 8), i, np.uint8))
    with h5py.File(path, "r+") as file:
        for name, content in change.items():
            holder = file.attrs if name in file.attrs else file
            del holder[name]
            if content is not None:
                holder[name] = content
    return path


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"version": 2}, "must be of version 1 .got 2"),
        ({"version": None}, "must be of version 1 .got None"),
        ({"size": None}, "damaged"),
        ({"size": "large"}, "damaged"),
        ({"preprocessing": None}, "damaged"),
        ({"preprocessing": "square"}, "damaged"),
        ({"preprocessing": "[1]"}, "damaged"),
        ({"id": None}, "damaged"),
        ({"id": [[1], [2]]}, "must be whole numbers or names"),
        ({"id": [1.0, 2.0]}, "must be whole numbers or names"),
        ({"id": [1, 1]}, "id 1 must be unique"),
        ({"id": [1, 2, 3]}, r"must be \(3, 8, 8\) uint8 \(got \(2, 8, 8\)"),
        ({"image": np.zeros((2, 8, 9), np.uint8)}, r"got \(2, 8, 9\)"),
        ({"image": np.zeros((2, 8, 8))}, "uint8"),
        ({"image": h5py.ExternalLink("b.h5", "image")}, "got a link, image"),
        ({"image": h5py.SoftLink("/id")}, "got a link, image"),
    ],
)
def test_packed_file_of_another_kind(tmp_path, change, complaint):
    path = packed_file(tmp_path / "a.h5", **change)
    with pytest.raises(InputError, match=complaint) as caught:
        hdf5.open_packed(path, "step2")
    assert str(caught.value).startswith((f"{path} ", f"{path}: "))


def test_packed_file_whose_images_lie_elsewhere(tmp_path):
    path = packed_file(tmp_path / "a.h5", image=None)
    (tmp_path / "secret").write_bytes(bytes(128))
    with h5py.File(path, "r+") as file:
        elsewhere = [(str(tmp_path / "secret"), 0, 128)]
        file.create_dataset("image", (2, 8, 8), np.uint8, external=elsewhere)
    with pytest.raises(InputError, match="must hold its own images"):
        hdf5.open_packed(path, "step2")


RELAXED = settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def read_or_refused(reader, path):
    """What is read, or None where one line refuses it."""
    refusal = f"{path}: "
    with contextlib.suppress(InputError):
        try:
            return reader(path)
        except InputError as error:
            refusal = str(error)
            raise
        finally:
            assert refusal.startswith((f"{path} ", f"{path}: "))
            assert "\n" not in refusal
    return None


START = [
    *(bad_input.PNG, bad_input.JPEG, bad_input.TIFF, bad_input.WEBP),
    bad_input.dicom_of(bad_input.GREY),
]


@RELAXED
@given(
    start=st.sampled_from(START),
    changes=st.lists(
        st.tuples(st.integers(0, 9000), st.binary(max_size=6)), max_size=4
    ),
    kept=st.integers(0, 20_000),
)
# the first element cut short: an exception of pydicom's own
@example(start=START[-1], changes=[(139, b"\0\0")], kept=139)
def test_whatever_lies_there_is_an_image_or_refused_in_one_line(
    tmp_path, start, changes, kept
):
    content = bytearray(start[:kept])
    for place, put in changes:
        content[place : place + len(put)] = put
    path = tmp_path / ("1.dcm" if start is START[-1] else "1.png")
    path.write_bytes(content)
    found = read_or_refused(radiographs.read, path)
    assert found is None or found.ndim == 2
    assert found is None or found.dtype in (np.uint8, np.uint16)


CELLS = st.one_of(
    st.integers(-5, 400).map(str),
    st.sampled_from(["True", "F", "m", "1", "", "NaN", "../1", '"', "1_0", "\u0663"]),
    st.text(max_size=8),
)


@RELAXED
@given(
    rows=st.lists(st.lists(CELLS, min_size=1, max_size=4), max_size=6),
    delimiter=st.sampled_from(",;\t"),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_whatever_a_table_says_is_read_or_refused_in_one_line(
    tmp_path, rows, delimiter, line_end
):
    lines = ["id,boneage,male".replace(",", delimiter), *map(delimiter.join, rows)]
    path = tmp_path / "train.csv"
    path.write_bytes(line_end.join(lines).encode("utf-8", "surrogatepass"))
    found = read_or_refused(table.read_cohort, path)
    if found is None:
        return
    ages = found.bone_age_months
    assert [parse_id(str(i)) for i in found.ids] == found.ids.tolist()
    assert len(set(found.ids.tolist())) == len(found)
    assert ((ages > 0) & (ages <= columns.OLDEST_MONTHS) | np.isnan(ages)).all()


# what the reader looks at: tag, type, values that devices and vandals write
HEADER = {
    "TransferSyntaxUID": ["1.2.840.10008.1.2.5", "1.2.840.10008.1.2.2", "1.2.3"],
    "PhotometricInterpretation": ["MONOCHROME1", "RGB", "PALETTE COLOR", "", "x"],
    "SamplesPerPixel": [1, 3, 0, None],
    "PlanarConfiguration": [0, 1, 9],
    "NumberOfFrames": ["1", "2", "-1", "", "x"],
    "Rows": [96, 95, 0, 65535, None],
    "Columns": [80, 81, 0, None],
    "BitsAllocated": [8, 16, 32, 1, 0, None],
    "BitsStored": [8, 12, 16, 0, 99],
    "HighBit": [7, 11, 15, 99],
    "PixelRepresentation": [0, 1, 7, None],
    "PixelPaddingValue": [0, 65535, 255],
    "PixelPaddingRangeLimit": [0, 65535, 9],
    "RescaleSlope": ["1", "0", "-1", "1e400", "1,5", "nan", "x", ""],
    "RescaleIntercept": ["0", "-1024", "0,5", "x", ""],
    "WindowCenter": ["128", "40\\80", "127,5", "", "x", "1e308"],
    "WindowWidth": ["256", "0", "-5", "0,5", "1\\2", "x", "1e308"],
    "VOILUTFunction": ["LINEAR", "SIGMOID", "LINEAR_EXACT", "x"],
    "PatientSex": ["M", "F", "O", "W", "\u00e9", "M\\F"],
    "Laterality": ["R", "L", "", "x"],
    "BodyPartExamined": ["HAND", "CHEST", ""],
}


def with_header(tags):
    """A DICOM file with these tags, whatever they say; text goes in as it is."""
    dataset = pydicom.dcmread(io.BytesIO(bad_input.dicom_of(bad_input.GREY)))
    for keyword, value in tags.items():
        if keyword == "TransferSyntaxUID":
            continue
        if value is None:
            if keyword in dataset:
                delattr(dataset, keyword)
            continue
        tag = pydicom.tag.Tag(keyword)
        vr = pydicom.datadict.dictionary_VR(tag)
        if isinstance(value, int):
            dataset.add(pydicom.DataElement(tag, "US", value))
            continue
        content = value.encode("latin-1", "replace")
        content += b" " * (len(content) % 2)
        dataset[tag] = pydicom.dataelem.RawDataElement(
            tag, vr, len(content), content, 0, False, True
        )
    buffer = io.BytesIO()
    pydicom.dcmwrite(
        buffer, dataset, implicit_vr=False, little_endian=True, force_encoding=True
    )
    plain = b"1.2.840.10008.1.2.1\0"
    syntax = tags.get("TransferSyntaxUID", "1.2.840.10008.1.2.1").encode()
    return buffer.getvalue().replace(plain, syntax.ljust(len(plain), b"\0"))


@RELAXED
@given(
    tags=st.dictionaries(
        st.sampled_from(sorted(HEADER)), st.integers(0, 7), max_size=6
    ),
    without_preamble=st.booleans(),
)
def test_whatever_a_dicom_header_says_is_read_or_refused_in_one_line(
    tmp_path, tags, without_preamble
):
    chosen = {
        name: HEADER[name][place % len(HEADER[name])] for name, place in tags.items()
    }
    path = tmp_path / "1"
    path.write_bytes(with_header(chosen)[132 if without_preamble else 0 :])
    found = read_or_refused(radiographs.read, path)
    if found is not None:
        assert found.dtype == np.uint16
        assert found.ndim == 2
        assert found.size
    facts = read_or_refused(dicom.read_facts, path)
    assert facts is None or all(isinstance(fact, str) for fact in facts)
