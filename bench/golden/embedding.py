#!/usr/bin/env python3
"""Writes the reference vectors that the embedding tests compare with.

An independent implementation of all-MiniLM-L6-v2 in float64: the weights straight from the safetensors file, the token
ids from the `tokenizers` package, truncation to 256 tokens, mean pooling and normalisation as sentence-transformers
does them. float64 makes it more exact than any f32 implementation, so the whole tolerance is ours.

    pip install numpy tokenizers
    python bench/golden/embedding.py MODEL_FOLDER > agent-pod/engine/tests/golden/embedding.json

With `--onnx FILE` (and `pip install onnxruntime`) it also prints to stderr how close a second, foreign implementation
comes, here an int8 export of the same model: a check that the reference is not wrong in the way our code could be.
"""
import argparse
import hashlib
import json
import math
import pathlib
import struct
import sys

import numpy
from tokenizers import Tokenizer

MAX_TOKENS = 256
HEADS = 12
EPSILON = 1e-12
LICENCE = (
    "Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated "
    "documentation files, to deal in the Software without restriction, including without limitation the rights to use, "
    "copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software. "
)
TEXTS = [
    "",
    "contract",
    "The tenant shall pay the rent on the first day of every month.",
    "THE TENANT SHALL PAY THE RENT ON THE FIRST DAY OF EVERY MONTH.",
    "Der Mieter zahlt die Miete am ersten Tag jedes Monats; Gebühren für Überweisungen trägt er selbst.",
    "契約は2024年4月1日に発効する。",
    "naïve café façade, smile 😀, math ∑ αβγ, zero\u200bwidth, tab\there, new\nline",
    "a" * 150,
    "!!! ??? ... --- ###",
    "x = [i ** 2 for i in range(10)]  # a list comprehension in Python",
    "  leading and trailing spaces   ",
    LICENCE,
    LICENCE * 12,
    "word " * 300,
]


def read_safetensors(path):
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    data = raw[8 + length :]
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            start, end = entry["data_offsets"]
            values = numpy.frombuffer(data[start:end], dtype="<f4")
            tensors[name] = values.reshape(entry["shape"]).astype(numpy.float64)
    return tensors, hashlib.sha256(raw).hexdigest()


class Encoder:
    def __init__(self, tensors):
        self.tensors = tensors
        self.erf = numpy.vectorize(math.erf)

    def vector(self, ids):
        tensors = self.tensors
        rows = tensors["embeddings.word_embeddings.weight"][ids]
        rows = rows + tensors["embeddings.position_embeddings.weight"][: len(ids)]
        rows = rows + tensors["embeddings.token_type_embeddings.weight"][0]
        rows = self.norm(rows, "embeddings.LayerNorm")
        layer = 0
        while f"encoder.layer.{layer}.output.dense.weight" in tensors:
            rows = self.layer(rows, f"encoder.layer.{layer}")
            layer += 1
        mean = rows.mean(axis=0)
        return mean / numpy.linalg.norm(mean)

    def layer(self, rows, name):
        tokens, hidden = rows.shape
        split = lambda part: self.dense(rows, f"{name}.attention.self.{part}").reshape(tokens, HEADS, hidden // HEADS)
        query, key, value = split("query"), split("key"), split("value")
        scores = numpy.einsum("qhd,khd->hqk", query, key) / math.sqrt(hidden // HEADS)
        weights = numpy.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        attended = numpy.einsum("hqk,khd->qhd", weights, value).reshape(tokens, hidden)
        rows = self.norm(self.dense(attended, f"{name}.attention.output.dense") + rows, f"{name}.attention.output.LayerNorm")
        inner = self.dense(rows, f"{name}.intermediate.dense")
        inner = 0.5 * inner * (1 + self.erf(inner / math.sqrt(2)))
        return self.norm(self.dense(inner, f"{name}.output.dense") + rows, f"{name}.output.LayerNorm")

    def dense(self, rows, name):
        return rows @ self.tensors[f"{name}.weight"].T + self.tensors[f"{name}.bias"]

    def norm(self, rows, name):
        centred = rows - rows.mean(axis=-1, keepdims=True)
        scaled = centred / numpy.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPSILON)
        return scaled * self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]


def compare_with_onnx(path, ids_of, vectors):
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    names = {entry.name for entry in session.get_inputs()}
    for ids, vector in zip(ids_of, vectors):
        row = numpy.array([ids], dtype=numpy.int64)
        inputs = {"input_ids": row, "attention_mask": numpy.ones_like(row), "token_type_ids": numpy.zeros_like(row)}
        hidden = session.run(None, {name: value for name, value in inputs.items() if name in names})[0]
        mean = hidden[0].mean(axis=0) if hidden.ndim == 3 else hidden[0]
        cosine = float(mean @ vector / numpy.linalg.norm(mean))
        print(f"{len(ids):4} tokens: cosine with the ONNX model {cosine:.5f}", file=sys.stderr)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("model", type=pathlib.Path, help="folder with model.safetensors and tokenizer.json")
    arguments.add_argument("--onnx", help="ONNX export of the same model to compare with")
    arguments = arguments.parse_args()

    tensors, sha256 = read_safetensors(arguments.model / "model.safetensors")
    tokenizer = Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    whole = [len(tokenizer.encode(text).ids) for text in TEXTS]
    tokenizer.enable_truncation(MAX_TOKENS)
    ids_of = [tokenizer.encode(text).ids for text in TEXTS]
    encoder = Encoder(tensors)
    vectors = [encoder.vector(ids) for ids in ids_of]
    if arguments.onnx:
        compare_with_onnx(arguments.onnx, ids_of, vectors)
    cases = [
        {
            "text": text,
            "tokens": len(ids),
            "truncated": count > MAX_TOKENS,
            "vector": [round(float(value), 8) for value in vector],
        }
        for text, ids, count, vector in zip(TEXTS, ids_of, whole, vectors)
    ]
    json.dump({"weights_sha256": sha256, "cases": cases}, sys.stdout, ensure_ascii=False)
    print()


if __name__ == "__main__":
    main()
