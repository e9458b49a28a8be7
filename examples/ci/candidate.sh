#!/usr/bin/env bash
# Replace this script: make a run with the exports to judge. A run that was trained elsewhere can be copied to runs/.
set -euo pipefail
decompose train
decompose extract --region all
decompose export --target onnx
