// An answer on our own wires, as the README has it: one JSON object an event.
export class Message {
  parts = [];
  finish = null;
  error = null;
  notes = {};
  isOver = false;

  take(data) {
    const event = JSON.parse(data);
    if (event.type === "reset") this.parts = event.parts.map((part) => ({ ...part }));
    if (["text", "reasoning", "refusal"].includes(event.type)) this.say(event.type, event.delta);
    if (event.type === "tool_call") this.call(event);
    if (event.type === "gap") this.notes.gap = event.reason;
    if (event.type === "done") this.finish = event.finish_reason;
    if (event.type === "error") this.error = event.code;
    if (event.type === "cancelled") this.error = "cancelled";
    this.isOver ||= ["done", "error", "cancelled"].includes(event.type);
    return this.isOver;
  }

  say(type, text) {
    if (this.parts.at(-1)?.type !== type) this.parts.push({ type, text: "" });
    this.parts.at(-1).text += text;
  }

  call({ index, id, name, arguments_delta }) {
    if (id) this.parts.push({ type: "tool_call", index, id, name, arguments: "" });
    this.parts.findLast((part) => part.type === "tool_call" && part.index === index).arguments += arguments_delta;
  }

  result(more = {}) {
    const said = (type) => this.parts.filter((part) => part.type === type).map((part) => part.text).join("");
    const calls = this.parts.filter((part) => part.type === "tool_call");
    return {
      text: said("text"),
      reasoning: said("reasoning"),
      calls: calls.map(({ name, arguments: given }) => ({ name, arguments: given })),
      finish: this.finish,
      error: this.error,
      notes: { ...this.notes, ...more },
    };
  }
}
