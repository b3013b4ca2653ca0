#!/bin/sh
# Registers what incidents are searched by. Runs after every start and changes nothing the second time.
# TEMPORAL_ADDRESS names the frontend. Right after a first start the namespace may not exist yet: it is waited for.
set -eu
: "${TEMPORAL_ADDRESS:?}"

missing() {
  known=$(temporal operator search-attribute list --address "$TEMPORAL_ADDRESS") || return 2
  for name in CortexState CortexSeverity CortexCluster CortexNamespace CortexIncidentId; do
    case "$known" in *"$name"*) ;; *) echo "$name" ;; esac
  done
}

tries=60
while [ "$tries" -gt 0 ]; do
  tries=$((tries - 1))
  if left=$(missing); then
    if [ -z "$left" ]; then
      echo "search attributes are registered"
      exit 0
    fi
    for name in $left; do
      temporal operator search-attribute create --address "$TEMPORAL_ADDRESS" --name "$name" --type Keyword || true
    done
  fi
  sleep "${PAUSE_SECONDS:-2}"
done
echo "search attributes could not be registered" >&2
exit 1
