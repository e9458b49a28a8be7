#!/usr/bin/env bash
# Judge the exports of a run against the baselines in service, and leave what a pipeline shows:
#   $OUT/gate.json  the document     $OUT/gate.md  for a pull request     $OUT/gate.xml  JUnit
# Arguments go to `decompose gate`. The exit code is the gate's: 0 PASS, 1 FAIL, 3 INCONCLUSIVE, other an error.
set -euo pipefail

store=${BASELINES:-baselines}
out=${OUT:-gate}
mkdir -p "$out"
rm -f "$out"/gate.json "$out"/gate.md "$out"/gate.xml

options=(--json --junit "$out/gate.xml" --markdown "$out/gate.md")
if [ -f "$store/baselines.json" ]; then
  options+=(--baseline "$store")
else
  echo "no $store/baselines.json yet: judged against the foundation of the run" >&2
fi
if [ "${GITHUB_ACTIONS:-}" = true ]; then
  options+=(--annotations)
fi

code=0
decompose gate "${options[@]}" "$@" >"$out/.gate.json" || code=$?
case $code in
  0 | 1 | 3) mv "$out/.gate.json" "$out/gate.json" ;;
  *)
    # the comment of an earlier commit must not go on saying PASS
    rm -f "$out/.gate.json" "$out/gate.xml"
    # shellcheck disable=SC2016  # Markdown, not a command
    printf '### Gate: NOT JUDGED\n\n`decompose gate` ended with exit code %s; the log of the job says why.\n' "$code" >"$out/gate.md"
    echo "decompose gate ended with exit code $code: nothing was judged" >&2
    ;;
esac
exit "$code"
