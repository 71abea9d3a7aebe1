// @microsoft/fetch-event-source with the handler of its README, which parses whatever it is given. Not written for
// Node: it looks for the page it is on.
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
globalThis.window = globalThis;
const { fetchEventSource } = await import("@microsoft/fetch-event-source");
import { Message, serve } from "./ways.mjs";

serve(async ({ url, stream, until }) => {
  const message = new Message();
  const over = new AbortController();
  const notes = {};
  let tries = 0;
  await fetchEventSource(`${url}/v1/streams/${stream}/events`, {
    signal: over.signal,
    onmessage: (event) => {
      if (message.take(event.data) && until !== "end") over.abort();
    },
    onclose: () => {
      notes.closed = true;
    },
    onerror: (error) => {
      if (++tries > 60) throw error;
    },
  });
  return message.result(notes);
});
