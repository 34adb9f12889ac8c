"""A paper's text page: Markdown with equations drawn as outlines and the run's live numbers; runs on the GUI
thread.

Equations are read on a thread of their own (`widgets.mathtext`) and appear when they are ready; the text is
there at once. A number is a piece of text that is replaced in place, so nothing scrolls and nothing is laid
out anew but its line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from PySide6.QtCore import (
    QEvent,
    QMimeData,
    QPoint,
    QRect,
    QRectF,
    QSize,
    QSizeF,
    Qt,
    QTimer,
    QUrl,
    Signal,
    Slot,
)
from PySide6.QtGui import (
    QColor,
    QDesktopServices,
    QFont,
    QFontMetricsF,
    QGuiApplication,
    QPainter,
    QPainterPath,
    QPyTextObject,
    QResizeEvent,
    QTextBlock,
    QTextBlockFormat,
    QTextCharFormat,
    QTextCursor,
    QTextDocument,
    QTextFormat,
    QTextFrame,
    QTextFrameFormat,
)
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)

from widgets.look import current_theme, set_style_property
from widgets.mathtext import Formula, Outline, painter_path, submit_formulas

ABSENT = "–"
FONT_SIZE = 14
FORMULA_SIZE = 1.22
"""Of the text's size: the letters of the mathematical font are smaller at the same size."""
COLUMN_WIDTH = 700
SMALLEST_SCALE = 0.6
INDENT = 1.5
GAP = 0.1

_FORMULA_OBJECT = QTextFormat.ObjectTypes.UserObject.value + 1
_SOURCE = QTextFormat.Property.UserProperty.value + 1
_DISPLAY = QTextFormat.Property.UserProperty.value + 2
_OBJECT_CHARACTER = "\ufffc"
_FIRST_MARK, _LAST_MARK = 0xE000, 0xF8FF

