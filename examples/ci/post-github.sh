#!/usr/bin/env bash
# Show the gate's report in the job's summary and as one comment on the pull request, updated at each push.
# Does not change the verdict: if posting fails (pull requests from forks have no permission), it warns and ends with 0.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"

failed() {
  echo "::warning::the gate's report could not be posted; see the summary or the artifacts of this job"
  exit 0
}

post() {
  local body=$1 comments="repos/$GITHUB_REPOSITORY/issues/$2/comments" known
  known=$(gh api --paginate "$comments" \
    --jq ".[] | select(.user.login == \"github-actions[bot]\" and (.body | startswith(\"$marker\"))) | .id") || return 1
  known=${known%%$'\n'*}
  if [ -n "$known" ]; then
    gh api --method PATCH "repos/$GITHUB_REPOSITORY/issues/comments/$known" -F "body=@$body"
  else
    gh api --method POST "$comments" -F "body=@$body"
  fi
}

body=$(mktemp)
trap 'rm -f "$body"' EXIT
# GITHUB_SHA of a pull request is a temporary merge: COMMIT is the pushed commit
job="${GITHUB_SERVER_URL:-https://github.com}/${GITHUB_REPOSITORY:-}/actions/runs/${GITHUB_RUN_ID:-}"
write_comment "${OUT:-gate}/gate.md" "$body" "${COMMIT:-${GITHUB_SHA:-}}" "$job" || failed
if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then
  cat "$body" >>"$GITHUB_STEP_SUMMARY" || failed
fi
if [[ ${GITHUB_REF:-} =~ ^refs/pull/([0-9]+)/ ]]; then
  post "$body" "${BASH_REMATCH[1]}" >/dev/null || failed
fi
