"""An ordinary OpenAI program: complete and stream, synchronously and not; prints one JSON object.

With `url` it uses nothing of ours: OPENAI_BASE_URL and OPENAI_API_KEY are all that changed. With `transport`
the SDK gets an HTTP client over our verifying transport, and talks to the gateway itself. Runs on the oldest
and the newest SDK alike, so it uses only what all of them have.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

import openai

NEWEST_WITH_HTTPX = 2


def question(**more):
    asked = {"role": "user", "content": os.environ["CHAT_QUESTION"]}
    return {
        "model": os.environ["CHAT_MODEL"],
        "messages": [asked],
        "temperature": 0,
        "seed": 7,
        "max_tokens": 24,
    } | more


def transports():
    """The HTTP library of this SDK, and our two transports for it."""
    if int(openai.__version__.split(".")[0]) <= NEWEST_WITH_HTTPX:
        import httpx as library

        from attestation.transport import httpx_transport as ours
    else:
        import httpx2 as library

        from attestation.transport import httpx2_transport as ours
    return library, ours.VerifiedTransport, ours.AsyncVerifiedTransport


def clients(route):
    if route == "url":
        return openai.OpenAI(), openai.AsyncOpenAI()
    from attestation.policy.toml import parse_policy

    library, verified, async_verified = transports()
    policy = parse_policy(Path(os.environ["CHAT_POLICY"]).read_bytes())
    gateway = os.environ["OPENAI_BASE_URL"]
    return (
        openai.OpenAI(http_client=library.Client(transport=verified(gateway, policy)), max_retries=0),
        openai.AsyncOpenAI(
            http_client=library.AsyncClient(transport=async_verified(gateway, policy)), max_retries=0
        ),
    )


def said(completion):
    usage = completion.usage
    return {
        "text": completion.choices[0].message.content,
        "tokens": [usage.prompt_tokens, usage.completion_tokens],
    }


def complete(client):
    return said(client.chat.completions.create(**question()))


def stream(client):
    # Unguarded on purpose, as in the product's own sample: without usage, every chunk has a choice.
    chunks = client.chat.completions.create(**question(stream=True))
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks]
    return {"text": "".join(pieces), "pieces": len(pieces)}


def stream_with_usage(client):
    tokens, text = None, ""
    for chunk in client.chat.completions.create(
        **question(stream=True, stream_options={"include_usage": True})
    ):
        if chunk.usage:
            tokens = [chunk.usage.prompt_tokens, chunk.usage.completion_tokens]
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
    return {"text": text, "tokens": tokens}


def wrong_key(client):
    try:
        client.with_options(api_key="zima-not-a-key", max_retries=0).chat.completions.create(**question())
    except openai.AuthenticationError as error:
        return {"status": error.status_code, "code": error.code}
    return None


async def asynchronous(client):
    chunks = await client.chat.completions.create(**question(stream=True))
    streamed = "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])
    return {
        "complete": said(await client.chat.completions.create(**question())),
        "stream": {"text": streamed},
    }


async def closing(client):
    async with client:
        return await asynchronous(client)


def reason(error):
    """Names and texts of an error and all that caused it: what a user would read to find out why."""
    chain = []
    while error is not None:
        chain.append(f"{type(error).__name__}: {error}")
        error = error.__cause__ or error.__context__
    return chain


def main(route):
    client, async_client = clients(route)
    result = {"sdk": openai.__version__}
    try:
        with client:
            result["models"] = [model.id for model in client.models.list().data]
            result |= {"complete": complete(client), "stream": stream(client)}
            result |= {"usage": stream_with_usage(client), "wrong_key": wrong_key(client)}
        result["asynchronous"] = asyncio.run(closing(async_client))
    except Exception as error:  # noqa: BLE001 - older SDKs wrap what a transport raises, newer do not
        result["refused"] = reason(error)
    print(json.dumps(result))


main(sys.argv[1])
