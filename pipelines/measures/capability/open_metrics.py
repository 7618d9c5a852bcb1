"""BLEU, ROUGE, BERTScore and BLEURT of the harness's open tasks (as `careqa_open`), without scripts of the hub.

The harness loads each metric by `evaluate.load`, which fetches a script from the hub and runs it. Salus runs no code
that it fetches. So the libraries that those scripts wrap are called instead, by the scripts' own settings:

- BLEU by sacrebleu, whose tokenizer `13a` and unsmoothed score are the script's;
- ROUGE by rouge_score, F-measure, without stemming;
- BERTScore by bert_score with roberta-large's 17th layer, its choice for English. Its weights come from the hub or its
  cache, as safetensors. Where they are not there, the figure is left out;
- BLEURT is always left out: its authors' package comes from a repository alone, and its weights are TensorFlow's.

Every figure is of one answer against one reference, as these tasks ask. Needs the extra `eval`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

ROBERTA, ROBERTA_LAYER = "roberta-large", 17
# The harness's variable; any value sets it.
_ONE_PROCESS = "DISABLE_MULTIPROC"
_FETCHED = ("*.json", "*.txt", "*.safetensors")
_ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")
NO_BLEURT = "BLEURT is left out: its authors' package comes from a repository alone, and its weights are TensorFlow's."


class OpenMetric(Protocol):
    """What a task calls of a metric that it loaded."""

    def compute(self, *, predictions: Sequence[str], references: Sequence[str], **settings: object) -> dict[str, Any]:
        """The metric's figures by name, each a number or one for each prediction."""


class Bleu:
    """Corpus BLEU of up to four-grams, from 0 to 1."""

    def compute(self, *, predictions: Sequence[str], references: Sequence[str], **settings: object) -> dict[str, Any]:
        from sacrebleu.metrics.bleu import BLEU

        found = BLEU(smooth_method="none", tokenize="13a").corpus_score(list(predictions), [list(references)])
        return {"bleu": found.score / 100.0}


class Rouge:
    """F-measures of ROUGE-1, -2, -L and -Lsum, from 0 to 1: means over predictions."""

    def compute(self, *, predictions: Sequence[str], references: Sequence[str], **settings: object) -> dict[str, Any]:
        from rouge_score.rouge_scorer import RougeScorer

        scorer = RougeScorer(list(_ROUGE), use_stemmer=False)
        found = [scorer.score(target, said) for said, target in zip(predictions, references, strict=True)]
        return {name: sum(each[name].fmeasure for each in found) / len(found) for name in _ROUGE}


class BertScore:
    """BERTScore (arXiv 1904.09675): F1 of each prediction, by a model of a local folder."""

    def __init__(self, folder: Path, layer: int = ROBERTA_LAYER) -> None:
        from bert_score import BERTScorer

        self._scorer: Any = BERTScorer(model_type=str(folder), num_layers=layer)

    def compute(self, *, predictions: Sequence[str], references: Sequence[str], **settings: object) -> dict[str, Any]:
        _, _, f1 = self._scorer.score(list(predictions), list(references))
        return {"f1": f1.tolist()}


class NoMetric:
    """In the place of one that cannot be had: NaN for each prediction, which no figure is made of."""

    def compute(self, *, predictions: Sequence[str], references: Sequence[str], **settings: object) -> dict[str, Any]:
        nothing = [math.nan] * len(predictions)
        return {"f1": nothing, "scores": nothing}


@contextmanager
def installed_metrics() -> Iterator[list[str]]:
    """While it is open, the harness's tasks get these metrics in place of scripts; others are loaded as ever.

    Standard errors are resampled in this process: the harness would fork one that holds an engine for each.

    Yields:
        A sentence on each metric that a task asked for and cannot have.
    """
    import evaluate

    loaded: dict[str, OpenMetric] = {}
    left_out: list[str] = []
    makers: dict[str, Callable[[], OpenMetric]] = {
        "bleu": Bleu,
        "rouge": Rouge,
        "bertscore": lambda: _bert_score(left_out),
        "bleurt": lambda: _left_out(NO_BLEURT, left_out),
    }
    original = evaluate.load

    def load(path: str, *given: Any, **settings: Any) -> Any:
        if path not in makers:
            return original(path, *given, **settings)
        if path not in loaded:
            loaded[path] = makers[path]()
        return loaded[path]

    before = os.environ.get(_ONE_PROCESS)
    evaluate.load, os.environ[_ONE_PROCESS] = load, "1"
    try:
        yield left_out
    finally:
        evaluate.load = original
        if before is None:
            del os.environ[_ONE_PROCESS]
        else:
            os.environ[_ONE_PROCESS] = before


def fetch_bert_score() -> None:
    """Have BERTScore's weights in the hub's cache, where the hub can be reached; an engine puts the process offline."""
    if find_spec("bert_score") is not None:
        try:
            _roberta()
        except OSError:
            # What is missing is said once the task asks for it.
            return


def _bert_score(left_out: list[str]) -> OpenMetric:
    if find_spec("bert_score") is None:
        return _left_out("BERTScore is left out: bert-score is not installed; it is part of salus[eval].", left_out)
    try:
        return BertScore(_roberta())
    except OSError as error:
        why = type(error).__name__
        return _left_out(
            f"BERTScore is left out: {ROBERTA} is neither in the hub's cache nor fetched ({why}).", left_out
        )


def _left_out(sentence: str, left_out: list[str]) -> OpenMetric:
    left_out.append(sentence)
    return NoMetric()


def _roberta() -> Path:
    """The folder of its weights. Raises `OSError` where the hub is needed for them and cannot be reached."""
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(ROBERTA, allow_patterns=list(_FETCHED)))
