# Shared by the scripts beside it; sourced, never run.
# shellcheck shell=bash

marker='<!-- lorkit gate -->'

# The report, marked so that the next one replaces it, and no longer than a comment may be.
write_comment() {
  python3 - "$1" "$2" "$marker" <<'PYTHON'
import sys
report, comment, marker = sys.argv[1:]
with open(report, encoding="utf-8") as given, open(comment, "w", encoding="utf-8") as written:
    written.write(f"{marker}\n{given.read(60_000)}")
PYTHON
}

# The digests of the baselines in service, one a line; nothing where there are none yet.
current_digests() {
  [ -f "$1/baselines.json" ] || return 0
  python3 - "$1/baselines.json" <<'PYTHON'
import json, re, sys
for digest in sorted(set(json.load(open(sys.argv[1], encoding="utf-8"))["current"].values())):
    if not re.fullmatch("[0-9a-f]{64}", digest):
        sys.exit(f"{sys.argv[1]} names a baseline {digest!r}; required: a sha256; restore it from version control")
    print(digest)
PYTHON
}

# Unpack an export into the store under its digest; whether it is the right one, `decompose gate` checks by digest.
unpack_baseline() {
  local archive=$1 place=$2 staging
  staging=$(mktemp -d "$place.XXXXXX")
  if tar --no-same-owner --no-same-permissions -xzf "$archive" -C "$staging" && mv -T "$staging" "$place"; then
    return 0
  fi
  rm -rf "$staging"
  return 1
}