_PARTS = re.compile(
    r"(?P<fence>^```.*?^```[ \t]*$)"
    r"|(?P<code>`[^`\n]+`)"
    r"|(?P<escape>\\\$)"
    r"|\$\$(?P<display>.+?)\$\$"
    r"|\$(?P<inline>[^$\n]+?)\$"
    r"|\{\{\s*(?P<name>[\w./ -]+?)\s*(?:\|(?P<format>[^}]*))?\}\}",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class _FormulaMark:
    source: str
    display: bool


@dataclass(frozen=True)
class _NumberMark:
    name: str
    format: str


def split_marks(markdown: str) -> tuple[str, list[_FormulaMark | _NumberMark]]:
    """The Markdown with one private character for each formula and number, and what these stand for.

    Code is left alone, and so is a dollar sign with a backslash before it.
    """
    marks: list[_FormulaMark | _NumberMark] = []

    def replace(match: re.Match[str]) -> str:
        if match["fence"] or match["code"]:
            return match[0]
        if match["escape"]:
            return "$"
        if len(marks) > _LAST_MARK - _FIRST_MARK:
            return match[0]
        sign = chr(_FIRST_MARK + len(marks))
        if match["display"]:
            marks.append(_FormulaMark(match["display"].strip(), display=True))
            return f"\n\n{sign}\n\n"
        if match["inline"]:
            marks.append(_FormulaMark(match["inline"].strip(), display=False))
        else:
            marks.append(_NumberMark(match["name"], (match["format"] or "").strip()))
        return sign

    # Private characters of the author's own would be taken for ours.
    cleaned = "".join(letter for letter in markdown if not _FIRST_MARK <= ord(letter) <= _LAST_MARK)
    return _PARTS.sub(replace, cleaned), marks


def number_text(value: float | str | None, form: str) -> str:
    """A live number in its format; a dash when it is absent, no number, or does not fit the format."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ABSENT
    try:
        text = format(value, form)
    except (ValueError, TypeError):
        return ABSENT
    return text.replace("-", "\N{MINUS SIGN}") if isinstance(value, int | float) and "e" not in text else text


@dataclass(frozen=True)
class Line:
    """One line of a broken formula; all lengths in units of the font size."""

    pieces: list[Outline]
    indent: float = 0.0

    @property
    def width(self) -> float:
        """With the indent, and the gaps between the pieces."""
        return self.indent + sum(piece.width for piece in self.pieces) + GAP * (len(self.pieces) - 1)

    @property
    def ascent(self) -> float:
        """Above the baseline."""
        return max(piece.ascent for piece in self.pieces)

    @property
    def descent(self) -> float:
        """Below the baseline."""
        return max(piece.descent for piece in self.pieces)


class FormulaPainter(QPyTextObject):
    """Measures and draws the formulas in a document; one that is not read yet shows its source, faint."""

    def __init__(self, parent: QTextDocument) -> None:
        super().__init__(parent)
        self.formulas: dict[str, Formula] = {}
        self.column = float(COLUMN_WIDTH)
        self._paths: dict[tuple[Outline, float], QPainterPath] = {}

    def intrinsicSize(self, document: QTextDocument, position: int, form: QTextFormat) -> QSizeF:
        source, display = str(form.property(_SOURCE)), bool(form.property(_DISPLAY))
        formula = self.formulas.get(source)
        metrics = QFontMetricsF(document.defaultFont())
        if formula is None or formula.whole is None:
            return QSizeF(min(metrics.horizontalAdvance(source), self.column), metrics.height())
        lines, size = self._lines(formula, display)
        width = max(line.width for line in lines) * size
        return QSizeF(width + 2, self._height(lines, size, document, form))

    def drawObject(
        self,
        painter: QPainter,
        rect: QRectF | QRect,
        document: QTextDocument,
        position: int,
        form: QTextFormat,
    ) -> None:
        area = QRectF(rect)
        source, display = str(form.property(_SOURCE)), bool(form.property(_DISPLAY))
        formula = self.formulas.get(source)
        theme = current_theme()
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if formula is None or formula.whole is None:
            painter.setFont(document.defaultFont())
            painter.setPen(theme.color("error_text" if formula is not None else "disabled"))
            painter.drawText(area, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, source)
            painter.restore()
            return
        lines, size = self._lines(formula, display)
        bottom = area.bottom() - self._below(lines, size, document, form)
        ink = theme.color("text")
        # From the last line upwards: the last one's baseline is where the text's is.
        for number in range(len(lines) - 1, -1, -1):
            line = lines[number]
            x = area.left() + 1 + line.indent * size
            for piece in line.pieces:
                painter.fillPath(self._path(piece, size).translated(x, bottom), ink)
                x += (piece.width + GAP) * size
            bottom -= line.ascent * size
            if number:
                bottom -= lines[number - 1].descent * size + 0.35 * size
        painter.restore()

    def _path(self, piece: Outline, size: float) -> QPainterPath:
        # Scrolling paints a formula many times, and building its path is most of the work.
        key = (piece, round(size, 2))
        if key not in self._paths:
            if len(self._paths) > 1000:
                self._paths.clear()
            self._paths[key] = painter_path(piece, size)
        return self._paths[key]

    def needed_descent(self, source: str, display: bool) -> float:
        """How far the formula reaches below its line, in pixels."""
        formula = self.formulas.get(source)
        if formula is None or formula.whole is None:
            return 0.0
        lines, size = self._lines(formula, display)
        return lines[-1].descent * size

    def _lines(self, formula: Formula, display: bool) -> tuple[list[Line], float]:
        """The pieces by line, and the font size in pixels."""
        assert formula.whole is not None
        size = FONT_SIZE * FORMULA_SIZE
        room = self.column / size
        if not display or formula.whole.width <= room or not formula.statements:
            scale = max(SMALLEST_SCALE, min(1.0, room / formula.whole.width)) if formula.whole.width else 1.0
            return [Line([formula.whole])], size * scale
        widest = max(piece.width for statement in formula.statements for piece in statement) + INDENT
        if widest > room:
            size *= max(SMALLEST_SCALE, room / widest)
            room = self.column / size
        lines: list[Line] = []
        for statement in formula.statements:
            lines.append(Line([]))
            for piece in statement:
                longer = Line([*lines[-1].pieces, piece], lines[-1].indent)
                if lines[-1].pieces and longer.width > room:
                    lines.append(Line([piece], INDENT))
                else:
                    lines[-1] = longer
        return lines, size

    def _below(self, lines: list[Line], size: float, document: QTextDocument, form: QTextFormat) -> float:
        # Qt puts an object of this alignment as far below the baseline as the descent of the format's font.
        return QFontMetricsF(form.toCharFormat().font()).descent()

    def _height(self, lines: list[Line], size: float, document: QTextDocument, form: QTextFormat) -> float:
        height = self._below(lines, size, document, form)
        for number, line in enumerate(lines):
            height += line.ascent * size
            if number:
                height += lines[number - 1].descent * size + 0.35 * size
        return height


class PageBrowser(QTextBrowser):
    """A text browser whose copies say the source of a formula where the page shows the formula."""

    resized = Signal()

    def createMimeDataFromSelection(self) -> QMimeData:
        cursor = self.textCursor()
        data = QMimeData()
        data.setText(plain_text(self.document(), cursor.selectionStart(), cursor.selectionEnd()))
        return data

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.resized.emit()


def plain_text(document: QTextDocument, start: int, end: int) -> str:
    """The text between two positions, formulas as their source between dollar signs."""
    parts = []
    cursor = QTextCursor(document)
    for position in range(start, end):
        letter = document.characterAt(position)
        if letter == _OBJECT_CHARACTER:
            cursor.setPosition(position + 1)
            form = cursor.charFormat()
            fence = "$$" if form.property(_DISPLAY) else "$"
            parts.append(f"{fence}{form.property(_SOURCE)}{fence}")
        else:
            parts.append("\n" if letter in ("\u2029", "\u2028") else letter)
    return "".join(parts)


class TextPage(QWidget):
    """One paper's page.

    Parameters
    ----------
    markdown : str
        Headings, paragraphs, lists, code; ``$...$`` and ``$$...$$`` in mathtext; ``{{scalar|format}}`` for a
        number of the run, the format as in Python's f-strings.

    Signals
    -------
    formulas_ready()
        All equations of the page are drawn.
    bibtex_copied()
    """

    formulas_ready = Signal()
    bibtex_copied = Signal()

    def __init__(self, markdown: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._numbers: list[tuple[_NumberMark, QTextCursor]] = []
        self._values: dict[str, float | str | None] = {}
        self._bibtex = ""
        self._bibtex_frame: QTextFrame | None = None
        self._future: Future[dict[str, Formula]] | None = None
        self._ready = True

        self.notice = QFrame(self)
        self.notice.setProperty("message", "info")
        self._notice_label = QLabel(self.notice)
        self._notice_label.setWordWrap(True)
        self._notice_label.setTextFormat(Qt.TextFormat.PlainText)
        line = QHBoxLayout(self.notice)
        line.setContentsMargins(12, 8, 12, 8)
        line.addWidget(self._notice_label)
        self.notice.hide()
        self._notice_frame = QHBoxLayout()
        self._notice_frame.setContentsMargins(16, 12, 16, 0)
        self._notice_frame.addWidget(self.notice)

        self.browser = PageBrowser(self)
        self.browser.setOpenLinks(False)
        self.browser.setUndoRedoEnabled(False)
        self.browser.setAccessibleName("About this paper")
        self.browser.anchorClicked.connect(self._on_browser_anchor_clicked)
        self.browser.resized.connect(self._on_browser_resized)
        self.browser.verticalScrollBar().valueChanged.connect(self._place_copy_button)
        document = self.browser.document()
        document.setUndoRedoEnabled(False)
        self._painter = FormulaPainter(document)
        document.documentLayout().registerHandler(_FORMULA_OBJECT, self._painter)
        document.documentLayout().documentSizeChanged.connect(self._place_copy_button)
        self.copy_button = QPushButton("Copy BibTeX", self.browser.viewport())
        self.copy_button.clicked.connect(self.copy_bibtex)
        self.copy_button.setCursor(Qt.CursorShape.ArrowCursor)
        self.copy_button.hide()

        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addLayout(self._notice_frame)
        layout.addWidget(self.browser, 1)
        # Looked at from here rather than told by the other thread: a page may be gone before its formulas are
        # ready.
        self._poll = QTimer(self)
        self._poll.setInterval(30)
        self._poll.timeout.connect(self._on_poll_timeout)
        self._copied = QTimer(self)
        self._copied.setSingleShot(True)
        self._copied.setInterval(2000)
        self._copied.timeout.connect(self._on_copied_timeout)
        if markdown:
            self.set_markdown(markdown)

    def sizeHint(self) -> QSize:
        return QSize(560, 560)

    def minimumSizeHint(self) -> QSize:
        return QSize(240, 160)

    # What others ask of it ----------------------------------------------------------------------------------

    def set_markdown(self, markdown: str) -> None:
        """Show another text, from its top."""
        text, marks = split_marks(markdown)
        document = self.browser.document()
        font = QFont(self.font())
        font.setPixelSize(FONT_SIZE)
        document.setDefaultFont(font)
        self._numbers = []
        self._bibtex_frame = None
        document.setMarkdown(text, QTextDocument.MarkdownFeature.MarkdownDialectGitHub)
        self._put_marks(marks)
        self._frame_code()
        self._style_blocks()
        self._set_column()
        sources = {mark.source for mark in marks if isinstance(mark, _FormulaMark)}
        self._ready = not sources
        if sources:
            self._future = submit_formulas(sources)
            self._poll.start()
        self.browser.moveCursor(QTextCursor.MoveOperation.Start)
        self._place_copy_button()

    def set_numbers(self, values: Mapping[str, float | str | None]) -> None:
        """Show the run's numbers; names that are missing get a dash. The page does not scroll."""
        self._values = dict(values)
        bar = self.browser.verticalScrollBar()
        place = bar.value()
        for mark, cursor in self._numbers:
            text = number_text(self._values.get(mark.name), mark.format)
            if text != cursor.selectedText():
                start = cursor.selectionStart()
                cursor.insertText(text, self._number_format(cursor))
                cursor.setPosition(start)
                cursor.setPosition(start + len(text), QTextCursor.MoveMode.KeepAnchor)
        if bar.value() != place:
            bar.setValue(place)

    def set_notice(self, text: str, kind: str = "info") -> None:
        """Put a message on top of the page, such as that the engine is not built yet; an empty text takes it
        away.
        """
        self._notice_label.setText(text)
        set_style_property(self.notice, "message", kind)
        self.notice.setVisible(bool(text))

    def are_formulas_ready(self) -> bool:
        """Whether all equations are drawn."""
        return self._ready

    def bibtex(self) -> str:
        """The page's reference; empty if it has none."""
        return self._bibtex

    def text(self) -> str:
        """What the page says, formulas as their source."""
        return plain_text(self.browser.document(), 0, self.browser.document().characterCount() - 1)

    @Slot()
    def copy_bibtex(self) -> None:
        """Put the reference on the clipboard."""
        QGuiApplication.clipboard().setText(self._bibtex)
        self.copy_button.setText("Copied")
        self._place_copy_button()
        self._copied.start()
        self.bibtex_copied.emit()

    # Making the page ----------------------------------------------------------------------------------------

    def _put_marks(self, marks: list[_FormulaMark | _NumberMark]) -> None:
        document = self.browser.document()
        for number, mark in enumerate(marks):
            cursor = document.find(chr(_FIRST_MARK + number))
            if cursor.isNull():
                continue
            if isinstance(mark, _FormulaMark):
                form = QTextCharFormat(cursor.charFormat())
                form.setObjectType(_FORMULA_OBJECT)
                form.setProperty(_SOURCE, mark.source)
                form.setProperty(_DISPLAY, mark.display)
                form.setVerticalAlignment(QTextCharFormat.VerticalAlignment.AlignBaseline)
                form.setToolTip(mark.source)
                cursor.insertText(_OBJECT_CHARACTER, form)
            else:
                start = cursor.selectionStart()
                text = number_text(self._values.get(mark.name), mark.format)
                cursor.insertText(text, self._number_format(cursor))
                cursor.setPosition(start)
                cursor.setPosition(start + len(text), QTextCursor.MoveMode.KeepAnchor)
                # Typing at its edges must not happen here, and other numbers' edits must not widen this one.
                self._numbers.append((mark, cursor))

    @staticmethod
    def _number_format(cursor: QTextCursor) -> QTextCharFormat:
        form = QTextCharFormat(cursor.charFormat())
        form.setFontWeight(QFont.Weight.DemiBold)
        return form

    def _frame_code(self) -> None:
        """Put each piece of code into a frame of its own, with a ground and a padding; find the reference."""
        document = self.browser.document()
        runs: list[tuple[int, int]] = []
        lines: list[str] = []
        bibtex_at = -1
        for block in _blocks(document):
            form = block.blockFormat()
            if form.property(QTextFormat.Property.BlockCodeFence) is None:
                continue
            end = block.position() + block.length() - 1
            if runs and runs[-1][1] == block.position() - 1:
                runs[-1] = (runs[-1][0], end)
            else:
                runs.append((block.position(), end))
            if str(form.property(QTextFormat.Property.BlockCodeLanguage)).lower() == "bibtex":
                bibtex_at = runs[-1][0]
                lines.append(block.text())
        self._bibtex = "\n".join(lines).strip()
        self._bibtex_frame = None
        # From the end, so that the positions still to come stay what they are.
        for start, end in reversed(runs):
            cursor = QTextCursor(document)
            cursor.setPosition(start)
            cursor.setPosition(end, QTextCursor.MoveMode.KeepAnchor)
            shape = QTextFrameFormat()
            shape.setPadding(10)
            shape.setTopMargin(4)
            shape.setBottomMargin(12)
            frame = cursor.insertFrame(shape)
            if start == bibtex_at:
                self._bibtex_frame = frame

    def _style_blocks(self) -> None:
        """Sizes, distances and colours of the blocks; called again when the theme changes."""
        theme = current_theme()
        document = self.browser.document()
        root = document.rootFrame()
        for frame in root.childFrames():
            frame_form = QTextFrameFormat(frame.frameFormat())
            frame_form.setBackground(theme.color("hover"))
            frame.setFrameFormat(frame_form)
        fixed = QFont("DejaVu Sans Mono")
        fixed.setStyleHint(QFont.StyleHint.Monospace)
        fixed.setPixelSize(theme.font_size - 1)
        for block in _blocks(document):
            form = QTextBlockFormat(block.blockFormat())
            level = form.headingLevel()
            if level:
                self._style_heading(block, {1: 20, 2: 17}.get(level, 15))
                form.setTopMargin(0 if level == 1 else 20)
                form.setBottomMargin(8)
            elif document.frameAt(block.position()) != root:
                chars = QTextCharFormat()
                chars.setFont(fixed)
                _merge_over(block, chars)
                form.clearBackground()
                form.setTopMargin(0)
                form.setBottomMargin(0)
                form.setLeftMargin(0)
                form.setNonBreakableLines(False)
            elif not block.text() and root.childFrames():
                # Around a frame Qt wants empty lines, which nobody else does.
                form.setTopMargin(0)
                form.setBottomMargin(0)
                form.setLineHeight(1, QTextBlockFormat.LineHeightTypes.FixedHeight.value)
            elif self._is_display(block):
                form.setLeftMargin(24)
                form.setTopMargin(8)
                form.setBottomMargin(12)
            else:
                form.setTopMargin(0)
                form.setBottomMargin(4 if block.textList() is not None else 10)
                form.setLineHeight(4, QTextBlockFormat.LineHeightTypes.LineDistanceHeight.value)
            QTextCursor(block).setBlockFormat(form)
            self._style_anchors(block, theme.color("link"))

    @staticmethod
    def _style_heading(block: QTextBlock, size: int) -> None:
        for start, length, form in _fragments(block):
            if form.objectType() == _FORMULA_OBJECT:
                continue
            # The importer gives headings a relative size, which wins over pixels while it is there.
            form.clearProperty(QTextFormat.Property.FontSizeAdjustment)
            form.setProperty(QTextFormat.Property.FontPixelSize, size)
            form.setFontWeight(QFont.Weight.DemiBold)
            cursor = QTextCursor(block)
            cursor.setPosition(start)
            cursor.setPosition(start + length, QTextCursor.MoveMode.KeepAnchor)
            cursor.setCharFormat(form)

    @staticmethod
    def _style_anchors(block: QTextBlock, color: QColor) -> None:
        link = QTextCharFormat()
        link.setForeground(color)
        for start, length, form in _fragments(block):
            if form.isAnchor():
                cursor = QTextCursor(block)
                cursor.setPosition(start)
                cursor.setPosition(start + length, QTextCursor.MoveMode.KeepAnchor)
                cursor.mergeCharFormat(link)

    @staticmethod
    def _is_display(block: QTextBlock) -> bool:
        return any(form.property(_DISPLAY) for _, _, form in _fragments(block))

    def _set_column(self) -> None:
        """Keep the lines short enough to read, whatever the width of the page."""
        document = self.browser.document()
        room = self.browser.viewport().width()
        margin = max(20, (room - COLUMN_WIDTH) // 2)
        frame = document.rootFrame()
        form = frame.frameFormat()
        # Wide formulas are broken to fit between the margins, less their indent.
        self._painter.column = float(max(room - 2 * margin - 24 - 8, 120))
        if form.leftMargin() != margin or form.topMargin() != 16:
            form.setLeftMargin(margin)
            form.setRightMargin(margin)
            form.setTopMargin(16)
            form.setBottomMargin(24)
            frame.setFrameFormat(form)
        side = max(margin - 4, 12)
        self._notice_frame.setContentsMargins(side, 12, side, 0)

    def _show_formulas(self, formulas: Mapping[str, Formula]) -> None:
        self._painter.formulas.update(formulas)
        document = self.browser.document()
        bar = self.browser.verticalScrollBar()
        place = bar.value()
        edit = QTextCursor(document)
        edit.beginEditBlock()
        for block in _blocks(document):
            for start, length, form in _fragments(block):
                if form.objectType() == _FORMULA_OBJECT:
                    for position in range(start, start + length):
                        self._set_depth(position)
        edit.endEditBlock()
        document.markContentsDirty(0, document.characterCount())
        bar.setValue(place)

    def _set_depth(self, position: int) -> None:
        """Give the object a font whose descent is what the formula needs below the line; Qt has no other way
        to say it.
        """
        cursor = QTextCursor(self.browser.document())
        cursor.setPosition(position)
        cursor.setPosition(position + 1, QTextCursor.MoveMode.KeepAnchor)
        form = QTextCharFormat(cursor.charFormat())
        needed = self._painter.needed_descent(str(form.property(_SOURCE)), bool(form.property(_DISPLAY)))
        font = QFont(self.browser.document().defaultFont())
        font.setPixelSize(FONT_SIZE)
        while QFontMetricsF(font).descent() < needed and font.pixelSize() < 400:
            font.setPixelSize(font.pixelSize() + 1)
        form.setFont(font)
        cursor.setCharFormat(form)

    # Events -------------------------------------------------------------------------------------------------

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_poll"):
            place = self.browser.verticalScrollBar().value()
            self._style_blocks()
            self.browser.verticalScrollBar().setValue(place)
            self.browser.viewport().update()

    @Slot()
    def _place_copy_button(self) -> None:
        document = self.browser.document()
        if self._bibtex_frame is None:
            self.copy_button.hide()
            return
        area = document.documentLayout().frameBoundingRect(self._bibtex_frame)
        margin = document.rootFrame().frameFormat().rightMargin()
        self.copy_button.adjustSize()
        right = self.browser.viewport().width() - round(margin) - 8 - self.copy_button.width()
        # Its last line is a bracket, so there is room at the right of it.
        bottom = round(area.bottom()) - self.browser.verticalScrollBar().value() - 12 - 8
        top = bottom - self.copy_button.height()
        self.copy_button.move(QPoint(right, top))
        self.copy_button.show()

    @Slot()
    def _on_copied_timeout(self) -> None:
        self.copy_button.setText("Copy BibTeX")
        self._place_copy_button()

    @Slot()
    def _on_browser_resized(self) -> None:
        self._set_column()
        self._place_copy_button()

    @Slot(QUrl)
    def _on_browser_anchor_clicked(self, url: QUrl) -> None:
        if url.scheme() in ("http", "https"):
            QDesktopServices.openUrl(url)
        elif url.hasFragment():
            self.browser.scrollToAnchor(url.fragment())

    @Slot()
    def _on_poll_timeout(self) -> None:
        if self._future is None or not self._future.done():
            return
        self._poll.stop()
        formulas, self._future = self._future.result(), None
        self._show_formulas(formulas)
        self._place_copy_button()
        self._ready = True
        self.formulas_ready.emit()


def _blocks(document: QTextDocument) -> list[QTextBlock]:
    blocks = []
    block = document.begin()
    while block.isValid():
        blocks.append(block)
        block = block.next()
    return blocks


def _fragments(block: QTextBlock) -> list[tuple[int, int, QTextCharFormat]]:
    """(position, length, format) of each run of one format in a block."""
    found = []
    iterator = block.begin()
    while not iterator.atEnd():
        fragment = iterator.fragment()
        if fragment.isValid():
            found.append((fragment.position(), fragment.length(), QTextCharFormat(fragment.charFormat())))
        iterator += 1
    return found


def _merge_over(block: QTextBlock, form: QTextCharFormat) -> None:
    cursor = QTextCursor(block)
    cursor.movePosition(QTextCursor.MoveOperation.EndOfBlock, QTextCursor.MoveMode.KeepAnchor)
    cursor.mergeCharFormat(form)


__all__ = ["ABSENT", "FormulaPainter", "PageBrowser", "TextPage", "number_text", "plain_text", "split_marks"]
