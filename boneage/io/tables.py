"""Rows of a table as people save them: CSV in any dialect, or an Excel workbook."""

import codecs
import csv
import io
from datetime import date
from pathlib import Path
from typing import NamedTuple

from boneage.errors import InputError, refuse_damaged

SUFFIXES = (".csv", ".tsv", ".xlsx")

DELIMITERS = ",;\t"
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
WORKBOOK = b"PK\x03\x04"
OLD_WORKBOOK = b"\xd0\xcf\x11\xe0"

SAVE_AS_CSV = "save the table as CSV in UTF-8"


class Table(NamedTuple):
    """Cells as text, without blanks at their ends; lines without any are left out.

    rows: line number of an editor, and the cells. A row has as many cells as the
    header unless the file lacks some, or has more that are not empty.
    """

    header: list[str]
    rows: list[tuple[int, list[str]]]


def read_table(path: Path, advice: str) -> Table:
    """Read a CSV file or the one sheet of an Excel workbook.

    Comma, semicolon or tab, or what a first line `sep=;` names; UTF-8, UTF-16 or
    Windows-1252, with or without BOM; any line ends; empty columns at the end.

    Raises:
        InputError: the file is missing (the message ends in `advice`), no text, no
            CSV, or a workbook that cannot be read.
    """
    content = _read(path, advice)
    if content.startswith(WORKBOOK):
        return _table(_workbook_rows(path, content))
    return _table(_csv_rows(path, _unified(_decode(path, content))))


def _read(path: Path, advice: str) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} cannot be found; {advice}") from None
    if content.startswith(OLD_WORKBOOK):
        raise InputError(f"{path} must be CSV or xlsx (got xls); {SAVE_AS_CSV}")
    return content


def _table(lines: list[tuple[int, list[str]]]) -> Table:
    """The header and the rows below it, without blanks and empty lines."""
    stripped = [(line, [cell.strip() for cell in cells]) for line, cells in lines]
    filled = [(line, cells) for line, cells in stripped if any(cells)]
    if not filled:
        return Table([], [])
    header = _cut(filled[0][1], 0)
    return Table(header, [(line, _cut(row, len(header))) for line, row in filled[1:]])


def read_titled_table(path: Path, advice: str) -> tuple[str, Table]:
    """Read a table whose first line is a title: text of any kind, no row of it.

    Raises:
        InputError: as `read_table`.
    """
    content = _read(path, advice)
    if content.startswith(WORKBOOK):
        rows = [row for row in _workbook_rows(path, content) if any(row[1])]
        return (" ".join(rows[0][1]).strip() if rows else ""), _table(rows[1:])
    title, _, rest = _unified(_decode(path, content)).partition("\n")
    # a spreadsheet quotes a title with commas, and adds empty columns
    title = title.rstrip(DELIMITERS + " ")
    if title.startswith('"') and title.endswith('"'):
        title = title[1:-1].replace('""', '"')
    return title, _table([(line + 1, row) for line, row in _csv_rows(path, rest)])


def _cut(cells: list[str], width: int) -> list[str]:
    """Leave out empty cells at the end, down to `width` cells."""
    kept = len(cells)
    while kept > width and not cells[kept - 1]:
        kept -= 1
    return cells[:kept]


def _unified(text: str) -> str:
    """The text with line feeds for line ends of any kind."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _csv_rows(path: Path, text: str) -> list[tuple[int, list[str]]]:
    first, _, rest = text.partition("\n")
    named = first.strip().strip('"')
    skipped = 0
    if named.casefold().startswith("sep=") and len(named) == len("sep=") + 1:
        delimiter, text, skipped = named[-1], rest, 1
    else:
        header = next((line for line in text.split("\n") if line.strip()), "")
        # the first of those that split the header most
        delimiter = max(DELIMITERS, key=lambda d: len(_split(header, d)))
    # strict: a quote that is never closed would swallow all rows after it
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    try:
        return [(reader.line_num + skipped, row) for row in reader]
    except csv.Error as error:
        raise InputError(
            f"{path} cannot be read as CSV ({error}); look for a quote that is never "
            "closed"
        ) from None


def _split(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter), [])


def _decode(path: Path, content: bytes) -> str:
    is_wide = content.startswith(UTF_16)
    for encoding in ["utf-16"] if is_wide else ["utf-8-sig", "cp1252"]:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise InputError(f"{path} must be a CSV file (got no text); {SAVE_AS_CSV}")


def _workbook_rows(path: Path, content: bytes) -> list[tuple[int, list[str]]]:
    try:
        import openpyxl
    except ImportError:
        raise InputError(
            f"{path} cannot be read without openpyxl (got an Excel workbook); "
            f"{SAVE_AS_CSV}, or: pip install openpyxl"
        ) from None
    sheets = []
    with refuse_damaged(path, "cannot be read as an Excel workbook", SAVE_AS_CSV):
        book = openpyxl.load_workbook(io.BytesIO(content), True, data_only=True)
        for sheet in book.worksheets:
            rows = [
                (number, [_text(value) for value in row])
                for number, row in enumerate(sheet.iter_rows(values_only=True), 1)
            ]
            if any(any(cells) for _, cells in rows):
                sheets.append(rows)
    if len(sheets) > 1:
        raise InputError(
            f"{path} must have one sheet (got {len(sheets)}); save the one with the "
            "radiographs as CSV"
        )
    return sheets[0] if sheets else []


def _text(value: object) -> str:
    """A cell as CSV would have it; Excel keeps whole numbers as floats at times."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value.isoformat() if isinstance(value, date) else str(value)
