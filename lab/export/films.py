"""Films as files, frame by frame: GIF, WebP and APNG with Pillow, MP4 with imageio-ffmpeg; any thread.

Frames are drawn one by one and written as they come, so a film of any length needs the memory of a few pictures. Pillow's
own writers of GIF and APNG keep every frame until the end; here it encodes single pictures, and they are strung together.
"""

from __future__ import annotations

import importlib
import io
import json
import struct
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from engines.figures import Film, Panels, Plot
from lab.export.errors import ExportError
from lab.export.limits import Ranges
from lab.export.notes import as_mp4_box, as_xmp, mp4_boxes
from lab.export.page import Arrangement, compose
from lab.export.style import Style

if TYPE_CHECKING:
    from PIL.Image import Image

Progress = Callable[[int, int], None]
"""Called with the number of frames that are written and of all frames; what it raises ends the export."""

FASTEST = {"gif": 50.0, "webp": 1000.0, "apng": 1000.0, "mp4": 240.0}
"""Frames a second that a format can hold; GIF counts in hundredths and players slow down below two of them."""


def stamps(film: Film) -> tuple[str, ...]:
    """What stands above each frame: the time it shows."""
    unit = f" {film.time.unit}" if film.time.unit else ""
    return tuple(
        f"{film.time.label or 'time'} = {time:.4g}{unit}" for time in np.asarray(film.times, dtype=float)
    )


def drawn_frames(
    frames: Iterable[tuple[Plot | Panels, str]], ranges: Ranges, style: Style
) -> Generator[np.ndarray, None, None]:
    """Each frame as pixels, uint8 of shape (H, W, 3), all with the layout of the first; drawn when asked for.

    Parameters
    ----------
    frames : iterable of (figure, stamp)
        Figures of one structure.
    ranges : Ranges
        Limits that fit all of them.
    style : Style
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from lab.export.parameters import drawing

    arrangement: Arrangement | None = None
    for still, stamp in frames:
        page, found = compose(still, ranges, style, header=stamp, arrangement=arrangement)
        arrangement = arrangement or found
        with drawing(style):
            canvas: Any = FigureCanvasAgg(page)
            canvas.draw()
            pixels = np.asarray(canvas.buffer_rgba())[..., :3].copy()
        yield pixels


def write_film(
    frames: Iterable[np.ndarray],
    count: int,
    path: Path,
    format: str,
    *,
    fps: float,
    metadata: Mapping[str, Any],
    dpi: int = 96,
    progress: Progress | None = None,
) -> None:
    """Write frames to a file that is not there yet.

    Parameters
    ----------
    frames : iterable of uint8 arrays (H, W, 3)
        Taken one at a time.
    count : int
        How many there are.
    path : Path
    format : {"gif", "webp", "apng", "mp4"}
    fps : float
        Frames a second.
    metadata : mapping
        Put into the file as JSON.
    dpi : int
        Noted in APNG files.
    progress : callable, optional

    Raises
    ------
    ExportError
        If the format cannot be written here, or not at that speed.
    OSError
        If writing fails; the unfinished file is left to the caller.
    """
    if not 0.0 < fps <= FASTEST[format]:
        raise ExportError(
            f"{format.upper()} holds films of up to {FASTEST[format]:g} frames a second, not {fps:g}; choose a speed "
            "above 0 and up to that."
        )
    note = json.dumps(metadata, default=str)
    counted = _counted(frames, count, progress)
    if format == "mp4":
        _write_mp4(counted, path, fps, str(metadata.get("alt", "")))
        # Beyond what ffmpeg takes on its command line.
        with open(path, "ab") as film:
            film.write(as_mp4_box(note))
        return
    with open(path, "wb") as file:
        if format == "gif":
            _write_gif(counted, file, fps, note)
        elif format == "webp":
            _write_webp(counted, count, file, fps, note)
        else:
            _write_apng(counted, count, file, fps, note, dpi)


def _counted(frames: Iterable[np.ndarray], count: int, progress: Progress | None) -> Iterator[Image]:
    from PIL import Image

    done = 0
    for pixels in frames:
        # Before the frame is counted as written, as the writer comes back for the next one only then.
        if done and progress is not None:
            progress(done, count)
        yield Image.fromarray(pixels)
        done += 1
    if done != count:
        raise RuntimeError(f"{done} frames came for a film of {count}")
    if progress is not None:
        progress(done, count)


def _changes(frames: Iterable[Image]) -> Iterator[tuple[Image, tuple[int, int]]]:
    """The part of each frame that differs from the one before, and where it stands; all of the first."""
    from PIL import ImageChops

    before: Image | None = None
    for frame in frames:
        box = None if before is None else ImageChops.difference(before, frame).getbbox() or (0, 0, 1, 1)
        before = frame
        yield (frame, (0, 0)) if box is None else (frame.crop(box), (box[0], box[1]))


def _write_gif(frames: Iterable[Image], file: IO[bytes], fps: float, note: str) -> None:
    from PIL import GifImagePlugin, Image

    for number, (part, place) in enumerate(_changes(frames)):
        image = part.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        if number == 0:
            info = {"loop": 0, "comment": note.encode("ascii")}
            file.writelines(GifImagePlugin.getheader(image.copy(), info=info)[0])
        # Hundredths of a second, rounded so that the errors do not add up.
        wait = round(100 * (number + 1) / fps) - round(100 * number / fps)
        file.writelines(
            GifImagePlugin.getdata(image, place, duration=10 * wait, disposal=1, include_color_table=True)
        )
    file.write(b";")


def _write_webp(frames: Iterator[Image], count: int, file: IO[bytes], fps: float, note: str) -> None:
    from PIL import Image

    class Reel(Image.Image):
        """A picture that becomes the next frame when Pillow seeks it."""

        def __init__(self) -> None:
            super().__init__()
            self.n_frames = count
            self._number = 0
            self._show(next(frames))

        def _show(self, frame: Image.Image) -> None:
            self.im, self._mode, self._size = frame.im, frame.mode, frame.size

        def seek(self, frame: int) -> None:
            if frame > self._number:
                self._number = frame
                self._show(next(frames))

        def tell(self) -> int:
            return self._number

    waits = [round(1000 * (i + 1) / fps) - round(1000 * i / fps) for i in range(count)]
    packet = as_xmp(note)
    Reel().save(
        file,
        format="WEBP",
        save_all=True,
        duration=waits,
        loop=0,
        lossless=True,
        quality=50,
        method=2,
        xmp=packet,
    )
    # Nothing is left; this lets the last frame be counted.
    for _ in frames:
        pass


def _write_apng(
    frames: Iterable[Image], count: int, file: IO[bytes], fps: float, note: str, dpi: int
) -> None:
    """Animated PNG after the PNG specification, third edition: each frame an ordinary PNG's data between its own headers."""

    def write(kind: bytes, data: bytes) -> None:
        file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))

    delay = (1000, round(1000 * fps)) if fps < 65.0 else (1, round(fps))
    sequence = 0
    for number, (part, place) in enumerate(_changes(frames)):
        if number == 0:
            file.write(b"\x89PNG\r\n\x1a\n")
            write(b"IHDR", struct.pack(">IIBBBBB", *part.size, 8, 2, 0, 0, 0))
            write(b"acTL", struct.pack(">II", count, 0))
            write(b"pHYs", struct.pack(">IIB", *(round(dpi / 0.0254),) * 2, 1))
            write(b"tEXt", b"lab\0" + note.encode("ascii"))
        write(b"fcTL", struct.pack(">IIIIIHHBB", sequence, *part.size, *place, *delay, 0, 0))
        sequence += 1
        for data in _png_data(part):
            if number == 0:
                write(b"IDAT", data)
            else:
                write(b"fdAT", struct.pack(">I", sequence) + data)
                sequence += 1
    write(b"IEND", b"")


