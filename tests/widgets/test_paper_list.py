"""The list of papers: gone through with keys and mouse, with the states of the runs."""

from __future__ import annotations

import pytest
import shiboken6
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from widgets.paper_list import PaperEntry, PaperList
from widgets.theme import ThemeManager

ENTRIES = tuple(
    PaperEntry(name, name.upper(), f"The paper of {name}", 2015, f"papers/{name}", name != "dcn")
    for name in ("trpo", "gmmn", "dcn", "diffusion", "made")
)


class Chosen(list):
    """Ids that were reported."""

    def note(self, paper_id: str) -> None:
        self.append(paper_id)


@pytest.fixture
def papers(qtbot):
    made = PaperList(ENTRIES)
    qtbot.addWidget(made)
    made.resize(made.sizeHint())
    made.show()
    made.noted = Chosen()
    made.paper_chosen.connect(made.noted.note)
    return made


def test_keys_and_mouse_choose(papers) -> None:
    papers.set_current("diffusion")
    assert papers.noted == [] and papers.current() == "diffusion"
    papers.view.setFocus()
    QTest.keyClick(papers.view, Qt.Key.Key_Up)
    QTest.keyClick(papers.view, Qt.Key.Key_Home)
    QTest.keyClicks(papers.view, "m")
    index = papers.view.model().index(1, 0)
    QTest.mouseClick(
        papers.view.viewport(), Qt.MouseButton.LeftButton, pos=papers.view.visualRect(index).center()
    )
    assert papers.noted == ["dcn", "trpo", "made", "gmmn"]


def test_states_are_told_in_words(papers) -> None:
    words = Qt.ItemDataRole.AccessibleTextRole
    model = papers.view.model()
    assert model.index(0, 0).data(words) == "TRPO, 2015, no run yet"
    assert model.index(2, 0).data(words) == "DCN, 2015, text only"
    papers.set_state("trpo", "paused at 1,200", "paused")
    assert "paused at 1,200" in model.index(0, 0).data(words)
    papers.set_state("trpo", kind="running", fraction=0.3)
    assert "running" in model.index(0, 0).data(Qt.ItemDataRole.ToolTipRole)
    with pytest.raises(KeyError, match="nothing"):
        papers.set_state("nothing")


def test_only_a_visible_change_repaints(papers, qtbot) -> None:
    papers.set_state("trpo", "running", "running", 0.301)
    with qtbot.assertNotEmitted(papers.view.model().dataChanged):
        papers.set_state("trpo", "running", "running", 0.302)
    with qtbot.waitSignal(papers.view.model().dataChanged):
        papers.set_state("trpo", "running", "running", 0.35)


def test_folds_to_icons(papers, qtbot) -> None:
    wide = papers.width()
    with qtbot.waitSignal(papers.narrowed) as folded:
        QTest.mouseClick(papers.fold_button, Qt.MouseButton.LeftButton)
    assert folded.args == [True] and papers.is_narrow()
    assert papers.width() < wide / 3
    papers.view.setFocus()
    QTest.keyClick(papers.view, Qt.Key.Key_Down)
    assert papers.noted
    papers.set_narrow(False)
    assert papers.width() == wide


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_both_themes(qtbot, qapp, mode) -> None:
    manager = ThemeManager(qapp, mode)
    papers = PaperList(ENTRIES)
    qtbot.addWidget(papers)
    papers.resize(papers.sizeHint())
    papers.set_current("made")
    for entry, kind in zip(ENTRIES, ("running", "paused", "failed", "done", "starting"), strict=True):
        papers.set_state(entry.id, kind=kind, fraction=0.5)
    papers.show()
    assert papers.minimumSizeHint().height() <= 400
    before = papers.grab().toImage()
    papers.set_narrow(True)
    assert not papers.grab().isNull()
    papers.set_narrow(False)
    manager.set_mode("dark" if mode == "light" else "light")
    after = papers.grab().toImage()
    assert before.pixelColor(2, 2) != after.pixelColor(2, 2)
    shiboken6.delete(manager)


def test_is_destroyed(qtbot) -> None:
    papers = PaperList(ENTRIES)
    with qtbot.waitSignal(papers.destroyed):
        papers.deleteLater()
