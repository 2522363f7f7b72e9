"""Answers to the challenges with which a registry asks who we are (RFC 7235; Bearer as in the distribution's docs)."""

from __future__ import annotations

__all__ = ["Authorization"]

import re
from typing import TYPE_CHECKING, Final

from ensemble.artifacts.credentials import Credentials, credentials
from ensemble.model.errors import ArtifactError

if TYPE_CHECKING:
    import httpx2

_PARAMETER: Final = re.compile(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')

CLIENT: Final = "ensemble"
"""What we call ourselves at a token service."""


class Authorization:
    """The headers that let requests through, one for each scope; they are asked for when a registry wants them."""

    def __init__(self, host: str, client: httpx2.Client) -> None:
        self._host, self._client = host, client
        self._known: dict[str, str] = {}
        self._credentials: Credentials | None = None

    def header(self, scope: str) -> dict[str, str]:
        """What goes with a request of this scope, as far as it is known."""
        value = self._known.get(scope) or self._known.get("")
        return {"Authorization": value} if value else {}

    def answer(self, challenges: list[str], scope: str) -> bool:
        """Take up a challenge; whether there is now something to try. Raises `ArtifactError` and `InputError`."""
        before = self.header(scope)
        found = {kind.lower(): rest for kind, _, rest in (text.strip().partition(" ") for text in challenges)}
        if self._credentials is None:
            self._credentials = credentials(self._host)
        if "bearer" in found:
            words = {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(found["bearer"])}
            self._known[scope] = f"Bearer {self._token(words, scope)}"
        elif "basic" in found and self._credentials:
            self._known[""] = self._credentials.basic
        return self.header(scope) != before

    def _token(self, words: dict[str, str], scope: str) -> str:
        """A token from the service that the challenge names."""
        known = self._credentials or Credentials()
        realm = words.get("realm", "")
        if self._client.base_url.scheme == "https" and not realm.startswith("https://"):
            raise ArtifactError(f"{self._host} sends us for a token to {realm!r}, which is not encrypted")
        asked = {"service": words.get("service", ""), "scope": words.get("scope", scope)}
        if known.token:
            form = {**asked, "grant_type": "refresh_token", "refresh_token": known.token, "client_id": CLIENT}
            answer = self._client.post(realm, data=form)
        else:
            headers = {"Authorization": known.basic} if known else {}
            answer = self._client.get(realm, params={**asked, "client_id": CLIENT}, headers=headers)
        if not answer.is_success:
            who = known.user or "nobody in particular"
            raise ArtifactError(f"the token service {realm} of {self._host} refuses {who} ({answer.status_code})")
        try:
            body = answer.json()
            return str(body.get("token") or body["access_token"])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ArtifactError(f"the token service {realm} of {self._host} gives no token") from None
