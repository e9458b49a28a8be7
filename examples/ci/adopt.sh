#!/usr/bin/env bash
# On the default branch: judge the exports of a run and, on PASS, make them the baselines. Who replaced what stands in
# baselines.json, which is committed; the exports are stored by digest first, so the record never names what is not there.
# Arguments go to `decompose gate`; --because TEXT adopts in spite of a verdict.
set -euo pipefail
here=$(dirname "$0")
store=${BASELINES:-baselines}

# before a minute of measuring: what would else fail after it
if [ -z "${GIT_BRANCH:-}" ] || ! git rev-parse --is-inside-work-tree >/dev/null; then
  echo "adopt.sh: required: a git repository that git trusts, and GIT_BRANCH, the branch that the record is committed to" >&2
  exit 2
fi

code=0
"$here/gate.sh" --update-baseline "$store" "$@" || code=$?
case $code in 0 | 1 | 3) ;; *) exit "$code" ;; esac
if [ ! -f "$store/baselines.json" ]; then
  echo "the baselines stay"
  exit "$code"
fi
changed=$(git status --porcelain -- "$store/baselines.json") || exit 6
if [ -z "$changed" ]; then
  echo "the baselines stay"
  exit "$code"
fi

publish() {
  "$here/baselines.sh" push &&
    git add -- "$store/baselines.json" &&
    git -c user.name="${GIT_NAME:-gate}" -c user.email="${GIT_EMAIL:-gate@localhost}" \
      commit -q -m "Replace baselines after the gate [skip ci]" -- "$store/baselines.json" &&
    git push "${GIT_REMOTE:-origin}" "HEAD:$GIT_BRANCH"
}

if ! publish; then # 1 and 3 are verdicts, and this is none
  echo "the gate has judged, but the new baselines could not be stored and recorded: they are not in service" >&2
  exit 6
fi
exit "$code"
