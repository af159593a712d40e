"""Bad input of every kind, made at test time, and what is expected of each.

`python -m tests.scripts.bad_input > tests/scripts/messages.txt` writes down the line
that each kind gets, for a person to read through. A kind is a name, the bytes (or a
function that makes them lie there), and either the image that must come out or words
of the one line that refuses it.
"""

import contextlib
import functools
import io
import os
import re
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import gdcm
import numpy as np
import openpyxl
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    RLELossless,
)

from boneage.cohort import table
from boneage.errors import InputError
from boneage.evaluation.reader_agreement import read_readings
from boneage.io import radiographs
from boneage.prediction.reference import read_reference
from boneage.serving.command import parse_age_flag

GREY = (np.add.outer(np.arange(96), np.arange(80)) * 255 // 174).astype(np.uint8)
GREY[20:40, 20:40] = 255
DEEP = GREY.astype(np.uint16) * 257


class Kind(NamedTuple):
    """make: path -> None, writes what lies there. expected: an image, or words."""

    suffix: str
    make: Callable[[Path], object]
    expected: np.ndarray | str


def raw(content: bytes) -> Callable[[Path], object]:
    return functools.partial(_write, content)


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def encoded(image: np.ndarray | Image.Image, form: str, **more: object) -> bytes:
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    buffer = io.BytesIO()
    picture.save(buffer, form, **more)
    return buffer.getvalue()


def turned() -> Image.Exif:
    """EXIF that says: turn by 90 degrees clockwise to see it upright."""
    exif = Image.Exif()
    exif[274] = 6
    return exif


def rgb(image: np.ndarray) -> np.ndarray:
    return np.dstack([image] * 3)


def with_alpha(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.dstack([image, image, image, alpha.astype(np.uint8)])


def png_of(width: int, height: int) -> bytes:
    """A PNG of zeros, of any size, in few bytes and little memory."""
    packer = zlib.compressobj(9)
    row = bytes(1 + width)
    content = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()

    def chunk(name: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    signature = b"\x89PNG\r\n\x1a\n"
    return (
        signature
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", content)
        + chunk(b"IEND", b"")
    )


def promised(width: int, height: int) -> bytes:
    """A PNG that says it is of this size and ends at once."""
    small = bytearray(png_of(1, 1))
    small[16:24] = struct.pack(">II", width, height)
    small[29:33] = struct.pack(">I", zlib.crc32(bytes(small[12:29])))
    return bytes(small)


def dicom_of(image: np.ndarray, **tags: object) -> bytes:
    """One frame with what a reader needs; a tag of None is left out."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
    dataset.Rows, dataset.Columns = image.shape[:2]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    bits = image.dtype.itemsize * 8
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = 0
    dataset.PixelData = image.tobytes()
    for name, value in tags.items():
        if value is None:
            dataset.pop(name, None)
        else:
            setattr(dataset, name, value)
    return stored(dataset)


def stored(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def run_length_dicom() -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(dicom_of(DEEP)))
    dataset.compress(RLELossless, generate_instance_uid=False)
    return stored(dataset)


def nested_dicom(depth: int) -> bytes:
    """Sequences of unknown length in one another, before the image."""
    opened = b"\x08\x00\x15\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0" + b"\xff" * 4
    content = dicom_of(DEEP)
    place = content.index(b"\x28\x00\x02\x00US")
    return content[:place] + opened * depth + content[place:]


def sequenced_dicom() -> bytes:
    """A private-looking, harmless sequence: no reason to refuse."""
    item = Dataset()
    item.PatientID = "nobody"
    return dicom_of(DEEP, OtherPatientIDsSequence=Sequence([item]))


def absurd_length_dicom() -> bytes:
    """The pixel data promise four gigabytes: all that is there is read."""
    content = bytearray(dicom_of(DEEP))
    place = content.index(b"\xe0\x7f\x10\x00")
    content[place + 8 : place + 12] = struct.pack("<I", 0xFFFFFFF0)
    return bytes(content)


def deflated_dicom() -> bytes:
    content = dicom_of(DEEP)
    # the transfer syntax alone: nothing behind the header is looked at
    old, new = b"1.2.840.10008.1.2.1\x00", b"1.2.840.10008.1.2.1.99"
    dataset = pydicom.dcmread(io.BytesIO(content))
    dataset.file_meta.TransferSyntaxUID = new.decode()
    return stored(dataset) if old in content else b""


def recoded(syntax: str) -> bytes:
    """A DICOM file compressed by GDCM; syntax: a name of gdcm.TransferSyntax."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "plain"), Path(folder, "packed")
        source.write_bytes(dicom_of(DEEP))
        reader, change = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax()
        reader.SetFileName(str(source))
        assert reader.Read()
        change.SetTransferSyntax(
            gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax))
        )
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(str(target))
        assert writer.Write()
        return target.read_bytes()


def headless(is_implicit: bool) -> bytes:
    """Elements alone, without preamble and transfer syntax."""
    dataset = pydicom.dcmread(io.BytesIO(dicom_of(DEEP)))
    del dataset.file_meta
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, implicit_vr=is_implicit, little_endian=True)
    return buffer.getvalue()


