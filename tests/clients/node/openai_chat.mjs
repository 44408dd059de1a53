// An ordinary OpenAI program in JavaScript: only OPENAI_BASE_URL and OPENAI_API_KEY changed. Prints one JSON object.
import OpenAI from "openai";
import { VERSION } from "openai/version";

const client = new OpenAI();
const question = (more = {}) => ({
  model: process.env.CHAT_MODEL,
  messages: [{ role: "user", content: process.env.CHAT_QUESTION }],
  temperature: 0,
  seed: 7,
  max_tokens: 24,
  ...more,
});

async function complete() {
  const { choices, usage } = await client.chat.completions.create(question());
  return { text: choices[0].message.content, tokens: [usage.prompt_tokens, usage.completion_tokens] };
}

async function stream() {
  const pieces = [];
  for await (const chunk of await client.chat.completions.create(question({ stream: true }))) {
    // Unguarded on purpose: every chunk has a choice unless usage was asked for.
    pieces.push(chunk.choices[0].delta.content ?? "");
  }
  return { text: pieces.join(""), pieces: pieces.length };
}

async function streamWithUsage() {
  let text = "";
  let tokens = null;
  const options = { stream: true, stream_options: { include_usage: true } };
  for await (const chunk of await client.chat.completions.create(question(options))) {
    if (chunk.usage) tokens = [chunk.usage.prompt_tokens, chunk.usage.completion_tokens];
    text += chunk.choices.map((choice) => choice.delta.content ?? "").join("");
  }
  return { text, tokens };
}

async function wrongKey() {
  try {
    await client.withOptions({ apiKey: "zima-not-a-key", maxRetries: 0 }).chat.completions.create(question());
  } catch (error) {
    if (error instanceof OpenAI.AuthenticationError) return { status: error.status, code: error.code };
    throw error;
  }
  return null;
}

const models = (await client.models.list()).data.map((model) => model.id);
console.log(
  JSON.stringify({
    sdk: VERSION,
    node: process.versions.node,
    models,
    complete: await complete(),
    stream: await stream(),
    usage: await streamWithUsage(),
    wrong_key: await wrongKey(),
  }),
);
