from __future__ import annotations

import sys

import pytest
from rouge import Rouge  # type: ignore[import-untyped]

from alpha_umi.errors import ConfigError
from alpha_umi.training.evaluation.metrics.published import load_rouge, rouge_l


def test_rouge_l_equals_the_package() -> None:
    prediction, reference = "The cat sat. It was on a mat.", "A cat sat on the mat. It slept."
    expected = Rouge().get_scores([prediction], [reference], avg=True)["rouge-l"]["f"]
    assert rouge_l(prediction, reference) == expected


@pytest.mark.parametrize("empty", ["", ".", "..."])
def test_rouge_l_of_a_text_without_words_is_that_of_the_word_none(empty: str) -> None:
    assert rouge_l(empty, "none") == pytest.approx(1.0)
    assert rouge_l("none", empty) == pytest.approx(1.0)
    assert rouge_l(empty, "a cat") == 0.0


def test_rouge_l_takes_long_sentences() -> None:
    limit = sys.getrecursionlimit()
    text = " ".join(f"w{i}" for i in range(limit))
    assert rouge_l(text, f"{text} end") > 0.99
    assert sys.getrecursionlimit() == limit


def test_rouge_l_without_the_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    load_rouge.cache_clear()
    monkeypatch.setitem(sys.modules, "rouge", None)
    with pytest.raises(ConfigError, match=r"alpha-umi\[eval\]"):
        load_rouge()
