"""A paper's page: equations, live numbers without a jump, the reference to copy, both themes, sharpness."""

from __future__ import annotations

import pytest
import shiboken6
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QGuiApplication, QImage, QTextCursor
from PySide6.QtTest import QTest

from widgets.text_page import ABSENT, TextPage, number_text, split_marks
from widgets.theme import ThemeManager

PAGE = (
    r"""# A title

The bound is {{K_bits|.2f}} bits, of {{ best | .1f }}; the state is {{state}}, and $K \leq H$.

$$K = \sum_{t=1}^{T} a_t$$

Code `$not maths$` and a price of 3\$.

- one
- two, see [arXiv](https://arxiv.org/abs/1503.03585)

"""
    + "\n\n".join(f"Paragraph {number} of a long page." for number in range(80))
    + """

```bibtex
@inproceedings{key2015,
  title = {A {$}5 title}
}
```
"""
)


@pytest.fixture
def page(qtbot):
    made = TextPage(PAGE)
    qtbot.addWidget(made)
    made.resize(560, 420)
    made.show()
    qtbot.waitUntil(made.are_formulas_ready, timeout=20_000)
    return made


def test_text_with_formulas_and_numbers(page) -> None:
    text = page.text()
    assert text.startswith("A title\nThe bound is – bits, of –; the state is –, and $K \\leq H$.")
    assert "$$K = \\sum_{t=1}^{T} a_t$$" in text
    assert "Code $not maths$ and a price of 3$." in text


def test_numbers_are_replaced_in_place(page) -> None:
    page.set_numbers({"K_bits": 2.347, "best": -3.0, "state": "paused"})
    assert "The bound is 2.35 bits, of −3.0; the state is paused, and $K" in page.text()
    page.set_numbers({"K_bits": 12.0})
    assert "The bound is 12.00 bits, of –; the state is –, and $K" in page.text()
    page.set_numbers({})
    assert "The bound is – bits, of –; the state is –, and $K" in page.text()


