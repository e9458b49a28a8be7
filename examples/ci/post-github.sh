#!/usr/bin/env bash
# Show the gate's report in the job's summary and as one comment on the pull request, renewed at each push.
# Never changes a verdict: where posting fails (a pull request from a fork has no right to), it warns and ends with 0.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
report=${OUT:-gate}/gate.md
if [ ! -f "$report" ]; then
  echo "::warning::no $report: the gate has not run"
  report=$work/report.md
  not_judged "$report"
fi
[ -z "${GITHUB_STEP_SUMMARY:-}" ] || cat "$report" >>"$GITHUB_STEP_SUMMARY"
if ! [[ ${GITHUB_REF:-} =~ ^refs/pull/([0-9]+)/ ]]; then
  exit 0
fi
number=${BASH_REMATCH[1]}

post() {
  local body=$1 comments="repos/$GITHUB_REPOSITORY/issues/$number/comments" known
  known=$(gh api --paginate "$comments" \
    --jq ".[] | select(.user.login == \"github-actions[bot]\" and (.body | startswith(\"$marker\"))) | .id") || return 1
  known=${known%%$'\n'*}
  if [ -n "$known" ]; then
    gh api --method PATCH "repos/$GITHUB_REPOSITORY/issues/comments/$known" -F "body=@$body"
  else
    gh api --method POST "$comments" -F "body=@$body"
  fi
}

body=$work/body.md
write_comment "$report" "$body"
post "$body" >/dev/null || echo "::warning::the gate's report could not be posted; it stands in the summary of this job"
