# shellcheck shell=bash
# Programs that come by pip, each with what it needs in an environment of its own. Versions and checksums are in a
# requirements.txt; pip checks the checksums that stand there.

# python_home NAME REQUIREMENTS: where its environment is, or will be: other requirements are another place
python_home() { echo "$cache/$1/$(sha256sum "$2" | cut -c1-12)"; }

# python_install NAME REQUIREMENTS
python_install() {
  local name=$1 requirements=$2 home log=$cache/$1-install.log
  home=$(python_home "$name" "$requirements")
  [ -f "$home/.complete" ] && return 0
  has python3 || die "python3 is not installed: it runs $name" "Run ./scripts/test, or: apt-get install python3-venv"
  mkdir -p "$cache"
  (
    exec 9>"$cache/.$name-install.lock"
    flock 9
    [ -f "$home/.complete" ] && exit 0
    rm -rf -- "$home"
    mkdir -p "$home"
    say "installing $name with pip"
    { python3 -m venv "$home" && "$home/bin/pip" install --quiet --disable-pip-version-check -r "$requirements"; } \
      >"$log" 2>&1 </dev/null || {
      show_log "$log"
      die "pip could not install $name" "Check the network and pip's settings (proxy, index), then run this again"
    }
    touch "$home/.complete"
  )
}

python_is_ready() { has python3 && python3 -c 'import ensurepip, venv' 2>/dev/null; }

# What asks the API all it can think of.
openapi_check_install() { python_install openapi-check "$repo/scripts/openapi-check/requirements.txt"; }
openapi_check_python() { echo "$(python_home openapi-check "$repo/scripts/openapi-check/requirements.txt")/bin/python"; }

# What the examples of docs/examples need.
examples_install() { python_install examples "$repo/docs/examples/requirements.txt"; }
examples_python() { echo "$(python_home examples "$repo/docs/examples/requirements.txt")/bin/python"; }
