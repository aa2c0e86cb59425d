"""Generates from the workload's prompts with llama.cpp: one at a time, then four at once."""

import sys
from concurrent.futures import ThreadPoolExecutor

from measure import Clock, read_jsonl, report, two_threads

two_threads()

from llama import Llama  # noqa: E402

SYSTEM = "You write clear, plain and short text from the given material. Add nothing that is not in it."
TOKENS = 64
AT_ONCE = 4


def measured(name: str, prompts: list[str], gguf: str, at_once: int) -> dict:
    with Clock() as cold:
        model = Llama(gguf, at_once)
        model.chat(SYSTEM, "Hello", 1)
    model.prompt_tokens = model.completion_tokens = 0
    # Reuse of an earlier prompt is off: the round would otherwise measure the one before it.
    ask = lambda prompt: model.chat(SYSTEM, prompt, TOKENS, reuse=False)  # noqa: E731
    with Clock() as clock, ThreadPoolExecutor(at_once) as threads:
        list(threads.map(ask, prompts))
    return {
        "name": name,
        "items": len(prompts),
        "seconds": clock.wall,
        "cpuSeconds": clock.cpu,
        "startSeconds": cold.wall,
        "promptTokens": model.prompt_tokens,
        "completionTokens": model.completion_tokens,
    }


def main(workload: str, gguf: str) -> None:
    prompts = [row["prompt"] for row in read_jsonl(workload)]
    report([measured("generate-one", prompts, gguf, 1), measured("generate-four", prompts, gguf, AT_ONCE)])


if __name__ == "__main__":
    main(*sys.argv[1:])
