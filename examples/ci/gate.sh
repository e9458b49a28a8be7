#!/usr/bin/env bash
# Judge the exports of a run against the current baselines, and write the files for a pipeline:
#   $OUT/gate.json  the document     $OUT/gate.md  for a pull request     $OUT/gate.xml  JUnit
# Arguments are passed to `decompose gate`. Exit codes: 0 PASS, 1 FAIL, 3 INCONCLUSIVE, other: not judged.
set -euo pipefail

store=${BASELINES:-baselines}
out=${OUT:-gate}
if ! mkdir -p "$out" || ! rm -f "$out"/gate.{json,md,xml}; then
  echo "$out cannot be written; required: a directory for the verdict; set OUT" >&2
  exit 6 # 1 would mean FAIL
fi

options=(--json --junit "$out/gate.xml" --markdown "$out/gate.md")
if [ -f "$store/baselines.json" ]; then
  options+=(--baseline "$store")
else
  echo "no $store/baselines.json: comparing with the foundation of the run" >&2
fi
if [ "${GITHUB_ACTIONS:-}" = true ]; then
  options+=(--annotations)
fi

code=0
decompose gate "${options[@]}" "$@" >"$out/.gate.json" || code=$?
case $code in
  0 | 1 | 3)
    if [ -s "$out/.gate.json" ] && [ -s "$out/gate.md" ] && [ -s "$out/gate.xml" ]; then
      mv "$out/.gate.json" "$out/gate.json"
      exit "$code"
    fi
    echo "decompose gate ended with exit code $code without a verdict; check the installation" >&2
    code=70 # an interpreter that cannot start ends with 1, too
    ;;
esac

rm -f "$out/.gate.json"
said="decompose gate ended with exit code $code; see the log of the job"
printf '### Gate: NOT JUDGED\n\n%s.\n' "$said" >"$out/gate.md"
printf '<testsuites tests="1" errors="1"><testsuite name="gate" tests="1" errors="1">%s%s</testsuite></testsuites>\n' \
  '<testcase classname="gate" name="verdict">' "<error message=\"$said\" /></testcase>" >"$out/gate.xml"
echo "not judged: decompose gate ended with exit code $code" >&2
exit "$code"
