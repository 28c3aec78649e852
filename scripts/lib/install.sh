# shellcheck shell=bash
# What the bridge needs from the system, by apt. Nothing is installed that is there already.

as_root() { if is_root; then "$@"; else sudo "$@"; fi; }

java_is_recent() {
  local major
  has java || return 1
  major=$(pulsar_java_major)
  [[ $major =~ ^[0-9]+$ ]] && [ "$major" -ge 17 ]
}

# missing_packages [npm] [python] [n8n] [observe]: one line for each missing thing: package, megabytes to fetch, what for.
missing_packages() {
  local wanted=" $* "
  postgres_bin >/dev/null || echo "postgresql 70 the Postgres server, as a private cluster"
  has protoc || echo "protobuf-compiler 5 builds the Pulsar client"
  java_is_recent || echo "java 45 runs Pulsar"
  pulsar_is_fetched || has mvn || echo "maven 15 fetches the Pulsar distribution"
  has cc || echo "gcc 60 compiles and links"
  has openssl || echo "openssl 2 makes keys and tokens"
  perl_signs || echo "perl 10 signs the broker's tokens"
  has curl || echo "curl 1 asks the parts whether they are healthy"
  if [[ $wanted == *' npm '* ]]; then has npm || echo "npm 40 fetches what runs on node"; fi
  if [[ $wanted == *' python '* ]] && ! python_is_ready; then echo "python3-venv 20 runs what tests the API by its description"; fi
  if [[ $wanted == *' n8n '* ]] && ! n8n_is_installed; then
    has make && has g++ || echo "g++ 40 compiles n8n's binding to sqlite"
    has python3 || echo "python3 20 builds n8n's binding to sqlite"
  fi
  if [[ $wanted == *' observe '* ]]; then
    prometheus_is_there || apt-cache show prometheus >/dev/null 2>&1 || echo "prometheus 25 keeps the figures (unpacked in .bridge/cache)"
    [[ $wanted == *' python '* ]] || jaeger_is_built || go_of_the_machine >/dev/null || python_is_ready ||
      echo "python3-venv 20 fetches Go, which builds Jaeger"
  fi
}

# Prints what will happen before it happens.
print_plan() {
  local missing=$1 minutes=$2
  local package size purpose
  say "This sets up a private Postgres, a private Pulsar and the bridge in $repo/.bridge."
  if [ -n "$missing" ]; then
    say "It installs with apt:"
    while read -r package size purpose; do printf '  %-20s %4s MB  %s\n' "$package" "$size" "$purpose"; done <<<"$missing"
  fi
  pulsar_is_fetched || printf 'It fetches with Maven:\n  %-20s  245 MB  the broker (240 MB unpacked in .bridge/cache)\n' "Pulsar $pulsar_version"
  if n8n_wanted && ! n8n_is_installed; then printf 'It installs with npm:\n  %-20s  400 MB  n8n (2.4 GB unpacked in .bridge/cache, 3 to 5 minutes)\n' "n8n $n8n_version"; fi
  if observe_wanted && ! jaeger_is_built; then printf 'It builds with Go:\n  %-20s  300 MB  Jaeger and the collector (85 MB in .bridge/cache, 7 minutes on 2 cores)\n' "Jaeger $jaeger_version"; fi
  say "Expected time: $minutes."
  say ""
}

install_missing() {
  local missing=$1 packages=() package
  [ -n "$missing" ] || return 0
  has apt-get || die "some packages are missing and this machine has no apt-get" \
    "Install these by hand, then run this again:" "$(cut -d' ' -f1 <<<"$missing" | tr '\n' ' ')"
  while read -r package _; do
    case $package in
      java) packages+=("$(java_package)") ;;
      gcc) packages+=(gcc libc6-dev) ;;
      g++) packages+=(g++ make) ;;
      protobuf-compiler) packages+=(protobuf-compiler libprotobuf-dev) ;;
      # Unpacked by prometheus_fetch; what is missing is apt's list of packages.
      prometheus) ;;
      curl) packages+=(curl ca-certificates) ;;
      *) packages+=("$package") ;;
    esac
  done <<<"$missing"
  [ ${#packages[@]} -gt 0 ] || return 0
  case " ${packages[*]} " in *' postgresql '*) keep_apt_from_starting_a_cluster ;; esac
  apt_install "${packages[@]}"
}

install_all() { apt_update && install_missing "$1"; }

apt_update() { as_root apt-get -q -o DPkg::Lock::Timeout=300 update; }

apt_install() {
  say "installing ${*}"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
    install --no-install-recommends "$@"
}

java_package() {
  if [ -n "$(apt-cache madison openjdk-17-jre-headless 2>/dev/null)" ]; then
    echo openjdk-17-jre-headless
  else
    echo default-jre-headless
  fi
}

# Debian's package creates and starts a cluster of its own on port 5432, unless told not to.
# A machine that already has postgresql-common has its owner's choice, which stays.
keep_apt_from_starting_a_cluster() {
  local conf=/etc/postgresql-common/createcluster.conf
  [ -e "$conf" ] && return 0
  apt_install postgresql-common
  as_root sed -i -E 's/^#?create_main_cluster *=.*/create_main_cluster = false/' "$conf"
  grep -q '^create_main_cluster = false' "$conf" ||
    echo 'create_main_cluster = false' | as_root tee -a "$conf" >/dev/null
}

# Asked for at the terminal now, so that no step has to wait for a password later.
need_root_for() {
  [ -n "$1" ] || return 0
  is_root && return 0
  has sudo || die "packages are missing, and installing them needs root" "Run this as root, or install sudo"
  sudo -v || die "sudo refused" "Run this as root, or install these by hand: $(cut -d' ' -f1 <<<"$1" | tr '\n' ' ')"
}

need_cargo() {
  [ ! -f "$HOME/.cargo/env" ] || has cargo || . "$HOME/.cargo/env"
  has cargo || die "no Rust toolchain: cargo is not in the PATH" \
    "Install rustup (https://rustup.rs), open a new shell, and run this again"
}
