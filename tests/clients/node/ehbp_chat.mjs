// npm's `ehbp`, unmodified: by itself, and as the fetch of the OpenAI SDK, buffered and streamed; then a replay.
// NODE_EXTRA_CA_CERTS names the development CA. Prints one JSON object.
import { createTransport } from "ehbp";
import OpenAI from "openai";

const base = process.env.OPENAI_BASE_URL;
const question = (more = {}) => ({
  model: process.env.CHAT_MODEL,
  messages: [{ role: "user", content: process.env.CHAT_QUESTION }],
  temperature: 0,
  seed: 7,
  max_tokens: 24,
  ...more,
});

// What goes over the wire, noted below the library, so that the same sealed request can be sent again.
const sent = [];
const network = globalThis.fetch;
globalThis.fetch = async (input, init) => {
  if (!(input instanceof Request) || input.method !== "POST") return network(input, init);
  const body = new Uint8Array(await input.clone().arrayBuffer());
  sent.push({ url: input.url, headers: Object.fromEntries(input.headers), body });
  return network(input, init);
};

const transport = await createTransport(base);

async function bare() {
  const headers = { "content-type": "application/json", authorization: `Bearer ${process.env.OPENAI_API_KEY}` };
  const answer = await transport.post(`${base}/chat/completions`, JSON.stringify(question()), { headers });
  const { choices, usage } = await answer.json();
  return { text: choices[0].message.content, tokens: [usage.prompt_tokens, usage.completion_tokens] };
}

const client = new OpenAI({ fetch: (url, init) => transport.request(url, init), maxRetries: 0 });

async function complete() {
  const { choices, usage } = await client.chat.completions.create(question());
  return { text: choices[0].message.content, tokens: [usage.prompt_tokens, usage.completion_tokens] };
}

async function stream() {
  const pieces = [];
  for await (const chunk of await client.chat.completions.create(question({ stream: true }))) {
    pieces.push(chunk.choices[0].delta.content ?? "");
  }
  return { text: pieces.join(""), pieces: pieces.length };
}

// How many requests the account has paid for so far.
async function billed() {
  const answer = await network(`${base}/usage`, { headers: { authorization: `Bearer ${process.env.OPENAI_API_KEY}` } });
  return (await answer.json()).month.requests;
}

async function replay({ url, headers, body }) {
  const before = await billed();
  const { status } = await network(url, { method: "POST", headers, body });
  return { status, billed: (await billed()) - before };
}

const result = { node: process.versions.node, bare: await bare(), complete: await complete(), stream: await stream() };
result.sealed_requests = sent.filter((request) => "ehbp-encapsulated-key" in request.headers).length;
result.plaintext_sent = sent.some(({ body }) => Buffer.from(body).includes(process.env.CHAT_QUESTION));
result.replay = await replay(sent[0]);
result.after_replay = await complete();
console.log(JSON.stringify(result));
