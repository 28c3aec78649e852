#!/bin/sh
# Imports the bridge's credential and the two workflows into a new n8n, once: what is changed in n8n later stays.
set -eu
import=${N8N_IMPORT_DIR:-/n8n-import}
mark=${N8N_IMPORT_MARK:-/home/node/.n8n/bridge-imported}

[ ! -e "$mark" ] || { echo "imported before"; exit 0; }

# n8n's commands answer 0 also when they failed: what they said counts.
run() {
  wanted=$1
  shift
  said=$(n8n "$@" 2>&1) || { echo "$said"; exit 1; }
  echo "$said"
  if ! echo "$said" | grep -Eq "$wanted"; then
    echo "error: n8n could not $1"
    exit 1
  fi
}

run 'Successfully imported [1-9]' import:credentials --separate "--input=$import/credentials"
run 'Successfully imported [1-9]' import:workflow --separate "--input=$import/workflows"
for file in "$import"/workflows/*.json; do
  # A workflow's file is named by its id.
  run '^Publishing workflow' publish:workflow "--id=$(basename "$file" .json)"
done
touch "$mark"
