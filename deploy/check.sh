#!/usr/bin/env bash
# Checks what is in this folder: manifests against Kubernetes' schemas, the chart by Helm, the Dockerfile, the units.
#
# Needs Python 3.10 and a network the first time. NCCLTAP=PATH names a built command, whose options the manifests are
# then held against; default: target/release/nccltap, if it is there. NCCLTAP_BLESS=1 writes kubernetes/collector.yaml.
set -euo pipefail
cd "$(dirname "$0")"
tools=${CARGO_TARGET_DIR:-../target}/deploy-tools
mkdir -p "$(dirname "$tools")"
if ! cmp -s tests/requirements.txt "$tools/requirements.txt"; then
    rm -rf "$tools"
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: -r tests/requirements.txt
    cp tests/requirements.txt "$tools/requirements.txt"
fi
tools=$(realpath "$tools")
PATH=$tools/bin:$PATH exec "$tools/bin/python" -B -m unittest discover --verbose -s tests -t tests
