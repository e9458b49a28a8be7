#!/usr/bin/env bash
# Show the gate's report as one note on the merge request, renewed at each push. Needs GITLAB_TOKEN (scope api).
# Never changes a verdict: where posting fails, it warns and ends with 0.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
report=${OUT:-gate}/gate.md
if [ ! -f "$report" ]; then
  echo "warning: no $report: the gate has not run" >&2
  report=$work/report.md
  not_judged "$report"
fi
[ -n "${CI_MERGE_REQUEST_IID:-}" ] || exit 0
if [ -z "${GITLAB_TOKEN:-}" ]; then
  echo "warning: no GITLAB_TOKEN: the report stands in the artifacts of this job" >&2
  exit 0
fi
notes="$CI_API_V4_URL/projects/$CI_PROJECT_ID/merge_requests/$CI_MERGE_REQUEST_IID/notes"

api() { # the token goes through a file descriptor, not through the list of processes
  curl --silent --show-error --fail --config <(printf 'header = "PRIVATE-TOKEN: %s"\n' "$GITLAB_TOKEN") "$@"
}

known_note() { # the first own note of the newest hundred that begins with the marker
  python3 -c '
import json, sys
marker = sys.argv[1]
print(next((note["id"] for note in json.load(sys.stdin) if note["body"].startswith(marker)), ""))
' "$marker"
}

post() {
  local body=$1 known
  known=$(api "$notes?per_page=100&order_by=created_at&sort=asc" | known_note) || return 1
  if [ -n "$known" ]; then
    api --request PUT --data-urlencode "body@$body" "$notes/$known"
  else
    api --request POST --data-urlencode "body@$body" "$notes"
  fi
}

body=$work/body.md
write_comment "$report" "$body"
post "$body" >/dev/null || echo "warning: the gate's report could not be posted; it stands in the artifacts of this job" >&2
