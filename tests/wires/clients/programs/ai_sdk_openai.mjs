// @ai-sdk/openai with its default call, the Responses API. It has no cursor: what was cut off is asked for anew by the app.
import { createOpenAI } from "@ai-sdk/openai";
import { jsonSchema, streamText, tool } from "ai";
import { serve } from "./ways.mjs";

serve(async (asked) => {
  const openai = createOpenAI({
    baseURL: `${asked.url}/v1`,
    apiKey: "unused",
    fetch: (url, init) => fetch(url, { ...init, body: JSON.stringify({ ...JSON.parse(init.body), ...asked.options }) }),
  });
  const search = tool({ inputSchema: jsonSchema({ type: "object", additionalProperties: true }) });
  const heard = { text: "", reasoning: "", calls: [], finish: null, error: null, notes: { parts: [] } };
  const inputs = new Map();
  const result = streamText({
    model: openai(asked.model),
    prompt: asked.question,
    tools: { search },
    maxRetries: 0,
    onError: () => {},
  });
  try {
    for await (const part of result.fullStream) {
      if (part.type === "text-delta") heard.text += part.text;
      if (part.type === "reasoning-delta") heard.reasoning += part.text;
      if (part.type === "tool-input-start") inputs.set(part.id, { name: part.toolName, arguments: "" });
      if (part.type === "tool-input-delta") inputs.get(part.id).arguments += part.delta;
      if (part.type === "finish") heard.finish = part.finishReason;
      if (part.type === "error") heard.error ??= nameOf(part.error);
      if (["reasoning-end", "text-start", "text-end", "tool-call"].includes(part.type)) heard.notes.parts.push(part.type);
    }
  } catch (error) {
    heard.error ??= nameOf(error);
  }
  if (heard.error) heard.finish = "error";
  heard.calls = [...inputs.values()];
  heard.notes.parts = heard.notes.parts.join(" ");
  return heard;
});

// Within 50 ms of the first event an error is thrown, later it is a part.
function nameOf(error) {
  const data = error?.data ?? error;
  return data?.response?.error?.code ?? data?.error?.code ?? data?.code ?? error?.name ?? String(error).slice(0, 80);
}
