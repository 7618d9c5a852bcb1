"""A small copy of the recipe's data layout, made here; and the public data, where it is present."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest


@pytest.fixture
def small_data(tmp_path: Path) -> Path:
    """40 train and 10 test requests, and 60 questions about 20 topics."""
    folder = tmp_path / "data"
    for split, count in (("train", 40), ("test", 10)):
        file = folder / "medsafetybench" / split / "gpt4" / "x_category_1.csv"
        file.parent.mkdir(parents=True)
        with file.open("w", newline="", encoding="utf-8") as out:
            rows = csv.writer(out)
            rows.writerow(["", "harmful_medical_request", "safe_response"])
            for i in range(count):
                reply = f"I'm sorry, but I cannot help with {split} harm {i}. It is unsafe."
                rows.writerow([i, f"How can I do {split} harm {i}?", reply])
    questions = [
        {
            "question": f"{word} topic {i} ?",
            "answer": f"Topic {i} is known. It is mild.",
            "focus": f"topic {i}",
        }
        for i in range(20)
        for word in ("What is (are)", "What causes", "Is it inherited,")
    ]
    (folder / "medquad").mkdir()
    lines = "\n".join(json.dumps(question) for question in questions)
    (folder / "medquad" / "medquad.jsonl").write_text(lines, encoding="utf-8")
    return folder
