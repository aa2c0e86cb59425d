"""Generates with llama.cpp what `docket bench engine` generates, under the same names: the same file, greedy, two threads."""

import sys
from concurrent.futures import ThreadPoolExecutor

from measure import rate, report, two_threads

two_threads()

from llama import Llama  # noqa: E402

WORD = "work "
TOKENS = 64
SEQUENCES = 8


def main(gguf: str) -> None:
    model = Llama(gguf, SEQUENCES, context=1024)

    def decode(sequences: int):
        def once(number: int) -> int:
            prompts = [f"Round {number}, letter {n}. Write a long story about a lighthouse keeper." for n in range(sequences)]
            before = model.completion_tokens
            with ThreadPoolExecutor(sequences) as threads:
                list(threads.map(lambda prompt: model.chat(None, prompt, TOKENS), prompts))
            return model.completion_tokens - before

        return once

    def prefill(number: int) -> int:
        before = model.prompt_tokens
        model.chat(None, f"{number} {WORD * 500}", 1)
        return model.prompt_tokens - before

    report(
        [
            rate("decode 64 tokens, 1 sequence", "tokens/s", decode(1)),
            rate("decode 64 tokens, 8 sequences", "tokens/s", decode(SEQUENCES)),
            rate("prefill 512 tokens", "tokens/s", prefill),
        ]
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
