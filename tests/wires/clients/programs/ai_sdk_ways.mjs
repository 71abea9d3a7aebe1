// Transports of the AI SDK, each configured as its documentation says, and what a chat has in the end.
export async function transportOf({ url, with: { transport = "default", ui } = {} }, { DefaultChatTransport }) {
  const api = ui === 6 ? `${url}/api/v6/chat` : `${url}/api/chat`;
  if (transport === "default") return new DefaultChatTransport({ api });
  const { WorkflowChatTransport } = await import("@ai-sdk/workflow/client");
  let run;
  return new WorkflowChatTransport({
    api,
    onChatSendMessage: (response) => (run = response.headers.get("x-workflow-run-id")),
    prepareReconnectToStreamRequest: ({ id }) => ({ api: `${api}/${encodeURIComponent(run ?? id)}/stream` }),
  });
}

export function result({ messages, error, ended }) {
  const last = messages.at(-1);
  const parts = last?.role === "assistant" ? last.parts : [];
  const said = (type) => parts.filter((part) => part.type === type).map((part) => part.text).join("");
  const calls = parts.filter((part) => part.type.startsWith("tool-"));
  return {
    text: said("text"),
    reasoning: said("reasoning"),
    calls: calls.map((part) => ({ name: part.type.slice(5), arguments: argumentsOf(part) })),
    finish: ended.finish ?? null,
    error: error ? error.name : null,
    notes: { message: error?.message.slice(0, 200) ?? null, messages: messages.length },
  };
}

// A part has its input parsed; the provider of these tests wrote it as Python does. Of half an input there is the text.
function argumentsOf({ state, input, rawInput }) {
  if (state !== "input-available") return rawInput ?? (typeof input === "string" ? input : "");
  const members = Object.entries(input).map((member) => member.map((each) => JSON.stringify(each)).join(": "));
  return `{${members.join(", ")}}`;
}
