"""A simulated Kubernetes cluster: an API server that clients and kubectl can talk to.

server      start and stop it, kubeconfig files, tokens, faults, pod logs
api         HTTP: paths, authentication, errors; `verbs` what each does; `subresources` scale, eviction, …
store       versioned objects with watch; knows nothing of Kubernetes but metadata
defaults, validation, admission, patches, strategic, selectors, tables, discovery: one concern each
controllers, kubelet: what makes objects move; they are clients like any other

The conformance tests ask the same of this server and of a real one.
"""
