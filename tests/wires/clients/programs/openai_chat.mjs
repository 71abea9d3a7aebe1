// OpenAI's SDK on chat completions. It has no way to come back; ours is to read the stream again from its beginning.
import OpenAI from "openai";
import { ChatCompletionStream } from "openai/lib/ChatCompletionStream";
import { serve } from "./ways.mjs";

const TRIES = 60;

serve(async (asked) => {
  const client = new OpenAI({ baseURL: `${asked.url}/v1`, apiKey: "none" });
  let id = asked.stream;
  let readsAgain = asked.until === "end";
  for (let tries = 0; tries < TRIES; tries++) {
    let runner;
    let reasoning = "";
    try {
      let chunks;
      if (id) chunks = await client.get(`/streams/${id}/events`, { query: { wire: "openai" }, stream: true });
      else {
        const { data, response } = await client.chat.completions.create(question(asked)).withResponse();
        id = response.headers.get("x-tailrace-stream");
        chunks = data;
      }
      runner = ChatCompletionStream.fromReadableStream(chunks.toReadableStream());
      // Its snapshot keeps only the last piece of a field that it does not know.
      runner.on("chunk", (chunk) => (reasoning += chunk.choices[0]?.delta?.reasoning_content ?? ""));
      const completion = await runner.finalChatCompletion();
      if (!readsAgain) return said(completion, reasoning);
      readsAgain = false;
    } catch (error) {
      if (error instanceof OpenAI.APIError && !(error instanceof OpenAI.APIConnectionError)) {
        return { ...said(runner?.currentChatCompletionSnapshot, reasoning), error: error.code ?? error.name };
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
      asked.last = error;
    }
  }
  return { error: "no end", notes: { last: `${asked.last?.name}: ${asked.last?.message}` } };
});

function question({ model, question, options }) {
  return { model, messages: [{ role: "user", content: question }], stream: true, ...options };
}

function said(completion, reasoning) {
  const choice = completion?.choices?.[0];
  const calls = (choice?.message?.tool_calls ?? []).map((call) => call.function);
  return {
    text: choice?.message?.content ?? "",
    reasoning,
    calls: calls.map(({ name, arguments: given }) => ({ name, arguments: given })),
    finish: choice?.finish_reason ?? null,
    error: null,
    notes: {},
  };
}
