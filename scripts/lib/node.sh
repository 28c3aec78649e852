# shellcheck shell=bash
# Programs that come by npm: node itself, the OAuth 2 issuer, n8n. Versions and checksums are in scripts/NAME/package-lock.json.

node_version=24.21.0

# Where the packages of scripts/NAME are, or will be: another lock file is another place.
npm_home() { echo "$cache/$1/$(sha256sum "$repo/scripts/$1/package-lock.json" | cut -c1-12)"; }

npm_is_installed() { [ -f "$(npm_home "$1")/.complete" ]; }

# npm_install NAME [COMMAND...]: the command finishes the job, inside the new directory. Install scripts do not run.
npm_install() {
  local name=$1 home log=$cache/$1-install.log
  shift
  npm_is_installed "$name" && return 0
  has npm || die "npm is not installed: it fetches $name" "Run ./scripts/up --n8n or ./scripts/test, or: apt-get install npm"
  home=$(npm_home "$name")
  mkdir -p "$cache"
  (
    exec 9>"$cache/.$name-install.lock"
    flock 9
    npm_is_installed "$name" && exit 0
    mkdir -p "$home"
    cp "$repo/scripts/$name"/package{,-lock}.json "$home/"
    cd "$home"
    say "installing $name with npm"
    { npm ci --ignore-scripts --no-audit --no-fund && { [ $# -eq 0 ] || "$@"; }; } >"$log" 2>&1 </dev/null || {
      show_log "$log"
      die "npm could not install $name" "Check the network and npm's settings (proxy, registry), then run this again"
    }
    touch "$home/.complete"
  )
}

node_major() { "$1" --version 2>/dev/null | sed -n 's/^v\([0-9]*\).*/\1/p'; }

# node_at_least MAJOR: prints a node; the machine's own where it is recent enough
node_at_least() {
  local major=0 own kind
  own=$(command -v node || true)
  [ -z "$own" ] || major=$(node_major "$own")
  if [ "${major:-0}" -ge "$1" ]; then echo "$own"; return 0; fi
  npm_install node >&2 || return 1
  case $(uname -m) in x86_64) kind=x64 ;; aarch64) kind=arm64 ;; *) die "no node $node_version for $(uname -m) comes by npm" "Install node $1 or later" ;; esac
  echo "$(npm_home node)/node_modules/node-linux-$kind/bin/node"
}
