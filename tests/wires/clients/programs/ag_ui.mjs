// AG-UI's HttpAgent. It has no cursor: whoever is cut off runs the same run again, and is told all of it.
import { HttpAgent } from "@ag-ui/client";
import { serve } from "./ways.mjs";

const TRIES = 60;
// A cut also rejects a promise that nobody has.
process.on("unhandledRejection", () => {});

serve(async ({ url, question, model, options }) => {
  const asked = { runId: crypto.randomUUID(), forwardedProps: { model, ...options } };
  const threadId = crypto.randomUUID();
  const initialMessages = [{ id: "question", role: "user", content: question }];
  for (let tries = 1; tries <= TRIES; tries++) {
    const agent = new HttpAgent({ url: `${url}/v1/ag-ui`, threadId, initialMessages: structuredClone(initialMessages) });
    let finish = null;
    let error = null;
    const heard = {
      onRunFinishedEvent: ({ event }) => void (finish = event.outcome?.type ?? null),
      onRunErrorEvent: ({ event }) => void (error = event.code),
    };
    try {
      await agent.runAgent(asked, heard);
    } catch (raised) {
      error ??= raised.name;
    }
    if (finish !== null || (error !== null && !["TypeError", "Error", "AGUIError"].includes(error))) {
      return result(agent.messages, finish, error, tries);
    }
  }
  return { error: "never ended" };
});

function result(messages, finish, error, tries) {
  const said = (role) => messages.filter((message) => message.role === role).map(({ content }) => content ?? "").join("");
  const calls = messages.flatMap((message) => message.toolCalls ?? []);
  return {
    text: said("assistant"),
    reasoning: said("reasoning"),
    calls: calls.map(({ function: { name, arguments: given } }) => ({ name, arguments: given })),
    finish,
    error,
    notes: { question: messages[0].id, tries },
  };
}
