"""Notes in exported files of what made them: JSON, in the place that each format has for it; any thread, no Qt.

Written by `lab.export.save` and `lab.export.films`, read back here. A file comes from anywhere, so nothing in it is
trusted: only as much is read as a note can need, films are skipped over, nothing is unpickled, and no XML is parsed.
"""

from __future__ import annotations

import html
import json
import re
import struct
import urllib.parse
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

LONGEST = 4 * 2**20
"""Characters of a note: tens of thousands of drawn points fit."""
_LARGEST = 64 * 2**20
"""Bytes that are searched of a PDF or an SVG file."""
_MOST_PARTS = 100_000
"""Chunks, blocks or boxes that a file may have before its note; one with more is none of ours."""

_BROKEN = (
    ValueError, EOFError, KeyError, IndexError, RuntimeError, NotImplementedError, OverflowError, MemoryError, struct.error,
    zlib.error, zipfile.BadZipFile,
)  # fmt: skip
"""What reading one or the other kind of broken file raises."""

_COMMENT = "%%Lab: "
_XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
"""What the box of an MP4 file is called that holds a packet of XMP."""


def sidecar_of(path: Path) -> Path:
    """The file that describes a CSV file and stands beside it, as the W3C's "CSV on the Web" has it."""
    return path.with_name(path.name + "-metadata.json")


# --- writing  ----------


def as_comments(note: str) -> str:
    """A note in ASCII as comments of PostScript and TeX; the former takes no lines of more than 255 characters."""
    # No line ends with a space, which editors and mails would take away.
    parts = re.findall(r".{0,199}\S|.{200}", note)
    return "".join(f"{_COMMENT}{part}\n" for part in parts)


def as_xmp(note: str) -> bytes:
    """A note as a packet of XMP, the description of pictures and films in XML."""
    text = html.escape(note, quote=False)
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:description><rdf:Alt>'
        f'<rdf:li xml:lang="x-default">{text}</rdf:li></rdf:Alt></dc:description></rdf:Description></rdf:RDF></x:xmpmeta>'
    ).encode()


def as_mp4_box(note: str) -> bytes:
    """A note as a box to put at the end of an MP4 file; players skip it."""
    content = _XMP_BOX + as_xmp(note)
    return struct.pack(">I4s", 8 + len(content), b"uuid") + content


def as_sidecar(note: str, name: str, title: str, description: str, columns: Sequence[str]) -> str:
    """A note as the description of a CSV file."""
    return json.dumps(
        {
            "@context": "http://www.w3.org/ns/csvw",
            "url": urllib.parse.quote(name, errors="surrogateescape"),
            "dc:title": title,
            "dc:description": description,
            # As a text: the standard has no place for properties of our own.
            "dc:provenance": note,
            "tableSchema": {"columns": [{"name": column, "titles": column} for column in columns]},
        },
        indent=1,
    )


# --- reading  ----------


