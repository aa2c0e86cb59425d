"""Embeds the workload's texts with ONNX Runtime int8."""

import sys

from measure import Clock, read_jsonl, report, two_threads

two_threads()

from minilm import MiniLm  # noqa: E402  (threads are set before the libraries start)


def main(workload: str, tokenizer: str) -> None:
    texts = [row["text"] for row in read_jsonl(workload)]
    with Clock() as cold:
        model = MiniLm(tokenizer)
        model.embed(texts[:1])
    model.embed(texts)
    with Clock() as clock:
        vectors = model.embed(texts)
    assert vectors.shape == (len(texts), 384)
    one = []
    for text in texts[:32]:
        with Clock() as single:
            model.embed([text])
        one.append(single.wall)
    one.sort()
    report(
        [
            {"name": "embed", "items": len(texts), "seconds": clock.wall, "cpuSeconds": clock.cpu, "startSeconds": cold.wall},
            {"name": "embed-one", "items": len(one), "seconds": one[len(one) // 2], "p95Seconds": one[int(len(one) * 0.95)]},
        ]
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
