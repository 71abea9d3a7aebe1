"""The one table of what a provider's refusal means: whose fault it is, and so who may be asked next. Pure.

Words decide first, because they are exact; then what the message says, because many providers answer everything with
400 `invalid_request_error`; then the status; then words that say little.
"""

import re
from collections.abc import Mapping
from typing import Final

from services.worker.providers.complaint import Complaint
from shared.errors import (
    ProviderAuth,
    ProviderError,
    ProviderFailed,
    ProviderModelMissing,
    ProviderMoved,
    ProviderPolicy,
    ProviderQuota,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTooLong,
    ProviderUnsupported,
)

__all__ = ("kind_of",)

_Kind = type[ProviderError]


def _table(*rows: tuple[_Kind, str]) -> Mapping[str, _Kind]:
    return {word: kind for kind, words in rows for word in words.split()}


# Codes, types, statuses and reasons, in lower case.
_BY_WORD: Final = _table(
    (
        ProviderAuth,
        "invalid_api_key api_key_invalid invalid_authentication_error incorrect_api_key_error unauthenticated",
    ),
    (ProviderAuth, "authentication_error unauthorized access_denied permission_error permission_denied"),
    (ProviderAuth, "account_deactivated token_expired unsupported_country_region_territory"),
    (ProviderQuota, "insufficient_quota billing_error billing_not_active billing_hard_limit_reached quota_per_day"),
    (ProviderQuota, "insufficient_balance insufficient_credits insufficient_funds credit_balance_too_low"),
    (ProviderQuota, "exceeded_current_quota_error payment_required arrearage"),
    (ProviderModelMissing, "model_not_found deploymentnotfound not_found_error not_found unknown_model"),
    (ProviderModelMissing, "model_not_available model_decommissioned invalid_model model_not_supported"),
    (ProviderTooLong, "context_length_exceeded exceed_context_size_error too_many_prompt_tokens"),
    (ProviderTooLong, "context_window_exceeded model_context_window_exceeded tokens_limit_reached"),
    (ProviderUnsupported, "unsupported_parameter unsupported_value unknown_parameter extra_forbidden"),
    (ProviderPolicy, "content_filter content_policy_violation responsibleaipolicyviolation content_moderation"),
    (ProviderPolicy, "data_inspection_failed invalid_prompt bio_policy cyber_policy refusal prompt_blocked"),
    # The model erred, not the caller: the same request may go well the next time.
    (ProviderFailed, "tool_use_failed json_validate_failed output_parse_failed malformed_function_call"),
    (ProviderFailed, "overloaded_error engine_overloaded_error api_error server_error internal_error timeout_error"),
    (ProviderFailed, "conflict_error unavailable internal deadline_exceeded aborted model_loading"),
    (ProviderRateLimited, "rate_limit_exceeded rate_limit_error rate_limit_reached_error too_many_requests"),
    (ProviderRateLimited, "tokens requests resource_exhausted throttling throttlingexception"),
)
_BY_VAGUE_WORD: Final = _table(
    (ProviderRejected, "invalid_request_error badrequesterror bad_request invalid_argument validation_error")
)
_BY_STATUS: Final[Mapping[int, _Kind]] = {
    400: ProviderRejected,
    401: ProviderAuth,
    402: ProviderQuota,
    403: ProviderAuth,
    404: ProviderModelMissing,
    405: ProviderMoved,
    407: ProviderAuth,
    410: ProviderModelMissing,
    413: ProviderRejected,
    422: ProviderRejected,
    429: ProviderRateLimited,
    451: ProviderPolicy,
    501: ProviderUnsupported,
}
_MONEY: Final = re.compile(
    r"usage limits?\b|credit balance|insufficient (?:balance|credit|fund|quota)|out of credits|spend(?:ing)? limit"
    r"|billing (?:hard )?limit|\bper[ -]day\b|\bdaily\b"
)
_BY_MESSAGE: Final[tuple[tuple[re.Pattern[str], _Kind], ...]] = (
    (re.compile(r"api key not valid|(?:incorrect|invalid|missing) api[ _-]?key|no api[ _-]?key"), ProviderAuth),
    (_MONEY, ProviderQuota),
    (
        re.compile(
            r"(?:maximum|max|available) context|context (?:length|window|size)|prompt is too long|input is too long"
            r"|too many (?:input |prompt )?tokens|token count .{0,40}exceeds|reduce the length of"
        ),
        ProviderTooLong,
    ),
    (
        re.compile(r"moderation|\bflagged\b|guardrail|content (?:management )?policy|safety (?:system|polic)"),
        ProviderPolicy,
    ),
    (
        re.compile(
            r"\bmodel\b.{0,80}\b(?:does not exist|not found|not available|decommissioned|no longer|is not supported)\b"
            r"|not a valid model|\b(?:no such|unknown|invalid) model\b"
        ),
        ProviderModelMissing,
    ),
    (
        re.compile(
            r"\b(?:unsupported|unknown|unrecognized|unrecognised|unexpected)\b.{0,20}"
            r"\b(?:param|parameter|argument|field|value|option|name|key|keyword)"
            r"|extra inputs are not permitted|additional properties|(?:does|do) not support"
            r"|\b(?:is|are) (?:un|not )supported"
        ),
        ProviderUnsupported,
    ),
)
# Where a message may say more than the status. Elsewhere it only quotes.
_TALKATIVE: Final = frozenset({None, 400, 403, 413, 422})
_CLIENT_ERRORS: Final = range(400, 500)


def kind_of(status: int | None, complaint: Complaint) -> type[ProviderError]:
    """The class of a failure. `status` is that of the response, or `None` for an error inside of a good one."""
    number = status or complaint.number
    if number == 402:
        return ProviderQuota
    if number is not None and 300 <= number < 400:
        return ProviderMoved
    kind = _by_word(complaint, _BY_WORD) or _by_message(number, complaint.message) or _by_number(number)
    if kind is None:
        kind = _by_word(complaint, _BY_VAGUE_WORD) or ProviderFailed
    return _refined(kind, number, complaint)


def _by_word(complaint: Complaint, table: Mapping[str, _Kind]) -> _Kind | None:
    return next(filter(None, (table.get(word) for word in complaint.words)), None)


def _by_message(number: int | None, message: str) -> _Kind | None:
    if number not in _TALKATIVE:
        return None
    said = message.lower()
    return next((kind for pattern, kind in _BY_MESSAGE if pattern.search(said)), None)


def _by_number(number: int | None) -> _Kind | None:
    if number is None:
        return None
    return _BY_STATUS.get(number, ProviderFailed)


def _refined(kind: _Kind, number: int | None, complaint: Complaint) -> _Kind:
    """A limit may be one of money, or one that this request can never keep."""
    if kind is not ProviderRateLimited:
        return kind
    if number == 413:
        return ProviderTooLong
    # Google says "exceeded your current quota" of a minute's quota, too; then it says when to come again.
    is_spent = "exceeded your current quota" in complaint.message.lower() and complaint.retry_after_s is None
    return ProviderQuota if is_spent or _MONEY.search(complaint.message.lower()) else kind
