"""Pull requests at GitHub, GitLab and Gitea, by their HTTP APIs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx

from cortexops.domain.errors import Conflict, Forbidden, NotFound, Rejected, TemporaryError
from cortexops.ports.forge import Fate

_PUBLIC = {"github": "https://api.github.com", "gitlab": "https://gitlab.com", "gitea": "https://gitea.com"}


class Request(NamedTuple):
    """One pull request as its provider knows it."""

    number: int
    url: str
    fate: Fate
    commit: str


class Provider:
    """A provider of the GitHub shape, which Gitea shares but for details; GitLab has its own below."""

    def __init__(
        self, kind: str, project: str, token: str, api_url: str = "", timeout_seconds: float = 20
    ) -> None:
        self._kind, self._project, self._token = kind, project, token
        self._base = (api_url or _PUBLIC[kind]).rstrip("/")
        self._timeout = timeout_seconds

    async def find(self, branch: str, base: str) -> Request | None:
        """The newest pull request of the branch, whatever became of it."""
        if self._kind == "gitlab":
            query = {"source_branch": branch, "target_branch": base, "state": "all"}
        else:
            owner = self._project.partition("/")[0]
            query = {"state": "all", "base": base} | (
                {"head": f"{owner}:{branch}", "per_page": "100"}
                if self._kind == "github"
                else {"limit": "50"}
            )
        answer = await self._send("GET", self._requests, query=query)
        found = [self._read(one) for one in answer if self._branch_of(one) == branch]
        return max(found, key=lambda one: one.number, default=None)

    async def open(self, branch: str, base: str, title: str, body: str) -> Request:
        if self._kind == "gitlab":
            sent = {"source_branch": branch, "target_branch": base, "title": title, "description": body}
        else:
            sent = {"head": branch, "base": base, "title": title, "body": body}
        return self._read(await self._send("POST", self._requests, json=sent))

    async def close(self, number: int) -> None:
        if self._kind == "gitlab":
            await self._send("PUT", f"{self._requests}/{number}", json={"state_event": "close"})
        else:
            await self._send("PATCH", f"{self._requests}/{number}", json={"state": "closed"})

    @property
    def _requests(self) -> str:
        if self._kind == "gitlab":
            return f"/api/v4/projects/{quote(self._project, safe='')}/merge_requests"
        prefix = "/api/v1" if self._kind == "gitea" else ""
        return f"{prefix}/repos/{quote(self._project, safe='/')}/pulls"

    def _branch_of(self, one: dict[str, Any]) -> str:
        if self._kind == "gitlab":
            return str(one.get("source_branch") or "")
        head = one.get("head") or {}
        return str(head.get("ref") or "")

    def _read(self, one: Any) -> Request:
        if not isinstance(one, dict):
            raise Rejected(f"{self._kind} answered something else than a pull request")
        if self._kind == "gitlab":
            state = {"merged": Fate.MERGED, "closed": Fate.CLOSED}.get(str(one.get("state")), Fate.OPEN)
            return Request(
                int(one.get("iid") or 0), str(one.get("web_url") or ""), state, str(one.get("sha") or "")
            )
        merged = bool(one.get("merged_at") or one.get("merged"))
        state = Fate.MERGED if merged else Fate.CLOSED if one.get("state") == "closed" else Fate.OPEN
        commit = str((one.get("head") or {}).get("sha") or "")
        return Request(int(one.get("number") or 0), str(one.get("html_url") or ""), state, commit)

    async def _send(
        self, method: str, path: str, *, query: dict[str, str] | None = None, json: Any = None
    ) -> Any:
        if self._kind == "gitlab":
            headers = {"PRIVATE-TOKEN": self._token}
        else:
            headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        if self._kind == "github":
            headers |= {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
        try:
            async with httpx.AsyncClient(
                base_url=self._base, headers=headers, timeout=self._timeout, follow_redirects=False
            ) as client:
                answer = await client.request(method, path, params=query, json=json)
        except httpx.HTTPError as error:
            raise TemporaryError(f"{self._kind} cannot be reached: {type(error).__name__}") from None
        return self._judged(method, answer)

    def _judged(self, method: str, answer: httpx.Response) -> Any:
        """The answer's body, or the error that it means."""
        code = answer.status_code
        said = answer.text[:300].replace(self._token, "***") if self._token else answer.text[:300]
        text = f"{self._kind}: {method} pull requests of {self._project}: {said} ({code})"
        if code < 300:
            try:
                return answer.json()
            except ValueError:
                raise TemporaryError(f"{self._kind} answered something else than JSON") from None
        if code == 429 or code >= 500 or (code == 403 and answer.headers.get("retry-after")):
            delay = answer.headers.get("retry-after", "")
            raise TemporaryError(
                text, delay=timedelta(seconds=min(int(delay), 300) if delay.isdigit() else 5)
            )
        if code in (401, 403):
            raise Forbidden(text, verb=method.lower(), resource="pull requests")
        if code == 404:
            raise NotFound(text)
        if code == 409:
            raise Conflict(text)
        raise Rejected(text)
