// The AI SDK's `Chat`, which is `useChat` without React. Who is cut off resumes, as the page does when it is looked at.
import { Chat } from "@ai-sdk/react";
import { DefaultChatTransport } from "ai";
import { serve } from "./ways.mjs";
import { result, transportOf } from "./ai_sdk_ways.mjs";

serve(async (asked) => {
  const chat = await chatOf(asked);
  const { model, options, question } = asked;
  if (asked.stream) await chat.resumeStream();
  else await chat.sendMessage({ text: question }, { body: { model, ...options } });
  for (let tries = 0; tries < 40 && isCut(chat.error); tries++) await chat.resumeStream();
  return result(chat);
});

async function chatOf(asked) {
  const ended = {};
  const transport = await transportOf(asked, { DefaultChatTransport });
  const chat = new Chat({
    id: asked.stream ?? crypto.randomUUID(),
    transport,
    onFinish: ({ finishReason }) => (ended.finish = finishReason ?? null),
  });
  return Object.assign(chat, { ended });
}

// Node calls it "terminated"; browsers have other words, which `ai_sdk_page.jsx` is about.
function isCut(error) {
  return error instanceof TypeError || /Failed to reconnect/.test(error?.message);
}
