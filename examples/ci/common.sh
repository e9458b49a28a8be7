# Sourced by the other scripts.
# shellcheck shell=bash

marker='<!-- lorkit gate -->'

# Write a comment: a marker, by which the next comment replaces it, the report, and the judged commit. A job that ended
# before the gate has no report; its comment replaces that of an earlier commit too.
#   write_comment REPORT COMMENT COMMIT JOB_ADDRESS
write_comment() {
  python3 - "$marker" "$@" <<'PYTHON'
import pathlib, sys
marker, report, comment, commit, job = sys.argv[1:]
room = 60_000  # comments on GitHub have at most 65,536 characters
text = "### Gate: NOT JUDGED\n\nThe job ended before the gate; see its log.\n"
if pathlib.Path(report).is_file():
    text = pathlib.Path(report).read_text(encoding="utf-8")
if len(text) > room:
    text = text[:room].rpartition("\n")[0] or text[:room]
    folded = text.count("<details") - text.count("</details>")
    text += "\n\n</details>" * folded + "\n\nShortened: the full report is an artifact of the job.\n"
pathlib.Path(comment).write_text(f"{marker}\n{text}\nCommit {commit}, [job]({job})\n", encoding="utf-8")
PYTHON
}

# Print the digests of the current baselines, one per line.
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
        sys.exit(f"{sys.argv[1]} has no valid baselines; required: sha256 digests; restore it from version control")
print("\n".join(sorted(digests)))
PYTHON
}

# Check that a directory is the export of a digest, which is that of its manifest with the digests of its files.
is_baseline() {
  [ -f "$1/manifest.json" ] && [ "$(sha256sum <"$1/manifest.json")" = "$2  -" ]
}

# Unpack an export into the store under its digest; leave nothing on errors.
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
