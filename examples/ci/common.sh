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
try:
    digests = sorted({str(digest) for digest in json.load(open(sys.argv[1], encoding="utf-8"))["current"].values()})
except (ValueError, LookupError, TypeError, AttributeError):
    sys.exit(f"{sys.argv[1]} is no record of baselines; required: what decompose wrote; restore it from version control")
for digest in digests:
    if not re.fullmatch("[0-9a-f]{64}", digest):
        sys.exit(f"{sys.argv[1]} names a baseline {digest!r}; required: a sha256; restore it from version control")
    print(digest)
PYTHON
}

# Unpack an export into the store under its digest, if it is that export: what is not would stay there and be in the way.
# The manifest has the digest, and names those of the other files, which `decompose gate` checks.
unpack_baseline() {
  local archive=$1 place=$2 staging
  staging=$(mktemp -d "$place.XXXXXX") || return 1
  if tar --no-same-owner --no-same-permissions -xzf "$archive" -C "$staging" &&
    [ -z "$(find "$staging" ! -type f ! -type d)" ] &&
    echo "${place##*/}  $staging/manifest.json" | sha256sum --check --status &&
    mv -T "$staging" "$place"; then
    return 0
  fi
  rm -rf "$staging"
  return 1
}

# What a comment says where the job ended before the gate: that of an earlier commit must not go on saying PASS.
not_judged() {
  printf '### Gate: NOT JUDGED\n\nThe job ended before the gate; its log says why.\n' >"$1"
}
