"""A paper's symbol, written in mathtext, as rich text for labels; no Qt objects, any thread.

Labels need one symbol each, at once and before matplotlib is imported, so only what symbols are made of is
understood: letters, Greek, sub- and superscripts, accents. Whole equations are drawn by `widgets.mathtext`.
"""

from __future__ import annotations

import html
import re
import unicodedata

_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\s+|.", re.DOTALL)

_ACCENTS = {
    "bar": "\N{COMBINING OVERLINE}",
    "overline": "\N{COMBINING OVERLINE}",
    "hat": "\N{COMBINING CIRCUMFLEX ACCENT}",
    "widehat": "\N{COMBINING CIRCUMFLEX ACCENT}",
    "tilde": "\N{COMBINING TILDE}",
    "widetilde": "\N{COMBINING TILDE}",
    "dot": "\N{COMBINING DOT ABOVE}",
    "vec": "\N{COMBINING RIGHT ARROW ABOVE}",
}

_FONTS = ("mathrm", "mathbf", "mathcal", "mathit", "mathbb", "text", "operatorname", "boldsymbol", "mathsf")

_SIGNS = {
    "cdot": "·",
    "times": "×",
    "infty": "∞",
    "ell": "ℓ",
    "ldots": "…",
    "dots": "…",
    "cdots": "⋯",
    "leq": "≤",
    "geq": "≥",
    "le": "≤",
    "ge": "≥",
    "neq": "≠",
    "sim": "∼",
    "approx": "≈",
    "in": "∈",
    "nabla": "∇",
    "partial": "∂",
    "sum": "∑",
    "prod": "∏",
    "sqrt": "√",
    "mid": "|",
    "Vert": "‖",
    "to": "→",
    "rightarrow": "→",
    "leftarrow": "←",
    "prime": "′",
    "star": "⋆",
    "pm": "±",
    "varepsilon": "ε",
    "vartheta": "ϑ",
    "varphi": "φ",
    "phi": "ϕ",
    "quad": " ",
    "left": "",
    "right": "",
}


def symbol_to_html(symbol: str) -> str:
    r"""Rich text for a symbol in mathtext without dollar signs; unknown commands appear by their name.

    >>> symbol_to_html(r"\bar{\alpha}_t")
    '<i>α̅</i><sub><i>t</i></sub>'
    """
    tokens = [token for token in _TOKEN.findall(symbol) if not token.isspace()]
    text, _ = _sequence(tokens, 0, closing=False)
    return text


def _sequence(tokens: list[str], position: int, *, closing: bool) -> tuple[str, int]:
    parts: list[str] = []
    while position < len(tokens):
        if tokens[position] == "}":
            position += 1
            if closing:
                break
            continue
        part, position = _item(tokens, position)
        parts.append(part)
    return "".join(parts), position


def _item(tokens: list[str], position: int) -> tuple[str, int]:
    """One character, command or group, from ``position``; always moves on."""
    if position >= len(tokens):
        return "", position
    token = tokens[position]
    position += 1
    if token == "{":
        return _sequence(tokens, position, closing=True)
    if token in "_^":
        inner, position = _item(tokens, position)
        tag = "sub" if token == "_" else "sup"
        return f"<{tag}>{inner}</{tag}>", position
    if not token.startswith("\\"):
        shown = {"-": "−", "*": "∗", "'": "′"}.get(token, html.escape(token))
        return (f"<i>{shown}</i>" if token.isalpha() else shown), position
    name = token[1:]
    if name in _ACCENTS:
        inner, position = _item(tokens, position)
        return _accented(inner, _ACCENTS[name]), position
    if name in _FONTS:
        inner, position = _item(tokens, position)
        upright = inner.replace("<i>", "").replace("</i>", "")
        return (f"<b>{upright}</b>" if name in ("mathbf", "boldsymbol") else upright), position
    if name in _SIGNS:
        return _SIGNS[name], position
    greek = _greek(name)
    if greek:
        return (f"<i>{greek}</i>" if name[0].islower() else greek), position
    if not name.isalpha():
        return {",": "\u2009", ";": " ", ":": " ", "!": "", "|": "‖"}.get(name, html.escape(name)), position
    return html.escape(name), position


def _accented(inner: str, accent: str) -> str:
    """Put a combining accent behind the first character that is seen."""
    match = re.search(r"(?:<[^>]*>)*(&[a-z#0-9]+;|[^<&])", inner)
    if match is None:
        return inner
    return inner[: match.end()] + accent + inner[match.end() :]


def _greek(name: str) -> str:
    if not name.isascii() or not name.isalpha():
        return ""
    size = "CAPITAL" if name[0].isupper() else "SMALL"
    spelled = {"lambda": "lamda"}.get(name.lower(), name.lower())
    try:
        return unicodedata.lookup(f"GREEK {size} LETTER {spelled.upper()}")
    except KeyError:
        return ""


__all__ = ["symbol_to_html"]
