"""Chunks of an answer, and its end, as each dialect has them: what a paced provider sends."""

from dataclasses import dataclass
from typing import Final

__all__ = ("SPOKEN", "Spoken")


@dataclass(frozen=True, slots=True)
class Spoken:
    """`chunk` has a place for its text; `end` is all that follows the last one."""

    chunk: bytes
    end: bytes
    media_type: bytes = b"text/event-stream"


SPOKEN: Final = {
    "openai": Spoken(
        b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1760000000,"model":"bench",'
        b'"choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}\n\n',
        b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1760000000,"model":"bench",'
        b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
    ),
    "anthropic": Spoken(
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":"%b"}}\n\n',
        b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}\n\n'
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    ),
    "gemini": Spoken(
        b'data: {"candidates": [{"content": {"parts": [{"text": "%b"}],"role": "model"},"index": 0}],'
        b'"usageMetadata": {"promptTokenCount": 10,"candidatesTokenCount": 5,"totalTokenCount": 15,'
        b'"promptTokensDetails": [{"modality": "TEXT","tokenCount": 10}]},"modelVersion": "bench"}\n\n',
        b'data: {"candidates": [{"content": {"parts": [{"text": ""}]},"finishReason": "STOP"}]}\n\n',
    ),
    "ollama": Spoken(
        b'{"model":"bench","created_at":"2026-01-01T00:00:00.000000Z",'
        b'"message":{"role":"assistant","content":"%b"},"done":false}\n',
        b'{"model":"bench","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop"}\n',
        b"application/x-ndjson",
    ),
    "responses": Spoken(
        b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":7,'
        b'"item_id":"msg_bench","output_index":0,"content_index":0,"delta":"%b","logprobs":[]}\n\n',
        b'event: response.completed\ndata: {"type":"response.completed","response":{"status":"completed"}}\n\n',
    ),
}
