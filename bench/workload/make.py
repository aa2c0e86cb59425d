#!/usr/bin/env python3
"""Makes the texts that every arm of the benchmark reads, from the licence of this repository.

The texts have four lengths, mixed as documents mix them, so that padding and batching count. Run it again after a change:
the files are committed, and a figure names their digests.
"""

import json
from pathlib import Path

HERE = Path(__file__).resolve().parent
WORDS = (HERE.parent.parent / "LICENSE").read_text(encoding="utf-8").split()

# Words a text, how many of each: about 16, 64, 128 and 256 tokens.
LENGTHS = {12: 32, 48: 32, 96: 32, 190: 32}
PROMPTS = 8
PROMPT_WORDS = 190


def window(start: int, length: int) -> str:
    """Words from a place in the licence, which is read as a ring."""
    return " ".join(WORDS[(start + i) % len(WORDS)] for i in range(length))


def write(name: str, rows: list[dict]) -> None:
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (HERE / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    texts = []
    for index in range(max(LENGTHS.values())):
        for length, count in LENGTHS.items():
            if index < count:
                # 37 is coprime to the number of words: no text is another's copy.
                texts.append({"id": f"{length}-{index}", "text": window(index * 37 + length * 11, length)})
    write("texts.jsonl", texts)
    question = "Explain in plain words what this clause asks of the people who use the software."
    prompts = [{"id": f"prompt-{i}", "prompt": f"{window(i * 181, PROMPT_WORDS)}\n\n{question}"} for i in range(PROMPTS)]
    write("prompts.jsonl", prompts)


if __name__ == "__main__":
    main()
