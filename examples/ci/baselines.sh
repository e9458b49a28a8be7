#!/usr/bin/env bash
# Store baseline exports outside the repository, by digest; the repository has only baselines.json.
#   baselines.sh pull   fetch the exports in baselines.json that are missing here
#   baselines.sh push   store the exports in baselines.json that are not stored yet
# Exit code 4 if a baseline is missing or has changed, 6 if one could not be stored.
# On GitHub they are assets of the release `baselines` (needs `gh`, GH_TOKEN); on GitLab packages of the project.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"

store=${BASELINES:-baselines}
release=${BASELINES_RELEASE:-baselines}
packages="${CI_API_V4_URL:-}/projects/${CI_PROJECT_ID:-}/packages/generic/lorkit-baselines"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

on_gitlab() { [ -n "${GITLAB_CI:-}" ]; }

gitlab() { # the token is passed by a file descriptor, so that it is not in the list of processes
  curl --silent --show-error --fail --config <(printf 'header = "JOB-TOKEN: %s"\n' "$CI_JOB_TOKEN") "$@"
}

download() {
  if on_gitlab; then
    gitlab --location --output "$work/$1.tar.gz" "$packages/$1/export.tar.gz"
  else
    gh release download "$release" --pattern "$1.tar.gz" --dir "$work"
  fi
}

stored() {
  if on_gitlab; then
    gitlab --head --output /dev/null "$packages/$1/export.tar.gz" 2>/dev/null
  else
    gh release view "$release" --json assets --jq '.assets[].name' 2>/dev/null |
      grep -xF "$1.tar.gz" >/dev/null # not -q: it would close the pipe to gh, which would then fail
  fi
}

upload() {
  if on_gitlab; then
    gitlab --upload-file "$work/$1.tar.gz" "$packages/$1/export.tar.gz"
  else
    gh release view "$release" >/dev/null 2>&1 ||
      gh release create "$release" --title "$release" --latest=false --notes "Baseline exports of the gate, by digest."
    gh release upload "$release" "$work/$1.tar.gz"
  fi
}

pull() {
  mkdir -p "$store/exports"
  for digest in $digests; do
    is_baseline "$store/exports/$digest" "$digest" && continue
    if ! download "$digest" || ! unpack_baseline "$work/$digest.tar.gz" "$store" "$digest"; then
      echo "baseline $digest could not be fetched; required: the export in $store/baselines.json;" \
        "restore it, or choose another with decompose gate --update-baseline $store --because TEXT" >&2
      exit 4
    fi
    echo "fetched baseline $digest"
  done
}

push() {
  for digest in $digests; do
    stored "$digest" && continue
    if ! is_baseline "$store/exports/$digest" "$digest"; then
      echo "baseline $digest is neither stored nor in $store/exports; required: this export; fetch it with pull" >&2
      exit 4
    fi
    if ! tar -C "$store/exports/$digest" -czf "$work/$digest.tar.gz" . || ! upload "$digest"; then
      echo "baseline $digest could not be stored; required: permission to write; see README.md" >&2
      exit 6
    fi
    echo "stored baseline $digest"
  done
}

digests=$(current_digests "$store") || exit 4
case ${1:-} in
  pull) pull ;;
  push) push ;;
  *)
    echo "baselines.sh ${1:-}: required: pull or push" >&2
    exit 2
    ;;
esac
