"""The documented rule, word by word."""

import itertools

import pytest

from common.forecast.confidence import STALE_SESSIONS, confidence

ORDER = ("low", "medium", "high")
GOOD = {"model_type": "stock_specific", "by_model": True, "skilled": True}


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "high"),
        ({"model_type": "general"}, "medium"),
        ({"skilled": False}, "medium"),
        ({"model_type": "general", "skilled": False}, "medium"),
        ({"by_model": False}, "low"),
        ({"frozen": True, "by_model": False}, "low"),
        ({"known": False, "model_type": "general"}, "low"),
        ({"sessions_behind": STALE_SESSIONS}, "medium"),
        ({"sessions_behind": STALE_SESSIONS - 1}, "high"),
        ({"sessions_behind": 9, "model_type": "general"}, "low"),
    ],
)
def test_each_case_has_its_word(changes, word):
    assert confidence(**GOOD | changes).word == word


def test_every_word_below_the_best_its_model_can_have_comes_with_a_reason():
    flags = itertools.product((True, False), repeat=5)
    for own, by_model, skilled, frozen, known in flags:
        for behind in (0, STALE_SESSIONS):
            found = confidence(
                model_type="stock_specific" if own else "general",
                by_model=by_model,
                skilled=skilled,
                frozen=frozen,
                known=known,
                sessions_behind=behind,
            )
            best = "high" if own else "medium"
            assert (found.word == best) == (not found.reasons)


def test_worse_evidence_never_raises_the_word():
    worse = {"skilled": False, "by_model": False, "frozen": True, "known": False, "sessions_behind": 30}
    for size in range(len(worse)):
        for names in itertools.combinations(worse, size):
            start = GOOD | {name: worse[name] for name in names}
            for name in set(worse) - set(names):
                before, after = (confidence(**each).word for each in (start, start | {name: worse[name]}))
                assert ORDER.index(after) <= ORDER.index(before)
