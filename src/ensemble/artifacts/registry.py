"""A client of OCI registries (distribution specification 1.1): blobs, manifests and tags.

Requests are repeated while that can help: a registry that restarts or is overloaded costs time, not the push. What is
pulled is checked against its digest.
"""

from __future__ import annotations

__all__ = ["NotThere", "Refusal", "Registry"]

import json
import random
import time
from collections.abc import Iterator, Mapping
from hashlib import sha256
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self
from urllib.parse import urljoin, urlsplit

import httpx2
import msgspec

from ensemble.artifacts.authorization import Authorization
from ensemble.artifacts.manifest import INDEX, MANIFEST, Descriptor, Index, digest_of
from ensemble.model.errors import ArtifactError

CHUNK: Final = 8 << 20
"""Bytes of a blob in one request; what is lost when a connection breaks."""

MOST_MANIFEST: Final = 4 << 20
"""Bytes of a manifest; the specification lets a registry refuse larger ones."""

WAITS: Final = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each repetition of a request that failed in a way that may pass; each is varied by a half."""

LONGEST_WAIT: Final = 60.0
"""The most seconds that a registry can ask us to wait."""

_REFUSALS: Final = {
    401: "wants to know who we are: `docker login`, `podman login` or `oras login` stores credentials",
    403: "does not allow this",
    405: "does not do this",
    413: "does not take that much",
    507: "has no room left",
}
_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})
_MANIFESTS: Final = (
    MANIFEST,
    INDEX,
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)


def _on_loopback(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


class NotThere(ArtifactError):
    """The registry has no such manifest, blob or tag."""


class Registry:
    """The registry at a host. A context manager, which closes its connections.

    `plain_http`: without TLS, as for a registry on this machine, where it is the default.
    """

    def __init__(self, host: str, *, plain_http: bool = False, waits: tuple[float, ...] = WAITS) -> None:
        self.host = host
        plain = plain_http or _on_loopback(host)
        at = "registry-1.docker.io" if host == "docker.io" else host
        self._client = httpx2.Client(
            base_url=f"{'http' if plain else 'https'}://{at}", timeout=httpx2.Timeout(60.0, connect=10.0)
        )
        self._authorization = Authorization(at, self._client)
        self.waits = waits

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    # ---- manifests and tags ------------------------------------------------------------------------

    def manifest(self, repository: str, name: str) -> tuple[Descriptor, bytes]:
        """A manifest by its tag or digest, checked. Raises `NotThere`, and `ArtifactError` where it is another."""
        if ":" in name and not name.startswith("sha256:"):
            raise ArtifactError(f"{name} cannot be checked here: digests are SHA-256")
        answer = self._send("GET", repository, f"manifests/{name}", headers={"Accept": ", ".join(_MANIFESTS)})
        content = answer.content
        found = digest_of(content)
        asked = name if name.startswith("sha256:") else answer.headers.get("Docker-Content-Digest", found)
        if found != asked:
            raise ArtifactError(f"{self.host}/{repository}: the manifest {name} is damaged: {found} came for {asked}")
        kind = answer.headers.get("Content-Type", MANIFEST).partition(";")[0]
        return Descriptor(media_type=kind, digest=found, size=len(content)), content

    def push_manifest(self, repository: str, name: str, media_type: str, content: bytes) -> bool:
        """Store a manifest under a tag or its digest; whether the registry keeps track of its subject by itself."""
        if len(content) > MOST_MANIFEST:
            raise ArtifactError(f"{self.host}/{repository}: a manifest of {len(content):,} bytes is too large")
        headers = {"Content-Type": media_type}
        answer = self._send("PUT", repository, f"manifests/{name}", headers=headers, content=content)
        return "OCI-Subject" in answer.headers

    def tags(self, repository: str, after: str = "") -> Iterator[str]:
        """The tags of a repository, in any order. Those up to `after` are left out by a registry that sorts them."""
        path = "tags/list?n=1000" + (f"&last={after}" if after else "")
        while path:
            try:
                answer = self._send("GET", repository, path)
            except NotThere:
                return
            yield from answer.json().get("tags") or ()
            link = answer.links.get("next", {}).get("url", "")
            path = urljoin(str(answer.url), link) if link else ""

    def referrers(self, repository: str, digest: str) -> list[Descriptor] | None:
        """What the registry itself knows to be about a manifest; None where it keeps no track."""
        try:
            answer = self._send("GET", repository, f"referrers/{digest}")
        except NotThere:
            return None
        if answer.headers.get("Content-Type", "").partition(";")[0] != INDEX:
            return None
        return list(msgspec.json.decode(answer.content, type=Index).manifests)

    # ---- blobs -------------------------------------------------------------------------------------

    def has_blob(self, repository: str, digest: str) -> bool:
        """Whether the repository holds a blob."""
        try:
            self._send("HEAD", repository, f"blobs/{digest}")
        except NotThere:
            return False
        return True

    def push_blob(self, repository: str, blob: Descriptor, source: Path | bytes, mount: str = "") -> int:
        """Store a blob; the bytes that were sent, 0 where it was there already.

        A broken upload goes on with what the registry says it has, or from the start where it cannot say. `mount` is a
        repository of the same registry that holds the blob.
        """
        if self.has_blob(repository, blob.digest):
            return 0
        begin = f"blobs/uploads/?mount={blob.digest}&from={mount}" if mount else "blobs/uploads/"
        patience = _Patience(self)
        while True:
            answer = self._send("POST", repository, begin, also=mount)
            if answer.status_code == HTTPStatus.CREATED:
                return 0
            try:
                self._upload(repository, answer, blob, source)
            except _UploadLost as lost:
                patience.wait(lost)
            else:
                return blob.size

    def _upload(self, repository: str, begun: httpx2.Response, blob: Descriptor, source: Path | bytes) -> None:
        """Send the content and close the upload. Raises `_UploadLost` where it has to begin anew."""
        upload = _Upload(self, repository, begun)
        while upload.offset < blob.size:
            upload.send(_piece(source, upload.offset, min(CHUNK, blob.size - upload.offset)))
        upload.close(blob.digest)

    def pull_blob(self, repository: str, blob: Descriptor, target: IO[bytes]) -> None:
        """Write a blob to a file, and check it. A broken transfer goes on where it broke.

        Raises `NotThere`, and `ArtifactError` where the content is not what its digest says.
        """
        hashed, size = sha256(), 0
        patience = _Patience(self)
        while True:
            headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={size}-"} if size else {})}
            answer = self._send("GET", repository, f"blobs/{blob.digest}", headers=headers, stream=True)
            try:
                if size and answer.status_code != HTTPStatus.PARTIAL_CONTENT:
                    hashed, size = sha256(), 0
                    target.seek(0)
                    target.truncate()
                for piece in answer.iter_raw():
                    size += len(piece)
                    hashed.update(piece)
                    target.write(piece)
                    if size > blob.size:
                        break
            except httpx2.TransportError as error:
                patience.wait(error)
            else:
                break
            finally:
                answer.close()
        found = f"sha256:{hashed.hexdigest()}"
        if found != blob.digest:
            raise ArtifactError(
                f"{self.host}/{repository}: the blob {blob.digest} is damaged: "
                f"{size:,} bytes came with the digest {found}, {blob.size:,} bytes were stored"
            )

    # ---- requests ----------------------------------------------------------------------------------

    def _send(
        self, method: str, repository: str, path: str, *, also: str = "", once: bool = False, **more: Any
    ) -> httpx2.Response:
        """Make a request, again (unless `once`) while that can help; what is no success is raised.

        `path` is one below the repository, or a whole address. `also` is a second repository that is read.
        """
        scope = f"repository:{repository}:{'pull' if method in ('GET', 'HEAD') else 'pull,push'}"
        if also:
            scope += f" repository:{also}:pull"
        url = self._client.base_url.join(path if "://" in path else f"/v2/{repository}/{path}")
        patience = _Patience(self, () if once else self.waits)
        while True:
            try:
                answer = self._ask(method, url, scope, **more)
            except httpx2.HTTPError as error:
                patience.wait(error)
                continue
            if answer.is_success:
                return answer
            answer.read()
            if answer.status_code not in _PASSING:
                raise _refusal(answer, f"{self.host}/{repository}")
            patience.wait(answer)

    def _ask(
        self,
        method: str,
        url: httpx2.URL,
        scope: str,
        headers: Mapping[str, str] = {},
        stream: bool = False,
        **more: Any,
    ) -> httpx2.Response:
        """Make a request once; twice where the registry asks who we are."""
        # an upload may be sent elsewhere, where our credentials are none of anybody's business
        home = _origin(self._client.base_url)
        ours = _origin(url) == home
        follow = method in ("GET", "HEAD")
        answered = False
        while True:
            known = self._authorization.header(scope) if ours else {}
            request = self._client.build_request(method, url, headers={**headers, **known}, **more)
            answer = self._client.send(request, stream=stream, follow_redirects=follow)
            # a redirect may lead elsewhere, too; what we know may have expired
            asks_us = answer.status_code == HTTPStatus.UNAUTHORIZED and _origin(answer.url) == home
            if not ours or not asks_us or answered:
                return answer
            answer.read()
            if not self._authorization.answer(answer.headers.get_list("WWW-Authenticate"), scope):
                return answer
            answered = True


class _Patience:
    """Waits before a request is repeated, each time longer, and raises when there were enough."""

    def __init__(self, registry: Registry, waits: tuple[float, ...] | None = None) -> None:
        self._host = registry.host
        self._waits = list(registry.waits if waits is None else waits)

    def wait(self, why: httpx2.Response | Exception) -> None:
        """Wait, as long as a registry that is overloaded asks for."""
        if not self._waits:
            raise self._failure(why)
        seconds = self._waits.pop(0) * random.uniform(0.5, 1.5)
        if isinstance(why, httpx2.Response) and (told := why.headers.get("Retry-After", "")).isdigit():
            seconds = min(float(told), LONGEST_WAIT)
        time.sleep(seconds)

    def _failure(self, why: httpx2.Response | Exception) -> ArtifactError:
        if isinstance(why, ArtifactError):
            return ArtifactError(str(why))
        if isinstance(why, httpx2.Response):
            return _refusal(why, self._host)
        if isinstance(why, httpx2.ConnectError | httpx2.ConnectTimeout):
            return ArtifactError(f"the registry {self._host} cannot be reached: {why}")
        return ArtifactError(f"the registry {self._host} broke the connection: {why or type(why).__name__}")


class Refusal(ArtifactError):
    """The registry does not do this, however often it is asked."""


def _refusal(answer: httpx2.Response, what: str) -> ArtifactError:
    said, code = _said(answer), answer.status_code
    if code == HTTPStatus.NOT_FOUND:
        kind, _, name = answer.url.path.rpartition("/")
        return NotThere(f"{what} has no {kind.rpartition('/')[2].removesuffix('s')} {name}{said}")
    reason = _REFUSALS.get(code)
    if reason:
        return Refusal(f"{what} {reason}{said}")
    hint = "; its own log says why, a full disk for example" if code >= HTTPStatus.INTERNAL_SERVER_ERROR else ""
    return ArtifactError(f"{what} answers {code}{said}{hint}")


class _UploadLost(ArtifactError):
    """The registry does not know the upload any more."""


class _Upload:
    """A blob on its way. `offset`: bytes that the registry has."""

    def __init__(self, registry: Registry, repository: str, begun: httpx2.Response) -> None:
        self._registry, self._repository = registry, repository
        self._location = ""
        self._patience = _Patience(registry)
        self.offset = 0
        self._moved(begun)

    def _moved(self, answer: httpx2.Response) -> None:
        if location := answer.headers.get("Location"):
            self._location = urljoin(str(answer.url), location)

    def send(self, piece: bytes) -> None:
        """Send the next bytes; where the connection breaks, ask how many have arrived. Raises `_UploadLost`."""
        last = self.offset + len(piece) - 1
        headers = {"Content-Type": "application/octet-stream", "Content-Range": f"{self.offset}-{last}"}
        try:
            self._moved(self._send("PATCH", headers=headers, content=piece, once=True))
            self.offset = last + 1
        except Refusal:
            raise
        except ArtifactError as error:
            self._resume(error)

    def _resume(self, why: ArtifactError) -> None:
        """Ask how much has arrived. Raises `_UploadLost` where the registry cannot say."""
        before = self.offset
        try:
            answer = self._send("GET")
        except ArtifactError as error:
            raise _UploadLost(f"{why}; then {error}") from error
        self._moved(answer)
        last = answer.headers.get("Range", "").rpartition("-")[2]
        self.offset = int(last) + 1 if last.isdigit() and int(last) else 0
        if self.offset <= before:
            self._patience.wait(why)

    def close(self, digest: str) -> None:
        """Give the upload its digest: from then on it is a blob. Raises `_UploadLost`."""
        self._location += f"{'&' if '?' in self._location else '?'}digest={digest}"
        try:
            self._send("PUT", content=b"", once=True)
        except Refusal:
            raise
        except ArtifactError as error:
            # the answer may have been lost, and not the blob
            if not self._registry.has_blob(self._repository, digest):
                raise _UploadLost(str(error)) from error

    def _send(self, method: str, **more: Any) -> httpx2.Response:
        return self._registry._send(method, self._repository, self._location, **more)


def _piece(source: Path | bytes, offset: int, size: int) -> bytes:
    if isinstance(source, bytes):
        return source[offset : offset + size]
    with source.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def _said(answer: httpx2.Response) -> str:
    """What the registry says of its refusal, as the specification has it."""
    try:
        errors = json.loads(answer.content)["errors"]
        return "".join(f" ({error.get('code', '')}: {error.get('message', '')})" for error in errors[:2])
    except (ValueError, KeyError, TypeError, AttributeError, httpx2.StreamError):
        return ""
