"""Words and their numbers; used on the worker's loop.

There is no word for the start of a caption: before its first word stands a zero vector in place of an embedding (Xu et al.
2015, arXiv:1502.03044, as in the authors' code), which index `START` asks for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

END = 0
"""Index of the end of a caption."""

UNKNOWN = 1
"""Index of every word that is not in the vocabulary."""

START = -1
"""Stands before the first word; no word has it, and its embedding is zero."""

END_TEXT, UNKNOWN_TEXT = "<end>", "<unknown>"


class Vocabulary:
    """The most frequent words of the training captions.

    Parameters
    ----------
    words : sequence of str
        In the order of their indices, from 2 on.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = (END_TEXT, UNKNOWN_TEXT, *words)
        self._index = {word: index for index, word in enumerate(self.words)}
        if len(self._index) != len(self.words):
            raise ValueError("a word stands twice in the vocabulary")

    @classmethod
    def of(cls, captions: Iterable[Sequence[str]], size: int) -> Vocabulary:
        """The ``size`` most frequent words of captions, the end and the unknown word among them.

        Words of one frequency stand in the order of the alphabet, so that the same captions give the same numbers.
        """
        counts = Counter(word for caption in captions for word in caption)
        for text in (END_TEXT, UNKNOWN_TEXT):
            counts.pop(text, None)
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        return cls(ranked[: max(0, size - 2)])

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: str) -> bool:
        return word in self._index

    def index(self, word: str) -> int:
        """The number of a word; `UNKNOWN` for one that is not in it."""
        return self._index.get(word, UNKNOWN)

    def encode(self, caption: Sequence[str]) -> list[int]:
        """The numbers of a caption's words, the end after them."""
        return [*(self.index(word) for word in caption), END]

    def decode(self, indices: Iterable[int]) -> tuple[str, ...]:
        """The words up to the end, without it."""
        words: list[str] = []
        for index in indices:
            if index == END:
                break
            words.append(self.words[index])
        return tuple(words)
