// A browser's own WebSocket.
import { reading } from "./socket.mjs";

export const run = reading(globalThis.WebSocket);
