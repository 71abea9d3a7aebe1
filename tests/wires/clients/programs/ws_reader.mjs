// ws, the WebSocket of Node before it had one.
import WebSocket from "ws";
import { reading } from "./socket.mjs";
import { serve } from "./ways.mjs";

serve(reading(WebSocket));
