"""BLEU and exact-match METEOR: by hand, against sacrebleu and nltk, and what must hold for any captions."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.show_attend_tell.metrics import bleu, meteor_exact


def _w(text: str) -> tuple[str, ...]:
    return tuple(text.split())


caption = st.lists(st.sampled_from("a b c d the".split()), min_size=1, max_size=7).map(tuple)
corpus = st.lists(st.tuples(caption, st.lists(caption, min_size=1, max_size=3)), min_size=1, max_size=5)


def _corpus(
    seed: int, shortest: int, size: int = 40
) -> tuple[list[tuple[str, ...]], list[list[tuple[str, ...]]]]:
    random = np.random.default_rng(seed)
    vocabulary = _w("a the small large red blue star ring left of two is there above")

    def one() -> tuple[str, ...]:
        return tuple(random.choice(vocabulary, random.integers(shortest, 13)).tolist())

    references = [[one() for _ in range(5)] for _ in range(size)]
    # Half of a reference with other words behind it, so that long n-grams are found, too.
    return [r[0][: random.integers(1, 9)] + one()[:4] for r in references], references


# --- BLEU ---------------------------------------------------------------------------------------------------


def test_a_word_counts_as_often_as_the_reference_that_has_it_most() -> None:
    # Papineni et al. 2002, section 2.1: 2 of 7.
    found = bleu(
        [_w("the the the the the the the")], [[_w("the cat is on the mat"), _w("there is a cat on the mat")]]
    )
    assert found == pytest.approx((2 / 7, 0, 0, 0))


def test_counts_are_clipped_by_one_reference_not_by_their_sum() -> None:
    assert bleu([_w("a a")], [[_w("a b"), _w("c a")]], order=1) == pytest.approx((0.5,))


def test_a_short_caption_by_hand() -> None:
    hypotheses, references = [_w("a small red star")], [[_w("a small red ring above a star")]]
    # 4 of 4 words, 2 of 3 pairs, 1 of 2 triples; 4 words against 7.
    penalty = math.exp(1 - 7 / 4)
    plain = (1.0, (2 / 3) ** 0.5, (2 / 3 / 2) ** (1 / 3), 0.0)
    assert bleu(hypotheses, references, brevity=False) == pytest.approx(plain)
    assert bleu(hypotheses, references) == pytest.approx(tuple(penalty * value for value in plain))


def test_the_reference_nearest_in_length_decides_and_of_two_the_shorter() -> None:
    four, six, nine = _w("a b c d"), _w("a b c d e f"), _w("a b c d e f g h i")
    five = _w("a b c d e")
    assert bleu([five], [[six, four]], order=1) == (1.0,)
    assert bleu([five], [[nine, six]], order=1) == pytest.approx((math.exp(1 - 6 / 5),))


def test_counts_are_summed_over_the_corpus_before_they_are_divided() -> None:
    found = bleu([_w("a"), _w("b b b")], [[_w("a")], [_w("c c c")]], order=1)
    assert found == pytest.approx((1 / 4,))


def test_empty_captions_score_nothing() -> None:
    assert bleu([()], [[_w("a b")]]) == (0, 0, 0, 0)
    assert bleu([()], [[_w("a b")]], brevity=False) == (0, 0, 0, 0)
    assert meteor_exact([()], [[_w("a b")]]) == 0
    assert meteor_exact([_w("a b")], [[()]]) == 0


@pytest.mark.parametrize("seed", range(4))
def test_bleu_equals_sacrebleu(seed: int) -> None:
    metrics = pytest.importorskip("sacrebleu.metrics")
    hypotheses, references = _corpus(seed, shortest=8 if seed % 2 else 2)
    if seed % 2:
        hypotheses = [h[:6] for h in hypotheses]  # the penalty is in force
    ours, without = bleu(hypotheses, references), bleu(hypotheses, references, brevity=False)
    streams = [[" ".join(r[i]) for r in references] for i in range(5)]
    for order in range(1, 5):
        metric = metrics.BLEU(tokenize="none", smooth_method="none", max_ngram_order=order, force=True)
        theirs = metric.corpus_score([" ".join(h) for h in hypotheses], streams)
        assert ours[order - 1] == pytest.approx(theirs.score / 100, rel=1e-9)
        assert without[order - 1] == pytest.approx(theirs.score / theirs.bp / 100, rel=1e-9)
        assert theirs.bp < 1 or seed % 2 == 0


@given(corpus)
def test_captions_that_equal_a_reference_score_one(pairs) -> None:
    references = [several for _, several in pairs]
    hypotheses = [several[-1] for several in references]
    longest = min(4, max(map(len, hypotheses)))
    assert bleu(hypotheses, references)[:longest] == pytest.approx([1.0] * longest)


@given(corpus, st.randoms(use_true_random=False))
def test_the_order_of_corpus_and_references_does_not_matter(pairs, random) -> None:
    shuffled = [(h, random.sample(r, len(r))) for h, r in random.sample(pairs, len(pairs))]
    split, split_shuffled = list(zip(*pairs, strict=True)), list(zip(*shuffled, strict=True))
    assert bleu(*split) == pytest.approx(bleu(*split_shuffled))
    assert meteor_exact(*split) == pytest.approx(meteor_exact(*split_shuffled))


@given(corpus)
def test_scores_are_shares_and_the_penalty_only_lowers(pairs) -> None:
    hypotheses, references = zip(*pairs, strict=True)
    with_penalty, without = bleu(hypotheses, references), bleu(hypotheses, references, brevity=False)
    for low, high in zip(with_penalty, without, strict=True):
        assert 0 <= low <= high <= 1 + 1e-12
    assert 0 <= meteor_exact(hypotheses, references) <= 1


@given(corpus)
def test_the_first_orders_do_not_depend_on_how_many_are_asked_for(pairs) -> None:
    hypotheses, references = zip(*pairs, strict=True)
    assert bleu(hypotheses, references, order=2) == bleu(hypotheses, references)[:2]


# --- METEOR -------------------------------------------------------------------------------------------------


def test_meteor_by_hand() -> None:
    hypothesis, reference = _w("on the mat sat the dog"), _w("the cat sat on the mat")
    # Five of six words, in the chunks "on the mat", "sat" and "the".
    precision = recall = 5 / 6
    mean = 10 * precision * recall / (recall + 9 * precision)
    assert meteor_exact([hypothesis], [[reference]]) == pytest.approx(mean * (1 - 0.5 * (3 / 5) ** 3))


def test_recall_weighs_nine_times_as_much_as_precision() -> None:
    short, long = _w("a b"), _w("a b c d")
    assert meteor_exact([short], [[long]]) == pytest.approx(10 * 0.5 / (0.5 + 9) * (1 - 0.5 / 8))
    assert meteor_exact([long], [[short]]) == pytest.approx(10 * 0.5 / (1 + 4.5) * (1 - 0.5 / 8))


@given(caption)
def test_a_caption_that_equals_its_reference_is_one_chunk(words) -> None:
    assert meteor_exact([words], [[words]]) == pytest.approx(1 - 0.5 / len(words) ** 3)


def test_the_best_reference_counts() -> None:
    hypothesis, good, bad = _w("a red star"), _w("a red ring"), _w("the blue moon")
    assert meteor_exact([hypothesis], [[bad, good]]) == meteor_exact([hypothesis], [[good]]) > 0


def test_the_corpus_score_comes_from_sums_not_from_a_mean() -> None:
    found = meteor_exact([_w("a"), _w("x y z")], [[_w("a")], [_w("b c d")]])
    assert found == pytest.approx(0.25 * (1 - 0.5))


def _fewest_chunks(hypothesis: tuple[str, ...], reference: tuple[str, ...]) -> tuple[int, int]:
    """Tries all alignments."""
    wanted = (Counter(hypothesis) & Counter(reference)).total()
    best = 99
    options = [[None, *(j for j, r in enumerate(reference) if r == h)] for h in hypothesis]
    for choice in itertools.product(*options):
        used = [j for j in choice if j is not None]
        if len(used) != wanted or len(set(used)) < wanted:
            continue
        chunks = sum(
            j is not None and (i == 0 or choice[i - 1] is None or choice[i - 1] != j - 1)
            for i, j in enumerate(choice)
        )
        best = min(best, chunks)
    return wanted, 0 if wanted == 0 else best


few = st.lists(st.sampled_from("abc"), min_size=1, max_size=6).map(tuple)


@given(few, few)
def test_the_alignment_has_the_fewest_chunks_of_all(hypothesis, reference) -> None:
    matches, chunks = _fewest_chunks(hypothesis, reference)
    expected = 0.0
    if matches:
        precision, recall = matches / len(hypothesis), matches / len(reference)
        expected = 10 * precision * recall / (recall + 9 * precision) * (1 - 0.5 * (chunks / matches) ** 3)
    assert meteor_exact([hypothesis], [[reference]]) == pytest.approx(expected)


class _NoStems:
    def stem(self, word: str) -> str:
        return word


class _NoSynonyms:
    def synsets(self, word: str) -> list[object]:
        return []


def test_meteor_equals_nltk_where_no_word_is_repeated() -> None:
    theirs = pytest.importorskip("nltk.translate.meteor_score")
    random = np.random.default_rng(0)
    vocabulary = _w("a small red star left of the large blue ring")
    for _ in range(100):
        hypothesis, reference = (
            random.permutation(vocabulary)[: random.integers(1, 10)].tolist() for _ in range(2)
        )
        expected = theirs.single_meteor_score(
            reference, hypothesis, stemmer=_NoStems(), wordnet=_NoSynonyms(), alpha=0.9, beta=3.0, gamma=0.5
        )
        assert meteor_exact([hypothesis], [[reference]]) == pytest.approx(expected)


def test_a_caption_of_one_word_a_hundred_times_ends() -> None:
    words = ("a", "b") * 50
    assert meteor_exact([words], [[words[::-1]]]) > 0.9
    assert meteor_exact([("a",) * 100], [[("a",) * 60]]) > 0.9


# --- misuse -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", [bleu, meteor_exact])
@pytest.mark.parametrize(
    "hypotheses, references, said",
    [([], [], "no captions"), ([_w("a")], [], "references for 0"), ([_w("a")], [[]], "no reference")],
)
def test_a_corpus_that_cannot_be_scored_is_refused(score, hypotheses, references, said) -> None:
    with pytest.raises(ValueError, match=said):
        score(hypotheses, references)


def test_an_order_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        bleu([_w("a")], [[_w("a")]], order=0)