def coloured(image: np.ndarray, kind: str) -> bytes:
    return dicom_of(
        image,
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation=kind,
    )


def with_text(keyword: str, text: bytes, **tags: object) -> bytes:
    """A number as some device wrote it, which pydicom would not write."""
    content = dicom_of(DEEP, **{keyword: "1" * len(text)}, **tags)
    return content.replace(b"1" * len(text), text)


def with_table(promised: int, entries: int) -> bytes:
    """A VOI LUT that changes nothing, and may be short; the image has 8 bits."""
    item = Dataset()
    item.LUTDescriptor = [promised, 0, 16]
    item.LUTData = (257 * np.arange(entries)).astype(np.uint16).tobytes()
    return dicom_of(GREY, VOILUTSequence=Sequence([item]))


def dangling(path: Path) -> None:
    path.symlink_to(path.with_name("nothing-there"))


PALETTE = Image.fromarray(rgb(GREY)).quantize(256)
OPAQUE = np.full(GREY.shape, 255)
HALF = np.where(GREY > 100, 255, 0)
NO_IMAGE, NO_END = "got no readable image", "its end is missing"
SEVERAL, INKS = "must hold one picture (got several)", "printing inks"
NEGATIVE = "must store black as 0 (got a negative)"
PNG, JPEG = encoded(GREY, "PNG"), encoded(GREY, "JPEG", quality=100)
TIFF, WEBP = encoded(GREY, "TIFF"), encoded(rgb(GREY), "WEBP", lossless=True)
TURNED = np.rot90(GREY, -1)
STRETCHED = np.round(GREY / 255.0 * 65535).astype(np.uint16)
WINDOW = np.round((DEEP - 0.0) * (65535 / 65535)).astype(np.uint16)
# levels up to 30,000, a corner of 65,535 that is no part of the picture
PADDED = (DEEP * (30_000 / 65_535)).astype(np.uint16)
UNPADDED = np.round(PADDED * (65_535 / 30_000)).astype(np.uint16)
PADDED[-9:, :9], UNPADDED[-9:, :9] = 65_535, 0
MANY = {"save_all": True}
OTHER = [Image.fromarray(255 - GREY)]
NO_PIXELS = "cannot be decoded"


def _jpeg_read() -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(JPEG)))


