"""Registries: which images can be pulled, and what the runtime says about those that cannot."""

from __future__ import annotations

from fnmatch import fnmatchcase

from cortexops.domain.resource import Frozen


class Images(Frozen):
    """Patterns of image references that are missing, or that need credentials nobody gave."""

    missing: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()

    def refusal(self, image: str) -> str:
        """The container runtime's error for a pull, or nothing when it works."""
        full = full_reference(image)
        host, _, path = full.partition("/")
        prefix = f'failed to pull and unpack image "{full}": failed to resolve reference "{full}": '
        if any(fnmatchcase(image, pattern) for pattern in self.missing):
            return f"rpc error: code = NotFound desc = {prefix}{full}: not found"
        if any(fnmatchcase(image, pattern) for pattern in self.denied):
            scope = f"repository%3A{path.partition(':')[0]}%3Apull"
            return (
                f"rpc error: code = Unknown desc = {prefix}failed to authorize: "
                "failed to fetch anonymous token: "
                f"unexpected status from GET request to https://{host}/token?scope={scope}: 401 Unauthorized"
            )
        return ""


def full_reference(image: str) -> str:
    """The reference with registry and tag spelled out."""
    first = image.partition("/")[0]
    if "/" not in image:
        image = f"docker.io/library/{image}"
    elif "." not in first and ":" not in first and first != "localhost":
        image = f"docker.io/{image}"
    return image if ":" in image.rpartition("/")[2] or "@" in image else f"{image}:latest"
