// The client of OpenAI for JavaScript against a running fleet.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const [url, model, folder] = process.argv.slice(2);
const { default: OpenAI } = createRequire(`${folder}/`)("openai");
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0, timeout: 60_000 });
const messages = [{ role: "user", content: "kernel: EXT4-fs error on sda1. What is wrong?" }];

const listed = [];
for await (const found of client.models.list()) listed.push(found.id);
assert.ok(listed.includes(model));

// By one key it is one answer, told twice.
const once = { headers: { "Idempotency-Key": "javascript-stream" } };
const whole = await client.chat.completions.create({ model, messages, max_tokens: 8 }, once);
assert.ok(whole.choices[0].message.content && whole.usage.completion_tokens <= 8);

let text = "", usage;
const stream = await client.chat.completions.create({
  model, messages, max_tokens: 8, stream: true, stream_options: { include_usage: true },
}, once);
for await (const piece of stream) {
  text += piece.choices[0]?.delta?.content ?? "";
  usage = piece.usage ?? usage;
}
assert.equal(text, whole.choices[0].message.content);
assert.equal(usage.completion_tokens, whole.usage.completion_tokens);

const parameters = {
  type: "object", properties: { unit: { enum: ["sshd", "nginx"] } }, required: ["unit"], additionalProperties: false,
};
const called = await client.chat.completions.create({
  model, messages, max_tokens: 100, tool_choice: "required",
  tools: [{ type: "function", function: { name: "restart", parameters, strict: true } }],
});
assert.ok(["sshd", "nginx"].includes(JSON.parse(called.choices[0].message.tool_calls[0].function.arguments).unit));

const schema = { type: "object", properties: { level: { enum: ["low", "high"] } }, required: ["level"], additionalProperties: false };
const kept = await client.chat.completions.create({
  model, messages, max_tokens: 100, response_format: { type: "json_schema", json_schema: { name: "l", schema, strict: true } },
});
assert.ok(["low", "high"].includes(JSON.parse(kept.choices[0].message.content).level));

const embedded = await client.embeddings.create({ model, input: ["a", "b"] });
assert.equal(embedded.data.length, 2);
assert.ok(embedded.data[0].embedding.every(Number.isFinite));

await assert.rejects(client.chat.completions.create({ model: "nothing", messages }), OpenAI.NotFoundError);

const cut = await client.chat.completions.create({ model, messages, max_tokens: 1000, stream: true });
for await (const _ of cut) break;
cut.controller.abort();
console.log("javascript ok");
