"""A setup: a paper, a preset and settings, as one short text and as a file, to send to somebody; any thread, no Qt, no torch.

The text is ``lab://diffusion?preset=digits&step_size=0.001&seed=3``: the preset and the settings that differ from it. The
file is a run's ``settings.toml`` with the paper and the preset at its head. Exported figures hold a setup, too, and give it
back.
"""

from __future__ import annotations

import json
import re
import tomllib
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import tomli_w

from engines.config import Preset, Settings, find_preset
from engines.errors import InputError, SettingError
from engines.method import Method
from lab import papers
from lab.export.notes import LONGEST, read_note
from lab.runs.folder import RunFolder, is_run

SCHEME = "lab://"
LARGEST = 64 * 2**20
"""Bytes of a text or a settings file."""

_PAPER = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_QUOTES = "\"'`<>“”„‘’«»"
_SAFE = "/:,._-~"
_EXAMPLE = f"{SCHEME}diffusion?preset=digits&seed=3"


@dataclass(frozen=True)
class Setup:
    """What to train.

    Attributes
    ----------
    paper, preset : str
        Ids; without a preset it is the paper's first.
    values : dict
        Settings on top of the preset's. What is read from a text, a file or a run holds all of them.
    """

    paper: str
    preset: str
    values: dict[str, Any] = field(default_factory=dict)

    def settings(self) -> Settings:
        """The settings, checked.

        Raises
        ------
        InputError
            Unknown paper or preset, or a setting that the paper does not allow.
        """
        method, preset = self._known()
        return method.config.build({**preset.values, **self.values})

    def to_text(self) -> str:
        """The setup as one line: the preset, and the settings that differ from it.

        Raises
        ------
        InputError
            As `settings`.
        """
        method, preset = self._known()
        changed = method.config.build(preset.values).differing(self.settings())
        # The paper's own settings first, as in every other list of them.
        names = [spec.name for spec in method.config.specs() if spec.name in changed]
        pairs = [("preset", preset.id), *((name, _written(changed[name])) for name in names)]
        return f"{SCHEME}{self.paper}?" + "&".join(
            f"{name}={urllib.parse.quote(value, safe=_SAFE)}" for name, value in pairs
        )

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The setup of a text that `to_text` wrote; space, line ends and quotes that a mail added do no harm.

        Raises
        ------
        InputError
            One sentence, whatever the text is.
        """
        if len(text) > LONGEST:
            raise InputError(f"The setup is longer than {LONGEST:,} characters: send it as a file.")
        text = "".join(text.split()).strip(_QUOTES)
        if not text.lower().startswith(SCHEME):
            raise InputError(
                f"A setup begins with {SCHEME}, and this text does not: copy all of it, for example {_EXAMPLE}."
            )
        name, _, query = text[len(SCHEME) :].partition("?")
        if _CONTROL.search(text) or _BAD_ESCAPE.search(text):
            raise InputError(
                "The setup holds a character that none has, or a broken % escape: copy it again."
            )
        paper, method = _paper(name.rstrip("/"))
        written: dict[str, str] = {}
        for pair in filter(None, query.split("&")):
            key, value = (_unquoted(part) for part in (pair.partition("=")[0], pair.partition("=")[2]))
            if key in written:
                raise SettingError(f"The setup holds {_short(key)} twice: leave one of them out.", key)
            written[key] = value
        preset = find_preset(method.presets, written.pop("preset", method.presets[0].id))
        values = {key: _read_value(method.config, key, value) for key, value in written.items()}
        return cls(paper, preset.id, values)._whole()

    def to_toml(self) -> str:
        """The setup as the text of a settings file, with all settings.

        Raises
        ------
        InputError
            As `settings`.
        """
        values = self.settings().model_dump(mode="json")
        # TOML has no None: a field that is left out keeps its default.
        there = {name: value for name, value in values.items() if value is not None}
        return tomli_w.dumps({"paper": self.paper, "preset": self._known()[1].id, "settings": there})

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """The setup of a settings file, as `to_toml` or a run wrote it; missing settings keep their defaults.

        Raises
        ------
        InputError
        """
        if len(text) > LONGEST:
            raise InputError(
                f"The settings file is longer than {LONGEST:,} characters: give one that the lab wrote."
            )
        try:
            document = tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"The settings are not valid TOML ({_short(error)}): correct that line and try again."
            ) from None
        values = document.get("settings")
        if not isinstance(document.get("paper"), str) or not isinstance(values, dict):
            raise InputError(
                'The settings file needs the paper at its head, for example paper = "diffusion", and a table [settings].'
            )
        return cls._found(document["paper"], document.get("preset"), values)

    @classmethod
    def of_run(cls, folder: RunFolder) -> Self:
        """The setup of a run: its settings as they were last, live changes included.

        Raises
        ------
        InputError
            When the run is of a paper that cannot be trained here.
        """
        return cls._found(folder.info.paper, folder.info.preset, folder.values())

    @classmethod
    def _found(cls, paper: str, preset: object, values: Mapping[str, Any]) -> Self:
        """A setup from all of its settings; a preset that there is not any more does no harm then."""
        name, method = _paper(paper)
        known = [each.id for each in method.presets]
        chosen = preset if isinstance(preset, str) and preset in known else known[0]
        try:
            return cls(name, chosen, method.config.build(values).model_dump())
        except (TypeError, RecursionError) as error:
            raise SettingError(
                f"The settings cannot be read ({_short(error)}): give settings that the lab wrote."
            ) from None

    def _whole(self) -> Self:
        return type(self)(self.paper, self.preset, self.settings().model_dump())

    def _known(self) -> tuple[Method, Preset]:
        method = papers.method_of(papers.find_built(self.paper))
        return method, find_preset(method.presets, self.preset) if self.preset else method.presets[0]


def read_setup(path: Path | str) -> Setup:
    """The setup that a file holds.

    Parameters
    ----------
    path : path
        A settings file, a text that begins with ``lab://``, an exported figure, film, data file or script, or a run's
        folder.

    Raises
    ------
    InputError
        When there is none in it.
    """
    path = Path(path)
    if is_run(path):
        return Setup.of_run(RunFolder(path))
    try:
        note = read_note(path)
        if note is not None:
            return _of_note(note, path)
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}): give a file that holds a setup."
        ) from None
    if len(data) > LARGEST:
        raise InputError(
            f"{path} is larger than {LARGEST // 2**20} MiB, as no setup is: give a smaller file."
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _no_setup(path) from None
    if text.lstrip().lstrip(_QUOTES).lower().startswith(SCHEME):
        return Setup.from_text(text)
    if path.suffix.lower() != ".toml" and "[settings]" not in text:
        raise _no_setup(path)
    return Setup.from_toml(text)


def _paper(name: str) -> tuple[str, Method]:
    if not _PAPER.fullmatch(name):
        raise InputError(f"The setup names no paper ({_short(name)}): write it like {_EXAMPLE}.")
    paper = papers.find_built(name)
    return paper.id, papers.method_of(paper)


# --- texts  ----------


def _written(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple | list):
        return ",".join(repr(part) for part in value)
    # repr of a number is short and exact.
    return value if isinstance(value, str) else repr(value)


def _read_value(config: type[Settings], name: str, text: str) -> Any:
    if not text and config.spec(name).kind in ("integer", "number", "switch", "choice"):
        return config.checked(name, None)
    return config.parse_value(name, text)


def _unquoted(part: str) -> str:
    try:
        text = urllib.parse.unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise InputError("The setup holds a % escape that is no text: copy it again.") from None
    if _CONTROL.search(text):
        raise InputError("The setup holds a control character, as no setting does: copy it again.")
    return text


def _short(value: object) -> str:
    """Anything from outside as it stands in a sentence: on one line, and not long."""
    shown = repr(value) if isinstance(value, str) else " ".join(str(value).split())
    return shown if len(shown) <= 100 else shown[:97] + "..."


# --- figures  ----------


def _of_note(note: str, path: Path) -> Setup:
    try:
        about = json.loads(note)
    except (ValueError, RecursionError):
        about = None
    if (
        not isinstance(about, dict)
        or not isinstance(about.get("paper"), str)
        or not isinstance(about.get("settings"), dict)
    ):
        raise _no_setup(path)
    return Setup._found(about["paper"], about.get("preset"), about["settings"])


def _no_setup(path: Path) -> InputError:
    return InputError(
        f"{path} holds no setup: give a settings.toml, a text that begins with {SCHEME}, or a figure that the lab exported "
        "of a run."
    )