IMAGES: dict[str, Kind] = {
    "png": Kind(".png", raw(PNG), GREY),
    "1 bit": Kind(".png", raw(encoded(GREY > 90, "PNG")), (GREY > 90) * np.uint8(255)),
    "16 bits": Kind(".png", raw(encoded(DEEP, "PNG")), DEEP),
    "rgb": Kind(".png", raw(encoded(rgb(GREY), "PNG")), GREY),
    "rgba, opaque": Kind(".png", raw(encoded(with_alpha(GREY, OPAQUE), "PNG")), GREY),
    "rgba, transparent parts": Kind(
        ".png", raw(encoded(with_alpha(GREY, HALF), "PNG")), "transparent parts"
    ),
    "grey and alpha": Kind(
        ".png",
        raw(encoded(Image.fromarray(with_alpha(GREY, HALF)).convert("LA"), "PNG")),
        "transparent parts",
    ),
    "webp, transparent parts": Kind(
        ".webp",
        raw(encoded(with_alpha(GREY, HALF), "WEBP", lossless=True)),
        "transparent parts",
    ),
    "palette": Kind(
        ".png",
        raw(encoded(PALETTE, "PNG")),
        np.asarray(PALETTE.convert("RGB"))[..., 0],
    ),
    "palette with a transparent entry": Kind(
        ".png", raw(encoded(PALETTE, "PNG", transparency=0)), "transparent parts"
    ),
    "animated png": Kind(
        ".png", raw(encoded(GREY, "PNG", append_images=OTHER, **MANY)), SEVERAL
    ),
    "png turned by exif": Kind(
        ".png", raw(encoded(GREY, "PNG", exif=turned())), TURNED
    ),
    "jpeg": Kind(".jpg", raw(JPEG), _jpeg_read()),
    "jpeg named png": Kind(".png", raw(JPEG), _jpeg_read()),
    "png named jpg": Kind(".jpg", raw(PNG), GREY),
    "jpeg turned by exif": Kind(
        ".jpeg",
        raw(encoded(GREY, "JPEG", quality=100, exif=turned())),
        np.rot90(_jpeg_read(), -1),
    ),
    "cmyk jpeg": Kind(
        ".jpg",
        raw(encoded(Image.fromarray(rgb(GREY)).convert("CMYK"), "JPEG")),
        INKS,
    ),
    "webp": Kind(".webp", raw(WEBP), GREY),
    "animated webp": Kind(
        ".webp",
        raw(encoded(rgb(GREY), "WEBP", append_images=OTHER, **MANY)),
        SEVERAL,
    ),
    "tiff": Kind(".tif", raw(TIFF), GREY),
    "tiff of 16 bits": Kind(".tiff", raw(encoded(DEEP, "TIFF")), DEEP),
    "packed tiff": Kind(
        ".tif", raw(encoded(GREY, "TIFF", compression="tiff_lzw")), GREY
    ),
    "tiff of floats": Kind(
        ".tif",
        raw(encoded(GREY.astype(np.float32), "TIFF")),
        "must have 8 or 16 bits a pixel (got float32)",
    ),
    "tiff of 32 bits": Kind(
        ".tif",
        raw(encoded(GREY.astype(np.int32), "TIFF")),
        "must have 8 or 16 bits a pixel (got int32)",
    ),
    "tiff of several pages": Kind(
        ".tif", raw(encoded(GREY, "TIFF", append_images=OTHER, **MANY)), SEVERAL
    ),
    "tiff stored as a negative": Kind(
        ".tif", raw(encoded(GREY, "TIFF", tiffinfo={262: 0})), NEGATIVE
    ),
    "cmyk tiff": Kind(
        ".tif",
        raw(encoded(Image.fromarray(rgb(GREY)).convert("CMYK"), "TIFF")),
        INKS,
    ),
    "tiff turned": Kind(".tif", raw(encoded(GREY, "TIFF", tiffinfo={274: 6})), TURNED),
    "inverted": Kind(".png", raw(encoded(255 - GREY, "PNG")), 255 - GREY),
    "all black": Kind(".png", raw(encoded(0 * GREY, "PNG")), 0 * GREY),
    "all white": Kind(
        ".png", raw(encoded(0 * GREY + 255, "PNG")), 0 * GREY + np.uint8(255)
    ),
    "1 x 1": Kind(".png", raw(encoded(GREY[:1, :1], "PNG")), GREY[:1, :1]),
    "one row": Kind(".png", raw(encoded(GREY[:1], "PNG")), GREY[:1]),
    "empty": Kind(".png", raw(b""), NO_IMAGE),
    "png cut in half": Kind(".png", raw(PNG[: len(PNG) // 2]), NO_END),
    "png without its last bytes": Kind(".png", raw(PNG[:-9]), NO_END),
    "png's first bytes": Kind(".png", raw(PNG[:12]), NO_IMAGE),
    "jpeg cut in half": Kind(".jpg", raw(JPEG[: len(JPEG) // 2]), NO_END),
    "webp cut": Kind(".webp", raw(WEBP[:-20]), NO_END),
    "tiff cut": Kind(".tif", raw(TIFF[:-3000]), NO_END),
    "png with a changed byte": Kind(
        ".png",
        raw(PNG[:100] + bytes([PNG[100] ^ 1]) + PNG[101:]),
        "it is damaged",
    ),
    "text": Kind(".png", raw(b"id,boneage,male\n1,2,True\n"), NO_IMAGE),
    "html page of a failed download": Kind(".jpg", raw(b"<html>404</html>"), NO_IMAGE),
    "gif": Kind(".png", raw(encoded(GREY, "GIF")), NO_IMAGE),
    "bmp": Kind(".png", raw(encoded(GREY, "BMP")), NO_IMAGE),
    "dicom named png": Kind(".png", raw(dicom_of(DEEP)), STRETCHED),
    "zeros": Kind(".png", raw(bytes(4096)), NO_IMAGE),
    "20,000 x 20,000": Kind(
        ".png",
        raw(promised(20_000, 20_000)),
        "at most 10000 px a side (got 20000 x 20000 px)",
    ),
    "one row of 60,000": Kind(
        ".png", raw(png_of(60_000, 1)), "at most 10000 px a side (got 60000 x 1 px)"
    ),
    "no pixels": Kind(".png", raw(promised(0, 5)), NO_IMAGE),
    "a folder": Kind(".png", Path.mkdir, "must be a file (got a folder)"),
    "a link to nothing": Kind(".png", dangling, "a link to nothing"),
    "a pipe": Kind(".png", os.mkfifo, "must be a file (got a device or pipe)"),
    "dicom": Kind(".dcm", raw(dicom_of(DEEP)), STRETCHED),
    "dicom of 8 bits": Kind(".dicom", raw(dicom_of(GREY)), STRETCHED),
    "compressed dicom": Kind(".dcm", raw(run_length_dicom()), STRETCHED),
    "dicom with a sequence": Kind(".dcm", raw(sequenced_dicom()), STRETCHED),
    "monochrome1": Kind(
        ".dcm",
        raw(dicom_of(65535 - DEEP, PhotometricInterpretation="MONOCHROME1")),
        STRETCHED,
    ),
    "dicom of several frames": Kind(
        ".dcm",
        raw(dicom_of(np.stack([DEEP] * 2)[0], NumberOfFrames=2)),
        "must hold one frame (got 2)",
    ),
    "dicom of indices into colours": Kind(
        ".dcm",
        raw(dicom_of(GREY, PhotometricInterpretation="PALETTE COLOR")),
        "got PALETTE COLOR",
    ),
    "dicom without an image": Kind(
        ".dcm", raw(dicom_of(DEEP, PixelData=None)), "must hold a whole image"
    ),
    "dicom with too few pixels": Kind(
        ".dcm", raw(dicom_of(DEEP, PixelData=DEEP.tobytes()[:100])), NO_PIXELS
    ),
    "dicom without a size": Kind(
        ".dcm", raw(dicom_of(DEEP, Rows=None)), "Rows must be a whole number"
    ),
    "dicom of 60,000 rows": Kind(
        ".dcm",
        raw(dicom_of(DEEP, Rows=60_000)),
        "1 to 10000 px a side (got 80 x 60000 px)",
    ),
    "dicom of absurd length": Kind(".dcm", raw(absurd_length_dicom()), STRETCHED),
    "dicom with 3,000 nested sequences": Kind(
        ".dcm", raw(nested_dicom(3000)), NO_PIXELS
    ),
    "dicom deflated as a whole": Kind(
        ".dcm", raw(deflated_dicom()), "deflated as a whole"
    ),
    "dicom with a window of no width": Kind(
        ".dcm", raw(dicom_of(DEEP, WindowCenter=10, WindowWidth=0)), "got 0"
    ),
    "dicom cut": Kind(".dcm", raw(dicom_of(DEEP)[:300]), "must hold a whole image"),
    "png named dcm": Kind(".dcm", raw(PNG), GREY),
    "text named dcm": Kind(".dcm", raw(b"no DICOM at all"), NO_IMAGE),
    "bigtiff": Kind(".tif", raw(encoded(GREY, "TIFF", big_tiff=True)), GREY),
    "bigtiff of 16 bits": Kind(".tif", raw(encoded(DEEP, "TIFF", big_tiff=True)), DEEP),
    "bigtiff cut": Kind(
        ".tif", raw(encoded(GREY, "TIFF", big_tiff=True)[:-3000]), NO_END
    ),
    "bigtiff of several pages": Kind(
        ".tif",
        raw(encoded(GREY, "TIFF", big_tiff=True, append_images=OTHER, **MANY)),
        SEVERAL,
    ),
    "dicom without a suffix": Kind("", raw(dicom_of(DEEP)), STRETCHED),
    "dicom of a Siemens archive": Kind(".IMA", raw(dicom_of(DEEP)), STRETCHED),
    "dicom without a preamble": Kind("", raw(dicom_of(DEEP)[132:]), STRETCHED),
    "dicom of 1990, explicit": Kind("", raw(headless(is_implicit=False)), STRETCHED),
    "dicom of 1990, implicit": Kind("", raw(headless(is_implicit=True)), STRETCHED),
    "dicom, JPEG lossless": Kind(
        ".dcm", raw(recoded("JPEGLosslessProcess14_1")), STRETCHED
    ),
    "dicom, JPEG lossless, any predictor": Kind(
        ".dcm", raw(recoded("JPEGLosslessProcess14")), STRETCHED
    ),
    "dicom, JPEG-LS": Kind(".dcm", raw(recoded("JPEGLSLossless")), STRETCHED),
    "dicom, JPEG 2000": Kind(".dcm", raw(recoded("JPEG2000Lossless")), STRETCHED),
    "dicom, JPEG lossless, cut": Kind(
        ".dcm", raw(recoded("JPEGLosslessProcess14_1")[:-2500]), "end is missing"
    ),
    "dicom of equal colours": Kind(".dcm", raw(coloured(rgb(GREY), "RGB")), STRETCHED),
    "dicom of luma alone": Kind(
        ".dcm",
        raw(coloured(np.dstack([GREY, 0 * GREY + 128, 0 * GREY + 128]), "YBR_FULL")),
        STRETCHED,
    ),
    "dicom of other colours": Kind(
        ".dcm",
        raw(coloured(np.dstack([GREY, GREY // 2, GREY]), "RGB")),
        "must be grey (got colours, RGB)",
    ),
    "dicom with decimal commas": Kind(
        ".dcm", raw(with_text("WindowCenter", b"32767,5 ", WindowWidth="65536")), WINDOW
    ),
    "dicom with a window in words": Kind(
        ".dcm",
        raw(with_text("WindowCenter", b"auto", WindowWidth="9")),
        "WindowCenter must be a number (got 'auto')",
    ),
    "dicom with a slope in words": Kind(
        ".dcm",
        raw(with_text("RescaleSlope", b"auto", RescaleIntercept="0")),
        "RescaleSlope must be a number (got 'auto')",
    ),
    "dicom with a table": Kind(".dcm", raw(with_table(256, 256)), STRETCHED),
    "dicom with a short table": Kind(
        ".dcm", raw(with_table(256, 200)), "VOI LUT must have 256 entries (got 200)"
    ),
    "dicom that does not say what black is": Kind(
        ".dcm",
        raw(dicom_of(DEEP, PhotometricInterpretation=None)),
        "must state whether 0 is black or white",
    ),
    "dicom with padding": Kind(
        ".dcm", raw(dicom_of(PADDED, PixelPaddingValue=65535)), UNPADDED
    ),
    "dicom with a range of padding": Kind(
        ".dcm",
        raw(dicom_of(PADDED, PixelPaddingValue=65000, PixelPaddingRangeLimit=65535)),
        UNPADDED,
    ),
    "signed dicom with padding": Kind(
        ".dcm",
        raw(
            dicom_of(
                PADDED - np.uint16(32768),
                PixelRepresentation=1,
                PixelPaddingValue=32767,
            )
        ),
        UNPADDED,
    ),
    "monochrome1 with padding": Kind(
        ".dcm",
        raw(
            dicom_of(
                np.where(PADDED == 65535, 65535, 30000 - PADDED).astype(np.uint16),
                PhotometricInterpretation="MONOCHROME1",
                PixelPaddingValue=65535,
            )
        ),
        UNPADDED,
    ),
    "dicom of padding alone": Kind(
        ".dcm",
        raw(dicom_of(0 * DEEP + np.uint16(9), PixelPaddingValue=9)),
        "got padding alone",
    ),
}

HEAD = "id,boneage,male\n"
ROWS = "1,12,True\n2,180,False\n3,96,True\n"
ACCEPTED = ([1, 2, 3], [12.0, 180.0, 96.0], [True, False, True])

SHEET = [[1, 12, True], [2.0, 180.0, False], ["3.png", "96", "M"]]


def workbook(*sheets: list[list]) -> bytes:
    """An Excel workbook with these sheets, a list of rows each."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for rows in sheets:
        sheet = book.create_sheet()
        for row in rows:
            sheet.append(row)
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


# content -> what it must be read as, or words of the one line that refuses it
TABLES: dict[str, tuple[str | bytes, tuple | str]] = {
    "as it should be": (HEAD + ROWS, ACCEPTED),
    "BOM": ("\ufeff" + HEAD + ROWS, ACCEPTED),
    "CRLF": ((HEAD + ROWS).replace("\n", "\r\n"), ACCEPTED),
    "CR alone": ((HEAD + ROWS).replace("\n", "\r"), ACCEPTED),
    "semicolons": ((HEAD + ROWS).replace(",", ";"), ACCEPTED),
    "empty lines": (HEAD + "\n" + ROWS + "\n\n", ACCEPTED),
    "blanks around ids": (HEAD + ROWS.replace("2,180", " 2 , 180"), ACCEPTED),
    "M and F": (
        "id,boneage,sex\n1,12,M\n2,180,F\n3,96,m\n",
        ACCEPTED,
    ),
    "1 and 0": (HEAD + "1,12,1\n2,180,0\n3,96,1\n", ACCEPTED),
    "renamed columns": (
        "Image ID,male,Bone Age (months)\n1,TRUE,12\n2,FALSE,180\n3,TRUE,96\n",
        ACCEPTED,
    ),
    "further columns": (
        "id,boneage,male,note\n1,12,True,x\n2,180,False,\n3,96,True,z\n",
        ACCEPTED,
    ),
    "tabs": ((HEAD + ROWS).replace(",", "\t"), ACCEPTED),
    "a line that names the separator": (
        "sep=;\r\n" + (HEAD + ROWS).replace(",", ";"),
        ACCEPTED,
    ),
    "an unusual separator that is named": (
        '"sep=|"\n' + (HEAD + ROWS).replace(",", "|"),
        ACCEPTED,
    ),
    "a comma in a heading": (
        "id;boneage;male;age, years\n" + ROWS.replace(",", ";").replace("\n", ";9\n"),
        ACCEPTED,
    ),
    "trailing commas": (
        "id,boneage,male,,\n1,12,True,,\n2,180,False\n3,96,True,\n",
        ACCEPTED,
    ),
    "empty rows": (HEAD + ",,\n" + ROWS + ",,,\n", ACCEPTED),
    "UTF-16": ((HEAD + ROWS).encode("utf-16"), ACCEPTED),
    "UTF-16, the other way round": (
        b"\xfe\xff" + (HEAD + ROWS).encode("utf-16-be"),
        ACCEPTED,
    ),
    "Windows-1252": (
        ("id,boneage,male,größe\n" + ROWS.replace("\n", ",é\n")).encode("cp1252"),
        ACCEPTED,
    ),
    "xlsx": (workbook([["id", "boneage", "male"], *SHEET]), ACCEPTED),
    "xlsx with an empty sheet": (
        workbook([["id", "boneage", "male"], *SHEET], []),
        ACCEPTED,
    ),
    "xlsx with empty columns and rows": (
        workbook([["id", "boneage", "male", None], [None] * 4, *SHEET, [None] * 9]),
        ACCEPTED,
    ),
    "xlsx of two sheets": (
        workbook([["id", "boneage", "male"], *SHEET], [["notes"]]),
        "must have one sheet (got 2)",
    ),
    "xlsx cut": (
        workbook([["id", "boneage", "male"], *SHEET])[:-400],
        "cannot be read as an Excel workbook",
    ),
    "xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "(got xls)"),
    "ids that are file names": (
        HEAD + "1.png,12,True\n2.PNG,180,False\n3.dcm,96,True\n",
        ACCEPTED,
    ),
    "ids as floats": (HEAD + "1.0,12,True\n2.0,180,False\n3.00,96,True\n", ACCEPTED),
    "gender": ("id,boneage,Gender\n1,12,M\n2,180,F\n3,96,male\n", ACCEPTED),
    "sexes as floats": (HEAD + "1,12,1.0\n2,180,0.0\n3,96,1.0\n", ACCEPTED),
    "male: yes and no": (HEAD + "1,12,yes\n2,180,No\n3,96,Y\n", ACCEPTED),
    "sex: yes": ("id,boneage,sex\n1,12,yes\n", "True or False, M or F (got 'yes')"),
    "ages with a decimal comma": (
        "id;boneage;male\n1;12,0;True\n2;180,00;False\n3;96;True\n",
        ACCEPTED,
    ),
    "age in years, if the heading says so": (
        "id,bone_age_years,male\n1,1,True\n2,15.0,False\n3,8,True\n",
        ACCEPTED,
    ),
    "age in months and in years": (
        "id,Bone age (years),boneage,male\n1,1,12,True\n2,15,180,False\n3,8,96,True\n",
        ACCEPTED,
    ),
    "months under a heading of years": (
        "id,bone_age_years,male\n1,12,True\n2,180,False\n",
        "above 0 and at most 25 years (got '180')",
    ),
    "thousands with a comma": ("id;boneage;male\n1;1,200;True\n", "(got '1,200')"),
    "missing column": ("id,boneage\n1,12\n", "got no sex in"),
    "unknown column names": ("number,age,gender\n1,12,M\n", "got no id in"),
    "doubled column": (
        "id,id,boneage,male\n1,1,12,True\n",
        "one column for the id (got id and id)",
    ),
    "doubled id": (HEAD + ROWS + "2,180,False\n", "id 2 must be unique"),
    "doubled id with a leading zero": (HEAD + ROWS + "02,9,True\n", "must be unique"),
    "doubled id as a file name": (HEAD + ROWS + "2.png,9,True\n", "must be unique"),
    "negative age": (HEAD + "1,-12,True\n", "at most 300 months (got '-12')"),
    "absurd age": (HEAD + "1,1200,True\n", "at most 300 months (got '1200')"),
    "age that is no number": (HEAD + "1,NaN,True\n", "(got 'NaN')"),
    "endless age": (HEAD + "1,inf,True\n", "(got 'inf')"),
    "age in words": (HEAD + "1,twelve,True\n", "(got 'twelve')"),
    "age with two points": (HEAD + "1,1.2.3,True\n", "(got '1.2.3')"),
    "age with an underscore": (HEAD + "1,1_2,True\n", "(got '1_2')"),
    "age of other digits": (HEAD + "1,\u0661\u0662,True\n", "at most 300 months"),
    "years": (
        HEAD + "".join(f"{i},{i % 18 + 1},True\n" for i in range(40)),
        "look like years",
    ),
    "unknown sex": (HEAD + "1,12,x\n", "True or False, M or F (got 'x')"),
    "no sex": (HEAD + "1,12,\n", "True or False, M or F (got '')"),
    "id with slashes": (HEAD + "../../etc/1,12,True\n", "(got '../../etc/1')"),
    "id of dots": (HEAD + "..,12,True\n", "(got '..')"),
    "id of a suffix alone": (HEAD + ".png,12,True\n", "(got '.png')"),
    "id that ends as masks do": (HEAD + "1_bin,12,True\n", "must not end as files"),
    "negative id": (HEAD + "-1,12,True\n", "(got '-1')"),
    "quote that is never closed": (
        'id,boneage,male,note\n1,12,True,"x\n2,180,False,y\n',
        "cannot be read as CSV",
    ),
    "row too short": (HEAD + "1,12\n", "must have 3 values (got 2)"),
    "row too long": (HEAD + "1,12,True,9\n", "must have 3 values (got 4)"),
    "header alone": (HEAD, "must have a header and rows"),
    "nothing": ("", "got no id in an empty file"),
    "an image": (PNG, "must be a CSV file (got no text)"),
    "zero bytes": (HEAD + "1,12,True\0\n", "must be a CSV file (got no text)"),
}


# text -> months, or words of the one line that refuses it
AGES: dict[str, float | str] = {
    "8y3m": 99,
    "8 y 3 m": 99,
    "8 years 3 months": 99,
    "8Y": 96,
    "99m": 99,
    "99 months": 99,
    "98.5 m": 98.5,
    "0y1m": 1,
    "0m": 0,
    "8.25y": "such as 8y3m, 8y or 99m",
    "8": "such as 8y3m, 8y or 99m",
    "8y3": "such as 8y3m, 8y or 99m",
    "3m8y": "such as 8y3m, 8y or 99m",
    "-8y": "such as 8y3m, 8y or 99m",
    "8:3": "such as 8y3m, 8y or 99m",
    "\u0668y": "such as 8y3m, 8y or 99m",
    "eight years": "such as 8y3m, 8y or 99m",
    "2016-03-01": "such as 8y3m, 8y or 99m",
    "8y12m": "fewer than 12 months after the years",
    "26y": "at most 25 years",
    "999m": "at most 25 years",
}

SOURCE = "# source: Invented numbers, no medical reference\n"
COLUMNS_OF_REFERENCE = "age_months,sex,mean_months,standard_deviation_months\n"
YOUNGER, OLDER = "60,male,60,8\n", "120,male,126,12\n"

# content -> None where it is read, or words of the one line that refuses it
REFERENCES: dict[str, tuple[str | bytes, str | None]] = {
    "as it should be": (SOURCE + COLUMNS_OF_REFERENCE + YOUNGER + OLDER, None),
    "in any order": (SOURCE + COLUMNS_OF_REFERENCE + OLDER + YOUNGER, None),
    "semicolons, a comma in the source": (
        SOURCE + (COLUMNS_OF_REFERENCE + YOUNGER + OLDER).replace(",", ";"),
        None,
    ),
    "a source that a spreadsheet quoted": (
        f'"{SOURCE.strip()}",,,\r\n'
        + (COLUMNS_OF_REFERENCE + YOUNGER + OLDER).replace("\n", "\r\n"),
        None,
    ),
    "short headings": (
        SOURCE + "age_months,sex,mean,SD\n" + YOUNGER + OLDER.replace("male", "M"),
        None,
    ),
    "xlsx": (
        workbook(
            [
                [SOURCE.strip()],
                COLUMNS_OF_REFERENCE.strip().split(","),
                [60, "male", 60, 8],
                [120, "male", 126, 12],
            ]
        ),
        None,
    ),
    "no source": (COLUMNS_OF_REFERENCE + YOUNGER + OLDER, "must begin with the line"),
    "an empty source": (
        "# source:\n" + COLUMNS_OF_REFERENCE + YOUNGER,
        "must begin with the line",
    ),
    "source alone": (SOURCE, "must have one column age_months"),
    "no deviation": (
        SOURCE + "age_months,sex,mean_months\n60,male,60\n",
        "must have one column standard_deviation_months",
    ),
    "two means": (
        SOURCE + "age_months,sex,mean,mean_months,sd\n60,male,60,60,8\n",
        "must have one column mean_months",
    ),
    "no rows": (SOURCE + COLUMNS_OF_REFERENCE, "must have rows below"),
    "row too short": (
        SOURCE + COLUMNS_OF_REFERENCE + "60,male,60\n",
        "line 3: the row must have 4 values",
    ),
    "age twice": (
        SOURCE + COLUMNS_OF_REFERENCE + YOUNGER + YOUNGER,
        "line 4: 60 months of a male must be given once",
    ),
    "one age": (SOURCE + COLUMNS_OF_REFERENCE + YOUNGER, "two ages or more"),
    "deviation of 0": (
        SOURCE + COLUMNS_OF_REFERENCE + "60,male,60,0\n",
        "standard_deviation_months must be above 0",
    ),
    "negative mean": (
        SOURCE + COLUMNS_OF_REFERENCE + "60,male,-60,8\n",
        "mean_months must be a number from 0 to 300",
    ),
    "age in words": (
        SOURCE + COLUMNS_OF_REFERENCE + "five,male,60,8\n",
        "age_months must be a number",
    ),
    "sex in numbers": (
        SOURCE + COLUMNS_OF_REFERENCE + "60,2,60,8\n",
        "the sex must be male or female",
    ),
    "years": (
        SOURCE + COLUMNS_OF_REFERENCE + "5,male,5,0.7\n10,male,10.5,1\n",
        "which look like years",
    ),
    "means that fall": (
        SOURCE + COLUMNS_OF_REFERENCE + "60,male,60,8\n72,male,7.2,9\n",
        "must not fall with age",
    ),
    "an image": (PNG, "must be a CSV file"),
    "nothing": ("", "must begin with the line"),
}


# content -> (radiograph, reader) months, or words of the one line that refuses it
READINGS: dict[str, tuple[str, list | str]] = {
    "as it should be": ("id,A,net\n1,100,102\n2,50,57\n", [[100, 102], [50, 57]]),
    "semicolons and commas": ("id;A;net\n1;100,5;102\n", [[100.5, 102]]),
    "columns that are no readings": (
        "file,sex,A,patient,note,net\na.png,F,100,x,old,102\n",
        [[100, 102]],
    ),
    "a reading that is missing": (
        "id,A,net\n1,,102\n2,50,57\n",
        [[float("nan"), 102], [50, 57]],
    ),
    "one reader": ("id,net\n1,100\n", "two or more columns of readings"),
    "no id": ("A,net\n100,102\n", "must have a column id and two or more"),
    "two readers of one name": ("id,A,A,net\n1,2,3,4\n", "each with its own name"),
    "no such network": ("id,A,B\n1,100,102\n", r"--networks must name columns of"),
    "id twice": ("id,A,net\n1,2,3\n1,2,3\n", "line 3: id must be given, and once"),
    "no id in a row": ("id,A,net\n,2,3\n", "line 2: id must be given, and once"),
    "row too short": ("id,A,net\n1,2\n", r"line 2 must have 3 values \(got 2\)"),
    "words": (
        "id,A,net,scanner\n1,2,3,Acme\n",
        "line 2, scanner: the bone age must be above 0 .* rename the column to note",
    ),
    "negative": ("id,A,net\n1,-2,3\n", "line 2, A: the bone age must be above 0"),
    "years": (
        "id,A,net\n" + "".join(f"{i},{i % 15 + 1},100\n" for i in range(30)),
        "A must be in months",
    ),
    "nothing": ("", "must have a column id and two or more"),
}


def is_let_in(path: Path) -> bool:
    """Whether this process reads a file whatever its permissions, as root does."""
    return os.access(path, os.R_OK)


def quiet_grey(path: Path, seed: int) -> None:
    """A small radiograph that differs from all others."""
    noise = np.random.default_rng(seed).integers(0, 40, GREY.shape, np.uint8)
    cv2.imwrite(str(path), np.maximum(GREY // 2, noise))


def message(name: str, path: Path, read: Callable[[Path], object]) -> str | None:
    """The line that refuses what lies there; None where it is read.

    What a decoder says of itself differs from version to version, and is left out.
    """
    try:
        # what is read names the columns that it does not need
        with contextlib.redirect_stdout(io.StringIO()):
            read(path)
    except InputError as error:
        line = str(error).replace(f"{path}", f"{name}{path.suffix}")
        return re.sub(r"(decoded|workbook) \((?!it)[^;]*\);", r"\1 (...);", line)
    return None


def messages() -> str:
    """The messages of all kinds of images and tables, a line each."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, kind) in enumerate(IMAGES.items()):
            path = Path(folder, f"{number}{kind.suffix}")
            kind.make(path)
            lines.append(message(name, path, radiographs.read))
        for number, (name, (content, _)) in enumerate(TABLES.items()):
            path = Path(folder, f"{number}.csv")
            path.write_bytes(
                content if isinstance(content, bytes) else content.encode()
            )
            lines.append(message(name, path, table.read_cohort))
    lines += reading_messages()
    return "".join(f"{line}\n" for line in lines if line is not None)


def reading_messages() -> list[str | None]:
    """The same of chronological ages, references and readings."""
    nothing = Path("no such file")
    lines = [
        message(text, nothing, lambda _, text=text: parse_age_flag(text))
        for text in AGES
    ]
    readers = (
        (REFERENCES, read_reference),
        (READINGS, lambda path: read_readings(path, ("net",))),
    )
    with tempfile.TemporaryDirectory() as folder:
        for kinds, read in readers:
            for number, (name, (content, _)) in enumerate(kinds.items()):
                path = Path(folder, f"{number}.csv")
                path.write_bytes(
                    content if isinstance(content, bytes) else content.encode()
                )
                lines.append(message(name, path, read))
    return lines


if __name__ == "__main__":
    print(messages(), end="")
