#!/usr/bin/env bash
# On the default branch: judge the exports of a run and, on PASS, make them the baselines. Who replaced what stands in
# baselines.json, which is committed; the exports are stored by digest first, so the record never names what is not there.
# Arguments go to `decompose gate`; --because TEXT, or BECAUSE, adopts in spite of a verdict. The exit code is the gate's,
# or 6 where what was decided could not be kept.
set -euo pipefail
here=$(dirname "$0")
store=${BASELINES:-baselines}
record=$store/baselines.json
remote=${GIT_REMOTE:-origin}
branch=${GIT_BRANCH:-}
export GIT_AUTHOR_NAME="${GIT_NAME:-gate}" GIT_AUTHOR_EMAIL="${GIT_EMAIL:-gate@localhost}"
export GIT_COMMITTER_NAME="$GIT_AUTHOR_NAME" GIT_COMMITTER_EMAIL="$GIT_AUTHOR_EMAIL"

# before a minute of measuring: what would else fail after it
if [ -z "$branch" ] || ! git rev-parse --is-inside-work-tree >/dev/null; then
  echo "adopt.sh: required: a git repository that git trusts, and GIT_BRANCH, the branch that the record is committed to" >&2
  exit 2
fi

lost() {
  echo "the gate has judged, but the new baselines are not in service: $1" >&2
  exit 6
}

code=0
"$here/gate.sh" --update-baseline "$store" ${BECAUSE:+--because "$BECAUSE"} "$@" || code=$?
case $code in 0 | 1 | 3) ;; *) exit "$code" ;; esac
if [ -f "$record" ]; then
  git add -- "$record" || lost "$record cannot be committed; is it ignored?"
fi
if git diff --cached --quiet -- "$record"; then
  echo "the baselines stay"
  exit "$code"
fi
"$here/baselines.sh" push || lost "the exports could not be stored"
git commit -q -m "Replace baselines after the gate [skip ci]" -- "$record" || lost "git refuses the commit"
for _ in 1 2 3; do
  if git push "$remote" "HEAD:$branch"; then
    exit "$code"
  fi
  # others have merged while the gate judged: the record goes on top, unless they have changed it themselves
  git fetch "$remote" "$branch" || continue
  git rebase -q --autostash FETCH_HEAD || { git rebase --abort; lost "$record was changed meanwhile; run the job again"; }
done
lost "$branch takes no push; allow this job's identity, or name another branch with GIT_BRANCH"
