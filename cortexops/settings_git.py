"""Settings of the repositories that GitOps controllers read."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from cortexops.settings_section import Section


class ValuesSettings(Section):
    """Where the values of a Helm chart set the fields of one object that it renders."""

    kind: str = Field("Deployment", description="kind of the object")
    name: str = Field("{app}", description="its name; {app} is the release")
    file: str = Field(
        description="the values file, or the manifest of the Flux HelmRelease that has them inline; placeholders as "
        "in `path`"
    )
    fields: dict[str, str] = Field(
        description="field of the object → place in the values, such as `spec.replicas: replicaCount`; what lies "
        "below a field lies below its place; `…image:tag` is the tag of an image"
    )


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
        description="Argo CD applications, Flux names or Helm releases whose objects are in it; empty: all",
    )
    branch: str = Field("main", description="branch that pull requests are made against")
    path: str = Field(
        "**/*.y*ml",
        description="files to look in, as a pattern; {cluster}, {namespace}, {kind}, {name} and {app} are filled in",
    )
    values: list[ValuesSettings] = Field(
        default_factory=list,
        description="of objects that a Helm chart renders: where its values are, and which of them set what",
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
