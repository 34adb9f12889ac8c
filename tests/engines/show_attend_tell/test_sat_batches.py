"""Words and their numbers, and the order in which captions are trained on."""

from __future__ import annotations

import numpy as np
import pytest

from engines.show_attend_tell.batches import Batches
from engines.show_attend_tell.vocabulary import END, UNKNOWN, Vocabulary

LENGTHS = np.array([3, 5, 3, 4, 5, 3, 3, 5, 4, 3, 3, 5, 3])


def taken(batches: Batches, count: int, size: int = 3) -> list[list[int]]:
    return [batches.next(size).tolist() for _ in range(count)]


def test_a_minibatch_holds_captions_of_one_length_and_a_pass_holds_each_caption_once() -> None:
    batches = Batches(LENGTHS, seed=0)
    one_pass = []
    while batches.epochs < 1:
        chosen = batches.next(3)
        assert 1 <= len(chosen) <= 3 and len(set(LENGTHS[chosen].tolist())) == 1
        one_pass += chosen.tolist()
    assert sorted(one_pass) == list(range(len(LENGTHS)))


def test_each_pass_and_each_seed_has_its_own_order() -> None:
    first = Batches(LENGTHS, seed=0)
    # Three lengths with 7, 2 and 4 captions make 3, 1 and 2 minibatches.
    passes = [taken(first, 6) for _ in range(3)]
    assert passes[0] != passes[1] != passes[2]
    again = Batches(LENGTHS, seed=0)
    assert passes == [taken(again, 6) for _ in range(3)]
    assert taken(Batches(LENGTHS, seed=1), 6) != passes[0]


@pytest.mark.parametrize("done", [0, 1, 4, 6, 9])
def test_the_order_goes_on_from_where_it_was_kept(done: int) -> None:
    batches, other = Batches(LENGTHS, seed=3), Batches(LENGTHS, seed=3)
    taken(batches, done)
    other.load_state_dict(batches.state_dict())
    assert taken(batches, 10) == taken(other, 10)
    other.load_state_dict(batches.state_dict())
    assert taken(batches, 5, size=2) == taken(other, 5, size=2)


def test_another_size_begins_another_pass() -> None:
    batches = Batches(LENGTHS, seed=0)
    taken(batches, 2)
    captions = []
    while batches.epochs < 2:
        captions += batches.next(2).tolist()
    assert sorted(captions) == list(range(len(LENGTHS)))


CAPTIONS = [("a", "red", "star"), ("a", "red", "moon"), ("a", "blue", "moon"), ("the", "moon")]


def test_the_most_frequent_words_have_numbers_and_the_rest_are_unknown() -> None:
    vocabulary = Vocabulary.of(CAPTIONS, 5)
    assert vocabulary.words == ("<end>", "<unknown>", "a", "moon", "red")
    assert vocabulary.encode(("a", "red", "star")) == [2, 4, UNKNOWN, END]
    assert vocabulary.decode([2, 4, UNKNOWN, END, 3]) == ("a", "red", "<unknown>")
    assert "moon" in vocabulary and "star" not in vocabulary and len(vocabulary) == 5
    assert len(Vocabulary.of(CAPTIONS, 100)) == 8


def test_a_word_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        Vocabulary(["a", "a"])


def test_words_are_numbered_alike_whatever_the_order_of_the_captions() -> None:
    assert Vocabulary.of(CAPTIONS, 6).words == Vocabulary.of(CAPTIONS[::-1], 6).words
