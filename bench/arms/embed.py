"""Embeds with ONNX Runtime int8 what `docket bench engine` embeds, under the same names."""

import sys

from measure import rate, report, two_threads

two_threads()

from minilm import MiniLm  # noqa: E402  (threads are set before the libraries start)

WORD = "work "
WORKLOADS = {
    "embed 32 x 126 tokens": [WORD * 126] * 32,
    "embed 64 mixed, 6 to 250 tokens": [WORD * (6 + (n * 37) % 245) for n in range(64)],
    "embed 1 x 16 tokens": [WORD * 14],
}


def main(tokenizer: str) -> None:
    model = MiniLm(tokenizer)

    def work(texts: list[str]):
        def once(_: int) -> int:
            assert model.embed(texts).shape == (len(texts), 384)
            return len(texts)

        return once

    report([rate(name, "sequences/s", work(texts)) for name, texts in WORKLOADS.items()])


if __name__ == "__main__":
    main(*sys.argv[1:])
