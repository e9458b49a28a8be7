#!/usr/bin/env bash
# On the default branch: judge the exports of a run and, on PASS, make them the baselines. baselines.json records who
# replaced what, and is committed. The exports are stored by digest first, so that the record never names a missing one.
# Arguments are passed to `decompose gate`; --because TEXT, or BECAUSE, replaces baselines with another verdict too.
# The exit code is that of the gate, or 6 if the new baselines could not be stored.
set -euo pipefail
here=$(dirname "$0")
store=${BASELINES:-baselines}
record=$store/baselines.json
remote=${GIT_REMOTE:-origin}
branch=${GIT_BRANCH:-}
export GIT_AUTHOR_NAME="${GIT_NAME:-gate}" GIT_AUTHOR_EMAIL="${GIT_EMAIL:-gate@localhost}"
export GIT_COMMITTER_NAME="$GIT_AUTHOR_NAME" GIT_COMMITTER_EMAIL="$GIT_AUTHOR_EMAIL"

# checked before the measurement
if [ -z "$branch" ] || ! git rev-parse --is-inside-work-tree >/dev/null; then
  echo "update-baselines.sh: required: a git repository that git trusts, and GIT_BRANCH, the branch for the record" >&2
  exit 2
fi

lost() {
  echo "the gate has run, but the baselines were not updated: $1" >&2
  exit 6
}

code=0
"$here/gate.sh" --update-baseline "$store" ${BECAUSE:+--because "$BECAUSE"} "$@" || code=$?
case $code in 0 | 1 | 3) ;; *) exit "$code" ;; esac
if [ -f "$record" ]; then
  git add -- "$record" || lost "$record cannot be committed; check .gitignore"
fi
if git diff --cached --quiet -- "$record"; then
  echo "the baselines are unchanged"
  exit "$code"
fi
"$here/baselines.sh" push || lost "the exports could not be stored"
git commit -q -m "Replace baselines after the gate [skip ci]" -- "$record" || lost "the commit failed"
for _ in 1 2 3; do
  if git push "$remote" "HEAD:$branch"; then
    exit "$code"
  fi
  # others have merged meanwhile: rebase the record on their commits, unless they changed it too
  git fetch "$remote" "$branch" || continue
  git rebase -q --autostash FETCH_HEAD || { git rebase --abort; lost "$record was changed by another commit; run the job again"; }
done
lost "the push to $branch failed; allow it for this job's identity, or name another branch with GIT_BRANCH"
