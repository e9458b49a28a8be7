#!/usr/bin/env bash
# Show the gate's report as one note on the merge request, updated at each push. Needs GITLAB_TOKEN (scope api).
# Does not change the verdict: if posting fails, it warns and ends with 0.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"

failed() {
  echo "warning: $1; the report is in the artifacts of this job" >&2
  exit 0
}

[ -n "${CI_MERGE_REQUEST_IID:-}" ] || exit 0
[ -n "${GITLAB_TOKEN:-}" ] || failed "no GITLAB_TOKEN"
# the target project, also for merge requests from forks
notes="$CI_API_V4_URL/projects/${CI_MERGE_REQUEST_PROJECT_ID:-$CI_PROJECT_ID}/merge_requests/$CI_MERGE_REQUEST_IID/notes"

api() { # the token is passed by a file descriptor, so that it is not in the list of processes
  curl --silent --show-error --fail --config <(printf 'header = "PRIVATE-TOKEN: %s"\n' "$GITLAB_TOKEN") "$@"
}

# Print the id of the first own note with the marker on a page, or `more` if there may be another page.
pick_note() {
  python3 -c '
import json, sys
marker, me, page = sys.argv[1], json.loads(sys.argv[2])["id"], json.load(sys.stdin)
own = [note["id"] for note in page if note["author"]["id"] == me and note["body"].startswith(marker)]
print(own[0] if own else "more" if len(page) == 100 else "")
' "$marker" "$1"
}

known_note() {
  local me page=1 found=more
  me=$(api "$CI_API_V4_URL/user") || return 1
  while [ "$found" = more ]; do
    found=$(api "$notes?per_page=100&page=$page&order_by=created_at&sort=asc" | pick_note "$me") || return 1
    page=$((page + 1))
  done
  echo "$found"
}

post() {
  local body=$1 known
  known=$(known_note) || return 1
  if [ -n "$known" ]; then
    api --request PUT --data-urlencode "body@$body" "$notes/$known"
  else
    api --request POST --data-urlencode "body@$body" "$notes"
  fi
}

body=$(mktemp)
trap 'rm -f "$body"' EXIT
write_comment "${OUT:-gate}/gate.md" "$body" "${CI_COMMIT_SHA:-}" "${CI_JOB_URL:-}" || failed "no comment could be written"
post "$body" >/dev/null || failed "the gate's report could not be posted"
