// OpenAI's SDK on the Responses API: an application that comes back with the number of the last event it saw.
import OpenAI from "openai";
import { serve } from "./ways.mjs";

const TRIES = 60;
const pause = () => new Promise((resolve) => setTimeout(resolve, 20));

class Items {
  items = new Map();
  number = null;
  status = null;
  error = null;
  whole = null;

  take(event) {
    if (this.number !== null && event.sequence_number <= this.number) throw new RangeError("a number that does not rise");
    this.number = event.sequence_number;
    if (event.type === "response.in_progress") this.items.clear();
    else if (event.type === "response.output_item.added")
      this.items.set(event.output_index, { type: event.item.type, name: event.item.name ?? "", said: "" });
    else if (event.type.endsWith(".delta")) this.items.get(event.output_index).said += event.delta;
    else if (["response.completed", "response.incomplete", "response.failed"].includes(event.type)) {
      this.status = event.response.status;
      this.whole = event.response.output.map(told);
      this.error = event.response.error?.code ?? (this.status === "cancelled" ? "cancelled" : null);
    }
  }

  result(notes = {}) {
    const items = [...this.items].sort(([one], [other]) => one - other).map(([, item]) => item);
    const said = (type) => items.filter((item) => item.type === type).map((item) => item.said).join("");
    return {
      text: said("message"),
      reasoning: said("reasoning"),
      calls: items.filter((item) => item.type === "function_call").map(({ name, said }) => ({ name, arguments: said })),
      finish: this.status,
      error: this.error,
      notes: { whole: JSON.stringify(this.whole) === JSON.stringify(items) ? "same" : "other", ...notes },
    };
  }
}

function told(item) {
  if (item.type === "function_call") return { type: item.type, name: item.name, said: item.arguments };
  const parts = item.type === "reasoning" ? item.summary : item.content;
  return { type: item.type, name: "", said: parts.map((part) => part.text).join("") };
}

serve(async (asked) => {
  const items = new Items();
  const client = new OpenAI({ baseURL: `${asked.url}/v1`, apiKey: "unused", maxRetries: 0 });
  let id = asked.stream ? `resp_${asked.stream}` : null;
  for (let tries = 0; tries < TRIES && items.status === null; tries++) {
    try {
      let stream;
      if (id === null) {
        const body = { model: asked.model, input: asked.question, stream: true, ...asked.options };
        const { data, response } = await client.responses.create(body).withResponse();
        id = `resp_${response.headers.get("x-tailrace-stream")}`;
        stream = data;
      } else {
        const after = items.number === null ? {} : { starting_after: items.number };
        stream = await client.responses.retrieve(id, { stream: true, ...after });
      }
      for await (const event of stream) items.take(event);
    } catch (error) {
      if (error instanceof RangeError) throw error;
      if (error instanceof OpenAI.APIError && !(error instanceof OpenAI.APIConnectionError)) {
        items.error = error.code ?? error.error?.code ?? error.name;
        return items.result();
      }
      await pause();
    }
  }
  if (asked.until !== "end") return items.result();
  let rest = 0;
  for await (const _ of await client.responses.retrieve(id, { stream: true, starting_after: items.number })) rest++;
  return items.result({ rest, polled: (await client.responses.retrieve(id)).status });
});
