"""Every paper's text page has the same parts, and its equations can be set."""

from __future__ import annotations

import re

import pytest
from matplotlib.mathtext import MathTextParser

import assets

PAGES = sorted(
    file.name.removesuffix(".md") for file in assets.path("papers").iterdir() if file.name.endswith(".md")
)
LIVE_NUMBERS = {
    "diffusion": {"K_bits", "L_null_bits", "negentropy_bits"},
    "draw": {"bound_nats", "importance_nats", "reconstruction_nats", "kl_nats"},
    "fixed_point": {
        "float_accuracy_percent",
        "accuracy_percent",
        "dead_percent",
        "fine_tune_loss_nats",
        "loss_nats",
    },
    "reversible_learning": {
        "meta_loss_nats",
        "hypergradient_norm",
        "wrong_bits",
        "buffer_bits",
        "theory_bits",
        "buffer_kib",
        "tape_kib",
    },
    "show_attend_tell": {
        "bleu_1",
        "bleu_4",
        "meteor",
        "nll_valid",
        "attention_entropy",
        "largest_entropy",
        "doubly_stochastic",
        "doubly_stochastic_floor",
    },
    "trpo": {"kl", "max_kl", "delta", "predicted", "actual", "mean_return", "environment_steps"},
}
"""Of the papers that are built."""

LONGEST_EQUATION = 480
"""Width in pixels at 10 pt and 72 dpi; what is wider does not fit a column beside the form."""


def page(name: str) -> str:
    return assets.read_text(f"papers/{name}.md")


def without_code(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def display_equations(text: str) -> list[str]:
    return re.findall(r"\$\$(.+?)\$\$", without_code(text), re.DOTALL)


def inline_equations(text: str) -> list[str]:
    return re.findall(r"\$(.+?)\$", re.sub(r"\$\$.+?\$\$", "", without_code(text), flags=re.DOTALL))


def section(text: str, heading: str) -> str:
    return text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def test_all_ten_papers_have_a_page():
    icons = {file.name.removesuffix(".svg") for file in assets.path("icons/papers").iterdir()}
    assert len(PAGES) == 10
    assert set(PAGES) == icons


@pytest.mark.parametrize("name", PAGES)
def test_page_has_its_parts_in_order(name):
    text = page(name)
    first, _, claim = text.splitlines()[:3]
    assert first.startswith("# ") and claim.endswith(".")
    headings = re.findall(r"^## (.+)$", without_code(text), re.MULTILINE)
    if name in LIVE_NUMBERS:
        middle = ["What to try", "How this differs from the paper"]
    else:
        middle = ["What the paper shows"]
    assert headings == ["The idea", "The equations", *middle, "Reference"]
    assert 2 <= len(section(text, "The idea").strip().split("\n\n")) <= 4


@pytest.mark.parametrize("name", PAGES)
def test_equations_can_be_set(name):
    parser = MathTextParser("path")
    text = page(name)
    assert without_code(text).count("$") % 2 == 0
    assert len(display_equations(text)) >= 3
    for equation in display_equations(text):
        assert "\n" not in equation
        assert parser.parse(f"${equation}$", dpi=72).width <= LONGEST_EQUATION
    for equation in inline_equations(text):
        assert "\n" not in equation
        parser.parse(f"${equation}$", dpi=72)


@pytest.mark.parametrize("name", PAGES)
def test_every_equation_is_explained(name):
    blocks = section(page(name), "The equations").strip().split("\n\n")
    for block, following in zip(blocks, [*blocks[1:], ""], strict=True):
        if block.startswith("$$"):
            assert block.endswith("$$") and len(following) > 40 and not following.startswith("$$")


@pytest.mark.parametrize("name", PAGES)
def test_live_numbers_are_known_scalars_with_a_format(name):
    found = re.findall(r"\{\{(.*?)\}\}", page(name))
    assert page(name).count("{{") == len(found)
    assert {entry.split("|")[0] for entry in found} == LIVE_NUMBERS.get(name, set())
    for entry in found:
        form = entry.split("|")[1]
        assert format(1.25, form)


@pytest.mark.parametrize("name", PAGES)
def test_reference_can_be_copied(name):
    text = section(page(name), "Reference")
    bibtex = re.search(r"```bibtex\n(@inproceedings\{\w+,\n.*?\n\})\n```", text, re.DOTALL)
    assert bibtex is not None
    entry = bibtex[1]
    assert entry.count("{") == entry.count("}")
    fields = dict(re.findall(r"^  (\w+)\s*= [{\"](.*)[}\"],?$", entry, re.MULTILINE))
    assert {"title", "author", "booktitle", "year", "eprint"} <= set(fields)
    assert f"arXiv:{fields['eprint']}" in text and f", {fields['year']}." in text
    title = page(name).splitlines()[0].removeprefix("# ")
    assert re.sub(r"[{}]", "", fields["title"]) == title
    assert title in text.split("```")[0]
    for author in fields["author"].split(" and "):
        assert author.split(",")[0] in text.split("```")[0]