def _png_data(image: Image) -> Iterator[bytes]:
    """The compressed pixels of a picture, as Pillow writes them."""
    file = io.BytesIO()
    image.save(file, format="PNG", compress_level=6)
    content = file.getvalue()
    at = 8
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        if content[at + 4 : at + 8] == b"IDAT":
            yield content[at + 8 : at + 8 + length]
        at += 12 + length


def _write_mp4(frames: Iterable[Image], path: Path, fps: float, comment: str) -> None:
    try:
        imageio_ffmpeg = importlib.import_module("imageio_ffmpeg")
    except ImportError as error:
        raise ExportError(
            "MP4 needs the package imageio-ffmpeg, which is not installed; install the lab's extra [video], or choose "
            "GIF, WebP or APNG."
        ) from error
    writer = None
    try:
        for image in frames:
            # H.264 in its usual pixel format wants even sides: the last row or column is repeated.
            pixels = np.asarray(image)
            pixels = np.pad(pixels, ((0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)), mode="edge")
            if writer is None:
                size = pixels.shape[1], pixels.shape[0]
                more = ["-movflags", "+faststart", "-metadata", f"comment={comment[:2000]}"]
                writer = imageio_ffmpeg.write_frames(
                    str(path), size, fps=fps, quality=8, macro_block_size=2, output_params=more
                )
                _handed(writer, None)
            _handed(writer, np.ascontiguousarray(pixels))
    finally:
        if writer is not None:
            writer.close()
    # ffmpeg ends without a word when the disk is full.
    try:
        with open(path, "rb") as film:
            whole = b"moov" in {kind for kind, _ in mp4_boxes(film)}
    except (ValueError, EOFError, FileNotFoundError):
        whole = False
    if not whole:
        raise _unfinished()


def _handed(writer: Any, pixels: np.ndarray | None) -> None:
    """Give a frame to ffmpeg; None starts it."""
    try:
        writer.send(pixels)
    except (RuntimeError, OSError) as error:
        if pixels is not None:
            raise _unfinished() from error
        raise ExportError(
            f"ffmpeg, which writes MP4, cannot be started ({' '.join(str(error).split())[:200]}); install imageio-ffmpeg "
            "again, or choose GIF, WebP or APNG."
        ) from error


def _unfinished() -> ExportError:
    return ExportError(
        "ffmpeg ended before the film did, perhaps as the disk is full; make room or choose another folder, or GIF, WebP or "
        "APNG."
    )


__all__ = ["FASTEST", "Progress", "drawn_frames", "stamps", "write_film"]
