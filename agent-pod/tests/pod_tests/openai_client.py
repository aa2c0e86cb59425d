"""Asks a running Docket for everything that its OpenAI-compatible interface offers, by the official client.

Usage: openai_client.py BASE_URL TOKEN. Fails at the first thing that is not as it should be; else prints a JSON object with
what the caller compares: a vector and an answer.
"""

import json
import math
import sys

import openai

TEXTS = ["The lease ends in May.", "A cat sleeps on the mat.", "The lease ends in May."]
QUESTION = [{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": "Name three animals."}]
ANIMAL = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "legs": {"type": "integer", "minimum": 0, "maximum": 8}},
    "required": ["name", "legs"],
    "additionalProperties": False,
}


def near(left, right, tolerance=1e-5):
    return len(left) == len(right) and all(abs(a - b) <= tolerance for a, b in zip(left, right))


def refused(kind, ask, param=None, code=None):
    try:
        ask()
    except kind as error:
        assert (error.param, error.code) == (param, code), (error.param, error.code, error.message)
        return
    raise AssertionError(f"no {kind.__name__}")


def models(client):
    names = [model.id for model in client.models.list()]
    assert names == ["mini", "readers/mini", "readers/small", "small"], names
    assert client.models.retrieve("readers/small").owned_by == "readers"
    refused(openai.NotFoundError, lambda: client.models.retrieve("gpt-4o"), "model", "model_not_found")


def embeddings(client):
    create = client.embeddings.create
    made = create(model="mini", input=TEXTS, encoding_format="float")
    assert [item.index for item in made.data] == [0, 1, 2]
    vectors = [item.embedding for item in made.data]
    assert all(abs(math.hypot(*vector) - 1) < 1e-4 for vector in vectors)
    assert near(vectors[0], vectors[2]), "the same text twice"
    assert not near(vectors[0], vectors[1]), "another text"
    assert made.usage.total_tokens == made.usage.prompt_tokens > len(TEXTS)
    # Without a format the client asks for base64 and reads it itself.
    packed = create(model="readers/mini", input=TEXTS)
    assert all(near(vector, item.embedding) for vector, item in zip(vectors, packed.data)), "base64 and numbers"
    raw = create(model="mini", input=TEXTS[0], encoding_format="base64")
    assert isinstance(raw.data[0].embedding, str), "asked for as text, left as text"
    assert create(model="mini", input="one text", dimensions=len(vectors[0])).data[0].index == 0
    refused(openai.BadRequestError, lambda: create(model="mini", input=[1, 2, 3]), "input")
    refused(openai.BadRequestError, lambda: create(model="mini", input=[[1], [2]]), "input")
    refused(openai.BadRequestError, lambda: create(model="mini", input=[]), "input")
    refused(openai.BadRequestError, lambda: create(model="mini", input="a", dimensions=7), "dimensions")
    refused(openai.BadRequestError, lambda: create(model="small", input="a"), "model")
    long = ["short", "word " * 1000]
    refused(openai.BadRequestError, lambda: create(model="mini", input=long), "input", "context_length_exceeded")
    refused(openai.NotFoundError, lambda: create(model="nothing", input="a"), "model", "model_not_found")
    return vectors[0]


def chat(client):
    create = client.chat.completions.create
    whole = create(model="small", messages=QUESTION, max_tokens=24, temperature=0)
    text = whole.choices[0].message.content
    assert text and whole.choices[0].message.role == "assistant"
    usage = whole.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens and 0 < usage.completion_tokens <= 24
    assert whole.choices[0].finish_reason == ("length" if usage.completion_tokens == 24 else "stop")
    assert create(model="small", messages=QUESTION, max_tokens=2, temperature=0).choices[0].finish_reason == "length"

    stream = create(
        model="readers/small", messages=QUESTION, max_completion_tokens=24, temperature=0, stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert len(pieces) > 3, pieces
    assert "".join(pieces) == text, (pieces, text)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == usage.completion_tokens
    assert len({chunk.id for chunk in chunks}) == 1
    plain = list(create(model="small", messages=QUESTION, max_tokens=4, temperature=0, stream=True))
    assert all(chunk.usage is None for chunk in plain) and plain[-1].choices[0].finish_reason == "length"

    drawn = [
        create(model="small", messages=QUESTION, max_tokens=16, temperature=1.5, top_p=0.9, seed=seed)
        for seed in (7, 7, 8)
    ]
    drawn = [answer.choices[0].message.content for answer in drawn]
    assert drawn[0] == drawn[1] != drawn[2], drawn
    word = text.split()[1]
    stopped = create(model="small", messages=QUESTION, max_tokens=24, temperature=0, stop=[word]).choices[0]
    assert word not in stopped.message.content and stopped.finish_reason == "stop", stopped
    without_limit = create(model="small", messages=QUESTION, temperature=0, stop=[word]).choices[0]
    assert without_limit.message.content == stopped.message.content
    return text


def formats(client):
    create = client.chat.completions.create
    schema = {"type": "json_schema", "json_schema": {"name": "animal", "strict": True, "schema": ANIMAL}}
    asked = [{"role": "user", "content": "Describe a dog."}]
    answer = create(model="small", messages=asked, max_tokens=64, temperature=0, response_format=schema)
    animal = json.loads(answer.choices[0].message.content)
    assert set(animal) == {"name", "legs"} and isinstance(animal["legs"], int), animal
    assert answer.choices[0].finish_reason == "stop"
    stream = create(model="small", messages=asked, max_tokens=64, temperature=0, response_format=schema, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert json.loads(text) == animal, text
    some = create(
        model="small", messages=asked, max_tokens=48, temperature=0, response_format={"type": "json_object"}
    )
    assert isinstance(json.loads(some.choices[0].message.content), dict)


def refusals(client):
    create = client.chat.completions.create
    ask = lambda **more: (lambda: create(**({"model": "small", "messages": QUESTION, "max_tokens": 4} | more)))
    bad = openai.BadRequestError
    refused(bad, ask(n=2), "n")
    refused(bad, ask(max_tokens=0), "max_tokens")
    refused(bad, ask(tools=[{"type": "function", "function": {"name": "f"}}]), "tools")
    refused(bad, ask(messages=[]), "messages")
    refused(bad, ask(model="mini"), "model")
    refused(bad, ask(response_format={"type": "json_schema", "json_schema": {"name": "a"}}), "response_format")
    wrong = {"name": "a", "schema": {"type": "nonsense"}}
    refused(bad, ask(response_format={"type": "json_schema", "json_schema": wrong}), "response_format")
    long = [{"role": "user", "content": "word " * 2000}]
    refused(bad, ask(messages=long), "messages", "context_length_exceeded")
    # Also where pieces were asked for, and where the answer's length was left open.
    refused(bad, ask(messages=long, stream=True), "messages", "context_length_exceeded")
    refused(bad, ask(messages=long, max_tokens=None), "messages", "context_length_exceeded")
    refused(openai.NotFoundError, ask(model="gpt-4o"), "model", "model_not_found")
    stranger = client.with_options(api_key="not-a-token-of-anyone")
    refused(openai.AuthenticationError, lambda: stranger.models.list(), None, "invalid_api_key")


def main(base_url, token):
    client = openai.OpenAI(base_url=base_url, api_key=token, max_retries=0, timeout=120)
    models(client)
    vector = embeddings(client)
    text = chat(client)
    formats(client)
    refusals(client)
    print(json.dumps({"vector": vector, "text": text}))


main(*sys.argv[1:])
