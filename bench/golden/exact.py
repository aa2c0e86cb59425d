"""Llama and Gemma 3 in plain 32-bit arithmetic over a GGUF file's weights: short, slow, and written from the papers."""

import gguf
import numpy


def rms(rows, weight, epsilon):
    return rows / numpy.sqrt((rows * rows).mean(-1, keepdims=True) + epsilon) * weight


def rotate(heads, base, interleaved):
    """heads: place, head, dimension."""
    half = heads.shape[-1] // 2
    angles = numpy.outer(numpy.arange(len(heads)), base ** (-numpy.arange(half) / half))
    cosine, sine = (f(angles)[:, None, :].astype(numpy.float32) for f in (numpy.cos, numpy.sin))
    first, second = (heads[..., 0::2], heads[..., 1::2]) if interleaved else (heads[..., :half], heads[..., half:])
    turned = first * cosine - second * sine, first * sine + second * cosine
    return numpy.stack(turned, -1).reshape(heads.shape) if interleaved else numpy.concatenate(turned, -1)


class Exact:
    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.fields = {name: field.contents() for name, field in reader.fields.items() if "tokenizer" not in name}
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}
        self.gemma = self.fields["general.architecture"] == "gemma3"

    def field(self, name):
        return self.fields[f"{self.fields['general.architecture']}.{name}"]

    def weight(self, name):
        tensor = self.tensors[name]
        return gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32)

    def attention(self, rows, layer, epsilon):
        def heads(name, count):
            return (rows @ self.weight(f"blk.{layer}.attn_{name}.weight").T).reshape(len(rows), count, -1)

        count, key_count = self.field("attention.head_count"), self.field("attention.head_count_kv")
        queries, keys, values = heads("q", count), heads("k", key_count), heads("v", key_count)
        local = self.gemma and (layer + 1) % 6 != 0
        if self.gemma:
            queries = rms(queries, self.weight(f"blk.{layer}.attn_q_norm.weight"), epsilon)
            keys = rms(keys, self.weight(f"blk.{layer}.attn_k_norm.weight"), epsilon)
        base = 10_000.0 if local else self.field("rope.freq_base")
        queries, keys = (rotate(heads, base, not self.gemma) for heads in (queries, keys))
        keys, values = (numpy.repeat(heads, count // key_count, axis=1) for heads in (keys, values))
        scores = numpy.einsum("qhd,khd->hqk", queries, keys) / numpy.sqrt(queries.shape[-1])
        back = numpy.arange(len(rows))[:, None] - numpy.arange(len(rows))[None, :]
        unseen = (back < 0) | (back >= self.field("attention.sliding_window") if local else False)
        scores = numpy.where(unseen, -numpy.inf, scores)
        shares = numpy.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        attended = numpy.einsum("hqk,khd->qhd", shares, values).reshape(len(rows), -1)
        return attended @ self.weight(f"blk.{layer}.attn_output.weight").T

    def feed_forward(self, rows, layer):
        gate, up = (rows @ self.weight(f"blk.{layer}.ffn_{name}.weight").T for name in ("gate", "up"))
        if self.gemma:
            active = 0.5 * gate * (1 + numpy.tanh(numpy.sqrt(2 / numpy.pi) * (gate + 0.044715 * gate**3)))
        else:
            active = gate / (1 + numpy.exp(-gate))
        return (active * up) @ self.weight(f"blk.{layer}.ffn_down.weight").T

    def logarithms(self, tokens, start):
        """The logarithms of probability of all tokens after every place from `start` on."""
        embedding = self.weight("token_embd.weight")
        epsilon = self.field("attention.layer_norm_rms_epsilon")
        states = embedding[tokens]
        if self.gemma:
            states = states * numpy.float32(numpy.sqrt(states.shape[-1]))
        for layer in range(self.field("block_count")):
            norm = lambda name: self.weight(f"blk.{layer}.{name}.weight")  # noqa: E731
            added = self.attention(rms(states, norm("attn_norm"), epsilon), layer, epsilon)
            states = states + (rms(added, norm("post_attention_norm"), epsilon) if self.gemma else added)
            added = self.feed_forward(rms(states, norm("ffn_norm"), epsilon), layer)
            states = states + (rms(added, norm("post_ffw_norm"), epsilon) if self.gemma else added)
        scores = rms(states[start:], self.weight("output_norm.weight"), epsilon) @ embedding.T
        scores = scores - scores.max(-1, keepdims=True)
        return scores - numpy.log(numpy.exp(scores).sum(-1, keepdims=True))
