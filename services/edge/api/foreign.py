"""All APIs there are that are not ours: a new one is a folder of its own and a line here."""

from typing import Final

from services.edge.api.ag_ui.routes import AG_UI_API
from services.edge.api.ai_sdk.routes import AI_SDK_API
from services.edge.api.answers.shapes import ForeignApi
from services.edge.api.anthropic.routes import ANTHROPIC_MESSAGES
from services.edge.api.openai_chat.routes import OPENAI_CHAT
from services.edge.api.openai_responses.routes import OPENAI_RESPONSES

__all__ = ("FOREIGN_APIS",)

FOREIGN_APIS: Final[tuple[ForeignApi, ...]] = (OPENAI_CHAT, OPENAI_RESPONSES, ANTHROPIC_MESSAGES, AI_SDK_API, AG_UI_API)
