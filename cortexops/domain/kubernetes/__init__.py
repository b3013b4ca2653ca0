"""Reading Kubernetes objects as the API server sends them: pure, and content with whatever is missing.

Every reader here takes plain JSON that may lack any field, or hold another type than the documentation
says, and answers with an empty value instead of raising: an investigation works with what there is.
"""

from __future__ import annotations
