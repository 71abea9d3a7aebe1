// A WebSocket remembers nothing, so that whoever comes back names the last event that it has. That of a browser, or ws.
import { Message } from "./message.mjs";

const PASSING = [1005, 1006, 1012, 1013];
const TRIES = 60;

export function reading(WebSocket) {
  return async ({ url, stream, until }) => {
    const message = new Message();
    let cursor;
    const read = () => new Promise((resolve) => {
      const address = `${url}/v1/streams/${stream}/ws`.replace("http:", "ws:");
      const socket = new WebSocket(cursor ? `${address}?after=${cursor}` : address);
      socket.onmessage = ({ data }) => {
        message.take(data);
        cursor = JSON.parse(data).event_id ?? cursor;
      };
      socket.onerror = () => {};
      socket.onclose = ({ code }) => resolve(code);
    });
    let code;
    for (let tries = 0; tries < TRIES; tries++) {
      code = await read();
      if (!PASSING.includes(code)) break;
    }
    if (until === "end") code = await read();
    return message.result({ closed: code });
  };
}
