"""Answers that a client may keep and ask about: entity tags and ``If-None-Match`` (RFC 9110)."""

import hashlib
import re

from starlette.datastructures import Headers
from starlette.responses import Response

ENTITY_TAG = re.compile(r'(?:W/)?("[^"]*")')


def entity_tag(*facts: object) -> str:
    """A strong tag of everything that an answer is made of."""
    return f'"{hashlib.blake2b(repr(facts).encode(), digest_size=16).hexdigest()}"'


def kept(tag: str) -> dict[str, str]:
    """Headers of an answer that its asker may keep, if it asks again before every use."""
    return {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Accept, Authorization"}


def is_known(headers: Headers, tag: str) -> bool:
    """Whether the client has this answer: ``If-None-Match`` names its tag, or any."""
    named = ", ".join(headers.getlist("if-none-match"))
    return named.strip() == "*" or tag in ENTITY_TAG.findall(named)


def not_modified(tag: str) -> Response:
    """304."""
    return Response(status_code=304, headers=kept(tag))
