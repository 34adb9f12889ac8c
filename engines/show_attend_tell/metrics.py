"""How near captions come to those of people: BLEU and exact-match METEOR; plain Python, safe on any thread or process.

Captions are sequences of words, already in lower case and without punctuation. Scores are from 0 to 1.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

Words = Sequence[str]

_BEAM = 100


def bleu(
    hypotheses: Sequence[Words],
    references: Sequence[Sequence[Words]],
    *,
    order: int = 4,
    brevity: bool = True,
) -> tuple[float, ...]:
    """BLEU-1 to BLEU-``order`` of a corpus (Papineni, Roukos, Ward and Zhu 2002).

    BLEU-n = BP (p_1 ... p_n)^{1/n}. p_n is the share of the n-grams of all hypotheses that are also in a reference, each
    counted at most as often as it is in the one reference that has it most. BP = min(1, exp(1 - r/c)), where c is the
    number of words of all hypotheses and r sums, for each, the length of the reference that is nearest in length; of two
    equally near the shorter one. Nothing is smoothed: without one n-gram in common BLEU-n is 0.

    Parameters
    ----------
    hypotheses : sequence of N captions
    references : sequence of N sequences of captions
        Each has one or more; their number may differ.
    order : int
    brevity : bool
        False leaves out BP, as the paper's table does.

    Returns
    -------
    tuple of ``order`` floats

    Raises
    ------
    ValueError
        There are no hypotheses, their number is not that of the references, or a hypothesis has no reference.
    """
    _check(hypotheses, references)
    if order < 1:
        raise ValueError(f"order is {order}, and must be at least 1")
    matched, possible = [0] * order, [0] * order
    length, nearest = 0, 0
    for hypothesis, several in zip(hypotheses, references, strict=True):
        length += len(hypothesis)
        nearest += min((abs(len(r) - len(hypothesis)), len(r)) for r in several)[1]
        for n in range(1, order + 1):
            most: Counter[tuple[str, ...]] = Counter()
            for reference in several:
                most |= _grams(reference, n)
            found = _grams(hypothesis, n)
            matched[n - 1] += (found & most).total()
            possible[n - 1] += found.total()
    penalty = 1.0
    if brevity and length < nearest:
        penalty = math.exp(1 - nearest / length) if length else 0.0
    scores: list[float] = []
    logs = 0.0
    for n in range(order):
        logs += math.log(matched[n] / possible[n]) if matched[n] else -math.inf
        scores.append(penalty * math.exp(logs / (n + 1)))
    return tuple(scores)


def _grams(words: Words, n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def meteor_exact(hypotheses: Sequence[Words], references: Sequence[Sequence[Words]]) -> float:
    """Exact-match METEOR of a corpus (Banerjee and Lavie 2005, without stems and WordNet).

    A hypothesis is aligned with a reference: each word with at most one equal word, as many as can be, in as few chunks
    as can be; a chunk is a run of words that stand one after the other in both. With m words aligned in k chunks,
    P = m / words of the hypothesis and R = m / words of the reference,

        METEOR = 10 P R / (R + 9 P) * (1 - 0.5 (k / m)^3).

    Of several references the one with the highest score counts, and the corpus gets one score, from the sums of m, k
    and both lengths. The published scores of METEOR know stems and synonyms, too, and its later versions weigh
    otherwise: they are not to be compared with these.

    Parameters
    ----------
    hypotheses : sequence of N captions
    references : sequence of N sequences of captions

    Returns
    -------
    float
        A caption that equals its reference of m words has 1 - 0.5 / m^3.

    Raises
    ------
    ValueError
        As of `bleu`.
    """
    _check(hypotheses, references)
    sums = [0, 0, 0, 0]
    for hypothesis, several in zip(hypotheses, references, strict=True):
        counts = [(*_align(hypothesis, r), len(hypothesis), len(r)) for r in several]
        # Of equal scores, those of no match among them, the shorter reference, so that their order is of no matter.
        best = max(counts, key=lambda count: (_meteor(*count), -count[3], count))
        sums = [total + count for total, count in zip(sums, best, strict=True)]
    return _meteor(*sums)


def _meteor(matches: int, chunks: int, hypothesis: int, reference: int) -> float:
    if not matches:
        return 0.0
    precision, recall = matches / hypothesis, matches / reference
    return 10 * precision * recall / (recall + 9 * precision) * (1 - 0.5 * (chunks / matches) ** 3)


def _align(hypothesis: Words, reference: Words) -> tuple[int, int]:
    """Largest number of aligned words, and the smallest number of chunks that they can be in."""
    places: dict[str, list[int]] = {}
    for index, word in enumerate(reference):
        places.setdefault(word, []).append(index)
    left = Counter(hypothesis)
    # Words of the hypothesis that may stay alone: those that it has more often than the reference.
    spare = {word: max(0, count - len(places.get(word, ()))) for word, count in left.items()}
    matches = sum((left & Counter(reference)).values())
    # States: words of the reference that are taken, and the one that the last word was aligned with (-2: none), with the
    # fewest chunks so far. What cannot matter any more is left out of a state, so there are few of them.
    states: dict[tuple[int, int], int] = {(0, -2): 0}
    seen: Counter[str] = Counter()
    for word in hypothesis:
        seen[word] += 1
        options = places.get(word, [])
        own = sum(1 << place for place in options)
        kept = ~own if seen[word] == left[word] else -1
        following: dict[tuple[int, int], int] = {}
        for (taken, last), chunks in states.items():
            # Taken so far are all earlier ones but those that were left alone.
            alone = seen[word] - 1 - (taken & own).bit_count()
            if alone < spare[word]:
                _keep(following, (taken & kept, -2), chunks)
            for place in options:
                if not taken >> place & 1:
                    more = chunks + (place != last + 1)
                    _keep(following, ((taken | 1 << place) & kept, place), more)
        if len(following) > _BEAM:  # only where one word stands dozens of times in both
            following = dict(sorted(following.items(), key=lambda item: (item[1], item[0]))[:_BEAM])
        states = following
    return matches, min(states.values(), default=0)


def _keep(states: dict[tuple[int, int], int], state: tuple[int, int], chunks: int) -> None:
    if chunks < states.get(state, chunks + 1):
        states[state] = chunks


def _check(hypotheses: Sequence[Words], references: Sequence[Sequence[Words]]) -> None:
    if not hypotheses:
        raise ValueError("there are no captions to score")
    if len(hypotheses) != len(references):
        raise ValueError(f"there are {len(hypotheses)} captions, but references for {len(references)}")
    if not all(references):
        raise ValueError("a caption has no reference")