def test_numbers_keep_the_place_and_the_selection(page) -> None:
    bar = page.browser.verticalScrollBar()
    bar.setValue(bar.maximum() // 2)
    place = bar.value()
    cursor = page.browser.document().find("Paragraph 40")
    page.browser.setTextCursor(cursor)
    bar.setValue(place)
    for number in range(20):
        page.set_numbers({"K_bits": 10.0**number, "best": number, "state": "running" * (number % 5)})
        assert bar.value() == place
    assert page.browser.textCursor().selectedText() == "Paragraph 40"


def test_copied_text_has_the_sources(page) -> None:
    page.browser.selectAll()
    page.browser.copy()
    assert "$$K = \\sum_{t=1}^{T} a_t$$" in QGuiApplication.clipboard().text()


def test_bibtex_is_copied(page, qtbot) -> None:
    bar = page.browser.verticalScrollBar()
    bar.setValue(bar.maximum())
    assert page.copy_button.isVisible()
    assert page.browser.viewport().rect().contains(page.copy_button.geometry())
    with qtbot.waitSignal(page.bibtex_copied):
        QTest.mouseClick(page.copy_button, Qt.MouseButton.LeftButton)
    assert QGuiApplication.clipboard().text() == "@inproceedings{key2015,\n  title = {A {$}5 title}\n}"


def test_a_page_without_reference_has_no_button(qtbot) -> None:
    page = TextPage("# Only a title")
    qtbot.addWidget(page)
    page.show()
    assert page.are_formulas_ready()
    assert not page.copy_button.isVisible() and page.bibtex() == ""


def test_notice(page) -> None:
    assert not page.notice.isVisible()
    page.set_notice("This paper's engine is not built yet.")
    assert page.notice.isVisible()
    page.set_notice("")
    assert not page.notice.isVisible()


def test_wide_formulas_are_broken_to_fit(qtbot) -> None:
    page = TextPage("$$K = " + " + ".join(f"a_{{{number}}}" for number in range(40)) + "$$")
    qtbot.addWidget(page)
    page.resize(400, 400)
    page.show()
    qtbot.waitUntil(page.are_formulas_ready, timeout=20_000)
    assert page.browser.horizontalScrollBar().maximum() == 0
    narrow = page.browser.document().size().height()
    page.resize(900, 400)
    assert page.browser.document().size().height() < narrow


def test_a_formula_that_cannot_be_read_shows_its_source(qtbot) -> None:
    page = TextPage(r"Bad: $\nosuchthing{x}$, good: $x$.")
    qtbot.addWidget(page)
    page.show()
    qtbot.waitUntil(page.are_formulas_ready, timeout=20_000)
    assert "$\\nosuchthing{x}$" in page.text()
    assert not page.grab().isNull()


def _ink(image: QImage, background) -> int:
    return sum(
        image.pixelColor(x, y) != background for x in range(image.width()) for y in range(image.height())
    )


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_formulas_follow_the_theme_and_are_sharp(qtbot, qapp, mode) -> None:
    manager = ThemeManager(qapp, mode)
    page = TextPage("$$M$$")
    qtbot.addWidget(page)
    page.resize(240, 160)
    page.show()
    qtbot.waitUntil(page.are_formulas_ready, timeout=20_000)

    def darkest_and_ground(ratio: float):
        image = QImage(round(240 * ratio), round(160 * ratio), QImage.Format.Format_RGB32)
        image.setDevicePixelRatio(ratio)
        page.render(image, QPoint())
        pixels = [
            image.pixelColor(x, y).lightness() for x in range(image.width()) for y in range(image.height())
        ]
        ground = image.pixelColor(2, 2).lightness()
        full = max(pixels, key=lambda value: abs(value - ground))
        grey = sum(abs(value - ground) > 8 and abs(value - full) > 8 for value in pixels)
        solid = sum(abs(value - full) <= 8 for value in pixels)
        return full, ground, grey / max(solid, 1)

    ink, ground, blur = darkest_and_ground(1.0)
    assert (ink < 80 < ground) if mode == "light" else (ink > 180 > ground)
    # Drawn anew rather than enlarged: at twice the size, edges are a smaller part of the letter.
    assert darkest_and_ground(2.0)[2] < blur
    manager.set_mode("dark" if mode == "light" else "light")
    other, _, _ = darkest_and_ground(1.0)
    assert abs(other - ink) > 100
    shiboken6.delete(manager)


def test_theme_change_keeps_the_place(qtbot, qapp) -> None:
    manager = ThemeManager(qapp, "light")
    page = TextPage(PAGE)
    qtbot.addWidget(page)
    page.resize(560, 420)
    page.show()
    qtbot.waitUntil(page.are_formulas_ready, timeout=20_000)
    bar = page.browser.verticalScrollBar()
    bar.setValue(300)
    manager.set_mode("dark")
    assert bar.value() == 300
    cursor = page.browser.document().find("arXiv")
    assert cursor.charFormat().foreground().color() == manager.theme.color("link")
    shiboken6.delete(manager)


def test_a_page_can_go_before_its_formulas_are_ready(qtbot) -> None:
    page = TextPage(r"$\frac{q_{123}}{4}$")
    with qtbot.waitSignal(page.destroyed):
        page.deleteLater()


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (None, ".2f", ABSENT),
        (float("nan"), ".2f", ABSENT),
        (1.005e3, ",.0f", "1,005"),
        (3, "d", "3"),
        (3.5, "d", ABSENT),
        (1.0, "no format", ABSENT),
        (-1.5, ".1f", "−1.5"),
        ("text", "", "text"),
        ("text", ".2f", ABSENT),
    ],
)
def test_number_texts(value, form, text) -> None:
    assert number_text(value, form) == text


@given(st.text(alphabet="ab $`{}|\\\n\ue000x", max_size=60))
def test_any_text_is_split_without_loss_of_count(text) -> None:
    marked, marks = split_marks(text)
    assert sum(0xE000 <= ord(letter) <= 0xF8FF for letter in marked) == len(marks)


def test_empty_and_minimum_size(qtbot) -> None:
    page = TextPage()
    qtbot.addWidget(page)
    page.set_markdown("")
    page.set_numbers({"x": 1.0})
    assert page.minimumSizeHint().width() <= 300
    page.browser.moveCursor(QTextCursor.MoveOperation.End)
    assert page.text() == ""
