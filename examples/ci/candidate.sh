#!/usr/bin/env bash
# Yours to replace: leave a run whose exports are to be judged. A run that was trained elsewhere may be copied to runs/.
set -euo pipefail
decompose train
decompose extract --region all
decompose export --target onnx
