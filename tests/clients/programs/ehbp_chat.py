"""tinfoil-ehbp under the OpenAI SDK, both unmodified: buffered, streamed, replayed; prints one JSON object.

The one thing of ours is a transport below theirs that notes what goes over the wire, so that the same sealed
request can be sent a second time, and so that the test can see that no plaintext left.
"""

import asyncio
import json
import os
import ssl

import ehbp
import httpx
import openai

QUESTION = os.environ["CHAT_QUESTION"]


class Recorder(httpx.BaseTransport):
    """Forwards, and keeps every request body with its headers, and which responses carried a nonce."""

    def __init__(self, inner):
        self.inner, self.sent, self.sealed_answers = inner, [], 0

    def handle_request(self, request):
        request.read()
        self.sent.append(request)
        response = self.inner.handle_request(request)
        self.sealed_answers += "ehbp-response-nonce" in response.headers
        return response


def question(**more):
    asked = {"role": "user", "content": QUESTION}
    return {
        "model": os.environ["CHAT_MODEL"],
        "messages": [asked],
        "temperature": 0,
        "seed": 7,
        "max_tokens": 24,
    } | more


def chat(client):
    completion = client.chat.completions.create(**question())
    pieces = [
        chunk.choices[0].delta.content or ""
        for chunk in client.chat.completions.create(**question(stream=True))
    ]
    usage = completion.usage
    return {
        "complete": {
            "text": completion.choices[0].message.content,
            "tokens": [usage.prompt_tokens, usage.completion_tokens],
        },
        "stream": {"text": "".join(pieces), "pieces": len(pieces)},
    }


async def async_chat(identity, tls):
    transport = ehbp.AsyncEHBPTransport(identity, inner=httpx.AsyncHTTPTransport(verify=tls))
    async with openai.AsyncOpenAI(
        http_client=httpx.AsyncClient(transport=transport), max_retries=0
    ) as client:
        completion = await client.chat.completions.create(**question())
        chunks = await client.chat.completions.create(**question(stream=True))
        streamed = "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])
    return {"complete": {"text": completion.choices[0].message.content}, "stream": {"text": streamed}}


def refused(client):
    """An error after the body was opened: it has to come back sealed, in a form that the SDK understands."""
    try:
        client.chat.completions.create(**question(model="no-such-model"))
    except openai.APIStatusError as error:
        return {
            "status": error.status_code,
            "type": error.type,
            "nonce": "ehbp-response-nonce" in error.response.headers,
        }
    return None


def replay(request, tls):
    """The very bytes of a sealed request again: same encapsulated key, same ciphertext."""
    headers = {name: value for name, value in request.headers.items() if name != "transfer-encoding"}
    with httpx.Client(verify=tls, trust_env=False) as plain:
        before = billed(plain)
        answer = plain.request(request.method, request.url, headers=headers, content=request.content)
        return {"status": answer.status_code, "billed": billed(plain) - before}


def billed(plain):
    """How many requests the account has paid for so far."""
    key = {"authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
    return plain.get(f"{os.environ['OPENAI_BASE_URL']}/usage", headers=key).json()["month"]["requests"]


def stale_key(tls):
    other = "09" + "00" * 31  # X25519's base point: a valid key, but nobody's
    transport = ehbp.EHBPTransport.from_public_key_hex(other, inner=httpx.HTTPTransport(verify=tls))
    with openai.OpenAI(http_client=httpx.Client(transport=transport), max_retries=0) as client:
        try:
            client.chat.completions.create(**question())
        except openai.APIConnectionError as error:
            return type(error.__cause__).__name__
    return None


def main():
    tls = ssl.create_default_context(cafile=os.environ["CHAT_CA"])
    origin = str(httpx.URL(os.environ["OPENAI_BASE_URL"]).join("/"))
    with ehbp.Client.discover(origin, http_client=httpx.Client(verify=tls, trust_env=False)) as found:
        identity = found.server_identity
    recorder = Recorder(httpx.HTTPTransport(verify=tls))
    transport = ehbp.EHBPTransport(identity, inner=recorder)
    with openai.OpenAI(http_client=httpx.Client(transport=transport), max_retries=0) as client:
        result = chat(client)
        first = recorder.sent[0]
        result["plaintext_sent"] = any(QUESTION.encode() in request.content for request in recorder.sent)
        result["sealed_answers"] = recorder.sealed_answers
        result["replay"] = replay(first, tls)
        result["after_replay"] = chat(client)["complete"]
        result["refused"] = refused(client)
    result["asynchronous"] = asyncio.run(async_chat(identity, tls))
    result["stale_key"] = stale_key(tls)
    print(json.dumps(result))


main()
