// The AI SDK, whose loop runs until there is no call left.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { serve } from "../ways.mjs";

const add = tool({
  description: "The sum of two numbers.",
  inputSchema: z.object({ a: z.number(), b: z.number() }),
  execute: async ({ a, b }) => String(a + b),
});

function modelOf({ url, model, api }) {
  const baseURL = `${url}/v1`;
  if (api === "responses") return createOpenAI({ baseURL, apiKey: "none" })(model);
  return createOpenAICompatible({ name: "tailrace", baseURL, apiKey: "none" })(model);
}

serve(async (asked) => {
  const options = { model: modelOf(asked), prompt: asked.question, tools: { add }, stopWhen: stepCountIs(4) };
  const result = asked.streams ? streamText(options) : await generateText(options);
  const steps = await result.steps;
  const calls = steps.flatMap((step) => step.toolCalls);
  return { text: await result.text, calls: calls.map(({ toolName, input }) => ({ name: toolName, arguments: input })) };
});
