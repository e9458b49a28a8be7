#!/usr/bin/env bash
# Install lorkit from one file with a known digest, never from its name: a package index may serve another project by it.
#   LORKIT_URL     address of a wheel, https:// or file://, such as an asset of a release or a package of your registry
#   LORKIT_SHA256  digest of that wheel, as sha256sum prints it
# pip checks the digest before it installs. Exit code 2 if one of them is not set, 6 if pip fails.
set -euo pipefail

url=${LORKIT_URL:-} digest=${LORKIT_SHA256:-}
case $url in
  https://*.whl | file:///*.whl) ;;
  *)
    echo "LORKIT_URL is '$url'; required: the https:// or file:// address of a wheel of lorkit; set it in the pipeline" >&2
    exit 2
    ;;
esac
if ! [[ $digest =~ ^[0-9a-f]{64}$ ]]; then
  echo "LORKIT_SHA256 is '$digest'; required: 64 hexadecimal digits; set it to what sha256sum prints of the wheel" >&2
  exit 2
fi
if ! python -m pip install "$@" "lorkit @ $url#sha256=$digest"; then
  echo "lorkit was not installed; required: a readable file with that digest; see the lines of pip above" >&2
  exit 6 # 1 would mean FAIL
fi
