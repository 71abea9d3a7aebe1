// eventsource: a plain EventSource, as the README has it. It comes back by itself.
import { EventSource } from "eventsource";
import { Message, serve } from "./ways.mjs";

serve(({ url, stream, until }) => new Promise((resolve) => {
  const message = new Message();
  const source = new EventSource(`${url}/v1/streams/${stream}/events`);
  const end = (notes) => {
    source.close();
    resolve(message.result(notes));
  };
  source.onmessage = ({ data }) => {
    if (message.take(data) && until !== "end") end();
  };
  source.onerror = ({ code }) => {
    if (source.readyState === EventSource.CLOSED) end({ stopped: code });
  };
}));
