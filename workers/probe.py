"""`python -m workers.probe`: exit 0 when this container's process says that it is well.

CORTEXOPS_PROBE_URL is the URL on loopback; the bearer token is that of the worker's diagnostics.
"""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request

_DEFAULT = "http://127.0.0.1:9464/debug/healthz"


def main() -> int:
    """0 well, 1 not."""
    url = os.environ.get("CORTEXOPS_PROBE_URL", _DEFAULT)
    if not url.startswith("http://127.0.0.1:"):
        sys.stderr.write("CORTEXOPS_PROBE_URL must be on 127.0.0.1\n")
        return 1
    token = os.environ.get("CORTEXOPS_WORKER__METRICS_TOKEN", "")
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=4) as answer:  # noqa: S310
            return 0 if answer.status == 200 else 1
    except (urllib.error.URLError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
