# Shared by the scripts beside it; sourced, never run.
# shellcheck shell=bash

marker='<!-- lorkit gate -->'

# Write a comment: the marker by which the next one replaces it, the report, and what was judged. A job that ended before
# the gate left no report, and the comment of an earlier commit must not go on saying PASS.
#   write_comment REPORT COMMENT COMMIT JOB_ADDRESS
write_comment() {
  python3 - "$marker" "$@" <<'PYTHON'
import pathlib, sys
marker, report, comment, commit, job = sys.argv[1:]
room = 60_000  # a comment on GitHub may have 65,536 characters
text = "### Gate: NOT JUDGED\n\nThe job ended before the gate did; its log says why.\n"
if pathlib.Path(report).is_file():
    text = pathlib.Path(report).read_text(encoding="utf-8")
if len(text) > room:
    text = text[:room].rpartition("\n")[0] or text[:room]
    folded = text.count("<details") - text.count("</details>")
    text += "\n\n</details>" * folded + "\n\nShortened: the whole report is an artifact of the job.\n"
pathlib.Path(comment).write_text(f"{marker}\n{text}\nCommit {commit}, [job]({job})\n", encoding="utf-8")
PYTHON
}

# The digests of the baselines in service, one a line; nothing where there are none yet.
current_digests() {
  [ -f "$1/baselines.json" ] || return 0
  python3 - "$1/baselines.json" <<'PYTHON'
import json, re, sys
try:
    digests = set(json.load(open(sys.argv[1], encoding="utf-8"))["current"].values())
except (ValueError, KeyError, TypeError, AttributeError):
    digests = {None}
for digest in digests:
    if not re.fullmatch("[0-9a-f]{64}", str(digest)):
        sys.exit(f"{sys.argv[1]} holds no baselines; required: sha256 digests; restore it from version control")
print("\n".join(sorted(digests)))
PYTHON
}

# Is this directory the export of that digest? The digest is that of its manifest, which lists those of its files.
is_baseline() {
  [ -f "$1/manifest.json" ] && [ "$(sha256sum <"$1/manifest.json")" = "$2  -" ]
}

# Unpack an export into the store under its digest, or leave nothing.
#   unpack_baseline ARCHIVE STORE DIGEST
unpack_baseline() {
  local place=$2/exports/$3 staging
  staging=$(mktemp -d "$place.XXXXXX") || return 1
  if tar --no-same-owner --no-same-permissions -xzf "$1" -C "$staging" &&
    [ -z "$(find "$staging" ! -type f ! -type d)" ] && is_baseline "$staging" "$3"; then
    rm -rf "$place" && mv -T "$staging" "$place" && return 0
  fi
  rm -rf "$staging"
  return 1
}
