// A page as the AI SDK's documentation has it: `useChat`, a transport, and what the message has so far.
import { useChat } from "@ai-sdk/react";
import { DefaultChatTransport } from "ai";
import { useEffect, useRef } from "react";
import { createRoot } from "react-dom/client";
import { result, transportOf } from "./ai_sdk_ways.mjs";

const LOOK = `
  body { font: 16px/1.5 system-ui, sans-serif; margin: 0; background: #f4f4f1; color: #1d1d1b }
  main { max-width: 44rem; margin: 0 auto; padding: 1.5rem }
  header { display: flex; justify-content: space-between; border-bottom: 1px solid #d5d5cf; padding-bottom: .5rem }
  b[data-status=streaming] { color: #0a6b2d } b[data-status=error] { color: #b3261e }
  article { margin: 1rem 0; padding: .75rem 1rem; border-radius: .75rem; white-space: pre-wrap; overflow-wrap: anywhere }
  article.user { background: #e4e8f5 } article.assistant { background: #fff }
  [data-part=reasoning] { color: #77776f; font-style: italic } [data-part=call] { font: .85rem monospace }`;

function Part({ part }) {
  if (part.type === "text") return <p data-part="text">{part.text}</p>;
  if (part.type === "reasoning") return <p data-part="reasoning">{part.text}</p>;
  return part.type.startsWith("tool-") ? <p data-part="call">{part.type}</p> : null;
}

function App({ asked, transport, onReady }) {
  const ended = useRef({});
  const onFinish = ({ finishReason }) => (ended.current.finish = finishReason ?? null);
  const chat = useChat({ id: asked.stream ?? asked.id, transport, resume: true, onFinish });
  const latest = useRef(chat);
  latest.current = chat;
  useEffect(() => void onReady(latest, ended.current), []);
  return (
    <main>
      <header>
        <span>useChat · {asked.with?.transport ?? "default"}</span>
        <b data-status={chat.status}>{chat.status}</b>
      </header>
      {chat.messages.map((message) => (
        <article key={message.id} className={message.role}>
          {message.parts.map((part, number) => <Part key={number} part={part} />)}
        </article>
      ))}
      {chat.error && <p role="alert">{chat.error.message}</p>}
    </main>
  );
}

export async function mount(asked) {
  const transport = await transportOf(asked, { DefaultChatTransport });
  document.head.appendChild(document.createElement("style")).textContent = LOOK;
  const root = createRoot(document.getElementById("root"));
  const [latest, ended] = await new Promise((resolve) =>
    root.render(<App asked={asked} transport={transport} onReady={(...all) => resolve(all)} />),
  );
  const { model, options, question } = asked;
  const sent = asked.stream ? null : latest.current.sendMessage({ text: question }, { body: { model, ...options } });
  return { sent, state: () => result({ ...latest.current, ended }) };
}