def read_note(path: Path) -> str | None:
    """What made a figure, as the exporter put it into the file.

    Returns
    -------
    str or None
        JSON, not checked; empty when the file is a picture, a film, a page or data without a note; None for other files.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(512)
        file.seek(0)
        read: Callable[[IO[bytes]], str]
        if head.startswith(b"\x89PNG\r\n\x1a\n"):
            read = _of_png
        elif head.startswith(b"GIF8"):
            read = _of_gif
        elif head.startswith(b"RIFF") and head[8:12] == b"WEBP":
            read = _of_webp
        elif head[4:8] == b"ftyp":
            read = _of_mp4
        elif head.startswith(b"PK\x03\x04"):
            read = _of_zip
        elif head.startswith(b"%PDF-"):
            read = _of_pdf
        elif head.startswith(b"%"):
            read = _of_comments
        elif re.match(rb"(\xef\xbb\xbf)?\s*<(\?xml|!DOCTYPE svg|svg)\b", head):
            read = _of_svg
        elif path.suffix.lower() == ".csv" and sidecar_of(path).is_file():
            with open(sidecar_of(path), "rb") as sidecar:
                return _tried(_of_sidecar, sidecar)
        else:
            return None
        return _tried(read, file)


def _tried(read: Callable[[IO[bytes]], str], file: IO[bytes]) -> str:
    try:
        note = read(file)
    except _BROKEN:
        return ""
    return note if len(note) <= LONGEST else ""


def _exactly(file: IO[bytes], count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise EOFError
    return data


def _of_png(file: IO[bytes]) -> str:
    file.seek(8)
    for _ in range(_MOST_PARTS):
        length, kind = struct.unpack(">I4s", _exactly(file, 8))
        if kind not in (b"tEXt", b"zTXt") or length > LONGEST:
            file.seek(length + 4, 1)
            continue
        key, _, text = _exactly(file, length).partition(b"\0")
        file.seek(4, 1)
        if key == b"lab":
            # The first byte of a packed text says how, and there is one way.
            packed = kind == b"zTXt"
            return (zlib.decompressobj().decompress(text[1:], LONGEST + 1) if packed else text).decode(
                "latin-1"
            )
    return ""


def _of_gif(file: IO[bytes]) -> str:
    flags = _exactly(file, 13)[10]
    if flags & 0x80:
        file.seek(3 * 2 ** ((flags & 7) + 1), 1)
    for _ in range(_MOST_PARTS):
        # The note stands before the first picture.
        if _exactly(file, 1) != b"!":
            return ""
        is_note = _exactly(file, 1) == b"\xfe"
        text = bytearray()
        while size := _exactly(file, 1)[0]:
            text += _exactly(file, size)
            if len(text) > LONGEST:
                return ""
        if is_note:
            return text.decode("latin-1")
    return ""


def _of_webp(file: IO[bytes]) -> str:
    file.seek(12)
    for _ in range(_MOST_PARTS):
        kind, length = struct.unpack("<4sI", _exactly(file, 8))
        if kind == b"XMP ":
            return _of_xmp(_exactly(file, min(length, 2 * LONGEST)))
        file.seek(length + length % 2, 1)
    return ""


def _of_xmp(packet: bytes) -> str:
    found = re.search(rb"<rdf:li\b[^<>]*>([^<]*)</rdf:li>", packet)
    return html.unescape(found.group(1).decode()) if found else ""


def _of_mp4(file: IO[bytes]) -> str:
    for kind, length in mp4_boxes(file):
        if kind == b"uuid" and length < 2 * LONGEST and file.read(16) == _XMP_BOX:
            return _of_xmp(_exactly(file, length - 16))
    return ""


def mp4_boxes(file: IO[bytes]) -> Iterator[tuple[bytes, int]]:
    """The kinds of the outermost boxes of an MP4 file and the lengths of what is in them, where the file then stands.

    Raises
    ------
    ValueError
        When the last box is not whole.
    """
    end = file.seek(0, 2)
    start = 0
    for _ in range(_MOST_PARTS):
        if start == end:
            return
        file.seek(start)
        size, kind = struct.unpack(">I4s", _exactly(file, 8))
        head = 8
        if size == 1:
            (size,) = struct.unpack(">Q", _exactly(file, 8))
            head = 16
        size = size or end - start
        if size < head or start + size > end:
            raise ValueError("the file ends within a box")
        yield kind, size - head
        start += size


def _of_zip(file: IO[bytes]) -> str:
    """The note of an NPZ file, ``metadata.npy``, or of a script with its data, ``NAME/metadata.json``."""
    size = file.seek(0, 2)
    file.seek(max(0, size - 42))
    tail = file.read(42)
    # `zipfile` reads the whole list of files before anybody can say how long it is. Ours have no comment behind it, and
    # none of the large sizes whose place would be before the end.
    if tail[-22:-18] != b"PK\x05\x06" or tail.startswith(b"PK\x06\x07"):
        return ""
    if struct.unpack("<I", tail[-10:-6])[0] > LONGEST:
        return ""
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                continue
            if entry.filename == "metadata.npy":
                with archive.open(entry) as member:
                    return _of_npy(member)
            if re.fullmatch(r"[^/\\]+/metadata\.json", entry.filename):
                with archive.open(entry) as member:
                    return member.read(LONGEST + 1).decode()
    return ""


def _of_npy(file: IO[bytes]) -> str:
    """The one text in a file of numpy's; by hand, as numpy makes room for as much as the file says that it holds."""
    magic, length = struct.unpack("<8sH", _exactly(file, 10))
    header = _exactly(file, length)
    if magic != b"\x93NUMPY\x01\x00" or not re.search(rb"'descr': '<U\d+'.*'shape': \(\)", header):
        return ""
    return file.read(4 * LONGEST + 4).decode("utf-32-le").rstrip("\0")


def _of_pdf(file: IO[bytes]) -> str:
    data = file.read(_LARGEST)
    # One place to try: many in a hostile file, each without an end, would be searched for hours.
    at = max(data.find(b"/Keywords ("), 0)
    found = re.compile(rb"/Keywords \(((?:\\.|[^\\)])*)\)", re.DOTALL).match(data, at)
    return re.sub(rb"\\(.)", rb"\1", found.group(1)).decode("latin-1") if found else ""


def _of_svg(file: IO[bytes]) -> str:
    # No XML parser: what a hostile file makes of one is not worth a line of text.
    for item in re.findall(rb"<rdf:li>([^<]*)</rdf:li>", file.read(_LARGEST)):
        text = html.unescape(item.decode(errors="replace"))
        if '"settings"' in text:
            return text
    return ""


def _of_comments(file: IO[bytes]) -> str:
    """The note at the head of a PostScript or a PGF file."""
    lines = re.findall(rf"^{_COMMENT}(.*?)\r?$".encode(), file.read(2 * LONGEST), re.MULTILINE)
    return b"".join(lines).decode("ascii")


def _of_sidecar(file: IO[bytes]) -> str:
    about = json.loads(file.read(4 * LONGEST))
    note = about.get("dc:provenance") if isinstance(about, dict) else None
    return note if isinstance(note, str) else ""


__all__ = [
    "LONGEST",
    "as_comments",
    "as_mp4_box",
    "as_sidecar",
    "as_xmp",
    "mp4_boxes",
    "read_note",
    "sidecar_of",
]
