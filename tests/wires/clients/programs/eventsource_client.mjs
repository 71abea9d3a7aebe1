// eventsource-client: comes back by itself, and ends when it is told to with a 204.
import { createEventSource } from "eventsource-client";
import { Message, serve } from "./ways.mjs";

serve(({ url, stream, until }) => new Promise((resolve) => {
  const message = new Message();
  const source = createEventSource({
    url: `${url}/v1/streams/${stream}/events`,
    onMessage: ({ data }) => {
      if (message.take(data) && until !== "end") end();
    },
    // It is told first, and closed then.
    onDisconnect: () => queueMicrotask(() => {
      if (source.readyState === "closed") end({ stopped: true });
    }),
  });
  const end = (notes) => {
    source.close();
    resolve(message.result(notes));
  };
}));
