"""Size and kind of an image, read from its header before a pixel is decoded.

Decoders allocate whatever a header asks for, fill in what a cut-off file lacks, take
the first of several frames, and turn CMYK and transparency into greys of their own
choice: a file of a few bytes could fill the memory, and a damaged one give a number.
"""

import struct
from collections.abc import Callable
from typing import NamedTuple

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
TIFF = (b"II*\0", b"MM\0*")
BIG_TIFF = (b"II+\0", b"MM\0+")


class Header(NamedTuple):
    """Facts of a PNG, JPEG, WebP or TIFF file.

    frames: or pages; 2 for any number above one. is_cmyk: printing inks.
    may_be_transparent: it has an alpha channel. white_is_zero: stored as a negative.
    is_whole: nothing is cut off at its end.
    """

    width: int
    height: int
    frames: int = 1
    is_cmyk: bool = False
    may_be_transparent: bool = False
    white_is_zero: bool = False
    is_whole: bool = True


def has_signature(head: bytes) -> bool:
    """Whether a file that begins with these 12 bytes or more is of a known format."""
    is_webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    return is_webp or head.startswith((PNG, JPEG, *TIFF, *BIG_TIFF))


def parse(encoded: bytes) -> Header | None:
    """The header of a file's content; None for any other format, or a damaged one."""
    parser: Callable[[bytes], Header] | None = None
    if encoded.startswith(PNG):
        parser = _png
    elif encoded.startswith(JPEG):
        parser = _jpeg
    elif encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
        parser = _webp
    elif encoded[:4] in TIFF + BIG_TIFF:
        parser = _tiff
    if parser is None:
        return None
    try:
        header = parser(encoded)
    except (struct.error, IndexError, KeyError, OverflowError):
        return None
    return header if min(header.width, header.height) > 0 else None


def _png(encoded: bytes) -> Header:
    """W3C, Portable Network Graphics, third edition: 4.1, 11.2, 11.3."""
    width, height, _, colour = struct.unpack_from(">IIBB", encoded, 16)
    frames, is_whole, has_alpha = 1, False, colour in (4, 6)
    at = len(PNG)
    while at + 12 <= len(encoded) and not is_whole:
        (length,) = struct.unpack_from(">I", encoded, at)
        name = encoded[at + 4 : at + 8]
        if name == b"acTL":
            frames = min(2, struct.unpack_from(">I", encoded, at + 8)[0])
        has_alpha |= name == b"tRNS"
        is_whole = name == b"IEND"
        at += 12 + length
    return Header(
        width, height, frames, may_be_transparent=has_alpha, is_whole=is_whole
    )


def _jpeg(encoded: bytes) -> Header:
    """ITU-T T.81, annex B."""
    at, size = 2, None
    while True:
        while encoded[at] == 0xFF and encoded[at + 1] == 0xFF:  # fill bytes
            at += 1
        if encoded[at] != 0xFF:
            raise IndexError
        marker = encoded[at + 1]
        (length,) = struct.unpack_from(">H", encoded, at + 2)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            size = struct.unpack_from(">HHB", encoded, at + 5)
        at += 2 + length
        if marker == 0xDA:  # the scan follows; within it ff d9 is the end alone
            height, width, components = size or (0, 0, 0)
            is_whole = encoded.find(b"\xff\xd9", at) >= 0
            return Header(width, height, is_cmyk=components == 4, is_whole=is_whole)


def _webp(encoded: bytes) -> Header:
    """RFC 9649."""
    (length,) = struct.unpack_from("<I", encoded, 4)
    is_whole = length + 8 <= len(encoded)
    name = encoded[12:16]
    if name == b"VP8X":
        flags = encoded[20]
        width = int.from_bytes(encoded[24:27], "little") + 1
        height = int.from_bytes(encoded[27:30], "little") + 1
        return Header(
            width,
            height,
            2 if flags & 2 else 1,
            may_be_transparent=bool(flags & 16),
            is_whole=is_whole,
        )
    if name == b"VP8L":
        (bits,) = struct.unpack_from("<I", encoded, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        has_alpha = bool(bits >> 28 & 1)
        return Header(width, height, may_be_transparent=has_alpha, is_whole=is_whole)
    width, height = struct.unpack_from("<HH", encoded, 26)
    return Header(width & 0x3FFF, height & 0x3FFF, is_whole=is_whole)


# the tags' types: one byte, text, two, four and eight bytes
TIFF_TYPES = {1: "B", 2: "s", 3: "H", 4: "I", 16: "Q"}


class _TiffLayout(NamedTuple):
    """Where a directory lies and how wide its fields are; struct codes as text."""

    first: int
    offset: str
    count: str  # type: ignore[assignment]  # hides tuple.count
    entry_bytes: int
    inline_bytes: int


CLASSIC = _TiffLayout(4, "I", "H", 12, 4)
BIG = _TiffLayout(8, "Q", "Q", 20, 8)


def _tiff(encoded: bytes) -> Header:
    """Adobe, TIFF revision 6.0: sections 2, 8, 15, 16, 18; BigTIFF of libtiff.org."""
    order = "<" if encoded[:2] == b"II" else ">"
    layout = BIG if encoded[:4] in BIG_TIFF else CLASSIC

    def read(form: str, place: int) -> tuple:
        return struct.unpack_from(f"{order}{form}", encoded, place)

    (at,) = read(layout.offset, layout.first)
    (count,) = read(layout.count, at)
    start = at + struct.calcsize(f"{order}{layout.count}")
    end = start + layout.entry_bytes * count
    tags: dict[int, tuple[int, ...]] = {}
    # a count beyond the file ends in struct.error, not in a long loop
    for entry in range(start, end, layout.entry_bytes):
        tag, kind, values = read(f"HH{layout.offset}", entry)
        if kind not in TIFF_TYPES or values > len(encoded):
            continue
        form = f"{values}{TIFF_TYPES[kind]}"
        place = entry + layout.entry_bytes - layout.inline_bytes
        if struct.calcsize(f"{order}{form}") > layout.inline_bytes:
            (place,) = read(layout.offset, place)
        tags[tag] = read(form, place)
    (following,) = read(layout.offset, end)
    photometric = tags.get(262, (1,))[0]
    # strips, or tiles: where they begin and how long they are
    starts, lengths = (tags.get(273) or tags[324]), (tags.get(279) or tags[325])
    ends = [s + n for s, n in zip(starts, lengths, strict=False)]
    return Header(
        tags[256][0],
        tags[257][0],
        2 if following else 1,
        is_cmyk=photometric == 5,
        may_be_transparent=338 in tags and tags[338][0] in (1, 2),
        white_is_zero=photometric == 0,
        is_whole=max(ends) <= len(encoded),
    )
