// Anthropic's SDK: the helper that puts a message together. It cannot resume: what it has is what it was told.
import Anthropic from "@anthropic-ai/sdk";
import { serve } from "./ways.mjs";

serve(async ({ url, question, model, options }) => {
  const client = new Anthropic({ baseURL: url, apiKey: "none", maxRetries: 0 });
  const stream = client.messages.stream({
    model,
    max_tokens: 4096,
    messages: [{ role: "user", content: question }],
    ...options,
  });
  let message = null;
  let given = "";
  let error = null;
  stream.on("streamEvent", (event, snapshot) => {
    message = structuredClone(snapshot);
    if (event.delta?.type === "input_json_delta") given += event.delta.partial_json;
  });
  try {
    message = await stream.finalMessage();
  } catch (raised) {
    error = raised.error?.error?.code ?? raised.error?.code ?? raised.constructor.name;
  }
  const blocks = message?.content ?? [];
  const joined = (type, member) => blocks.filter((block) => block.type === type).map((block) => block[member]).join("");
  const calls = blocks.filter((block) => block.type === "tool_use");
  const finish = message?.stop_reason ?? null;
  const isSame = finish && JSON.stringify(calls.map(({ input }) => input)) === JSON.stringify([JSON.parse(given)]);
  return {
    text: joined("text", "text"),
    reasoning: joined("thinking", "thinking"),
    calls: calls.map(({ name }) => ({ name, arguments: given })),
    finish,
    error,
    notes: { inputs: isSame ? "same" : "other" },
  };
});
