// The AI SDK's provider for whatever speaks OpenAI's chat completions.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { streamText } from "ai";
import { serve } from "./ways.mjs";

serve(async ({ url, model, question, options }) => {
  const provider = createOpenAICompatible({ name: "tailrace", baseURL: `${url}/v1`, apiKey: "none" });
  const result = { text: "", reasoning: "", calls: [], finish: null, error: null, notes: {} };
  const inputs = new Map();
  const answer = streamText({
    model: provider(model),
    prompt: question,
    providerOptions: { tailrace: options },
    onError() {},
  });
  try {
    for await (const part of answer.fullStream) {
      if (part.type === "text-delta") result.text += part.text;
      if (part.type === "reasoning-delta") result.reasoning += part.text;
      if (part.type === "tool-input-start") {
        inputs.set(part.id, { name: part.toolName, arguments: "" });
        result.calls.push(inputs.get(part.id));
      }
      if (part.type === "tool-input-delta") inputs.get(part.id).arguments += part.delta;
      if (part.type === "finish") result.finish = part.rawFinishReason ?? part.finishReason;
      if (part.type === "error") result.error = codeOf(part.error);
    }
  } catch (error) {
    result.error = codeOf(error);
  }
  return result;
});

function codeOf(error) {
  return error?.code ?? error?.error?.code ?? error?.data?.error?.code ?? error?.name ?? String(error);
}
