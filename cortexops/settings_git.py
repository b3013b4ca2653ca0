"""Settings of the repositories that GitOps controllers read."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from cortexops.settings_section import Section


class RepositorySettings(Section):
    """One repository, and which objects are in it."""

    url: str = Field(description="https:// or ssh:// address, or the absolute path of a repository")
    clusters: list[str] = Field(
        default_factory=list, description="clusters whose objects are in it; empty: all"
    )
    namespaces: list[str] = Field(
        default_factory=list, description="namespaces whose objects are in it; empty: all"
    )
    apps: list[str] = Field(
        default_factory=list,
        description="Argo CD applications or Flux names whose objects are in it; empty: all",
    )
    branch: str = Field("main", description="branch that pull requests are made against")
    path: str = Field(
        "**/*.y*ml",
        description="files to look in, as a pattern; {cluster}, {namespace}, {kind}, {name} and {app} are filled in",
    )
    provider: Literal["github", "gitlab", "gitea", "none"] = Field(
        "none", description="who takes pull requests: github, gitlab, gitea, or none (the branch only)"
    )
    api_url: str = Field("", description="the provider's API; empty: that of its public service")
    project: str = Field("", description="owner/name at the provider")
    token: SecretStr | None = Field(None, description="token that may push branches and open pull requests")


class GitSettings(Section):
    """Pull requests for objects that a GitOps controller owns."""

    repositories: list[RepositorySettings] = Field(
        default_factory=list, description="the first one that an object fits is the one it is in"
    )
    author: str = Field("CortexOps", description="author of the commits")
    email: str = Field("cortexops@localhost", description="e-mail address of the author")
    timeout_seconds: float = Field(20, description="of one git command or API call", gt=0, le=120)
