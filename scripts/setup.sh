#!/usr/bin/env bash
# Brings a fresh clone on Debian 12 to the point where margay runs: Debian packages, npm packages, build.
# usage: scripts/setup.sh [--no-build] [SECTION ...]     sections of debian-packages.txt; none: no Debian packages
# Says what it installs, installs only what is missing, and can be run any number of times.
set -euo pipefail
cd "$(dirname "$0")/.."

build=yes
sections=()
for argument in "$@"; do
  case $argument in
    --no-build) build=no ;;
    -*) echo "setup: unknown option $argument" >&2; exit 2 ;;
    *) sections+=("$argument") ;;
  esac
done

fail() { echo "setup: $*" >&2; exit 1; }

require_machine() {
  [ "$(uname -sm)" = "Linux x86_64" ] || fail "margay needs Linux on x86-64, this is $(uname -sm)"
  command -v node >/dev/null || fail "margay needs Node >= 20.19: no node in PATH"
  node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' ||
    fail "margay needs Node >= 20.19, this is $(node --version)"
  command -v npm >/dev/null || fail "no npm in PATH: it comes with Node"
}

# Package names of the sections given as arguments, one a line.
packages_of() {
  awk -v wanted=" $* " '
    { sub(/#.*/, "") }
    /^\[/ { gsub(/[][ \t]/, ""); on = index(wanted, " " $0 " "); next }
    on && NF { print $1 }
  ' scripts/debian-packages.txt | sort -u
}

is_installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# Sets `root` to the words that make a command run as root: none, or sudo where it needs no password or can ask for one.
become_root() {
  root=()
  [ "$(id -u)" != 0 ] || return 0
  command -v sudo >/dev/null || fail "not root and no sudo; run as root: apt-get install $*"
  if [ -t 0 ]; then sudo -v; else sudo -n true 2>/dev/null; fi || fail "sudo refused; run as root: apt-get install $*"
  root=(sudo)
}

install_debian_packages() {
  local missing=() package log
  for package in $(packages_of "${sections[@]}"); do
    is_installed "$package" || missing+=("$package")
  done
  if [ ${#missing[@]} = 0 ]; then
    echo "setup: Debian packages (${sections[*]}): all there"
    return
  fi
  command -v apt-get >/dev/null || fail "no apt-get here; install the equivalents of: ${missing[*]}"
  echo "setup: installing: Debian packages ${missing[*]}"
  become_root "${missing[@]}"
  log=$(mktemp)
  # A lock held by another apt is waited for; stdin is closed so that nothing can ask.
  if ! {
    "${root[@]}" apt-get -o DPkg::Lock::Timeout=180 -qq update &&
      "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get -o DPkg::Lock::Timeout=180 -qq -y --no-install-recommends install "${missing[@]}"
  } </dev/null >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    fail "apt-get could not install: ${missing[*]}"
  fi
  rm -f "$log"
}

# No install scripts: every npm package margay uses ships prebuilt. Not `npm ci`: it refuses a lock file made at a registry that
# lacks some other platforms' binaries; this installs the locked versions all the same, and the second look makes sure of it.
install_npm_packages() {
  if node scripts/lib/npm-current.mjs; then
    echo "setup: npm packages: as in package-lock.json"
    return
  fi
  echo "setup: installing: npm packages of package-lock.json into node_modules/"
  npm install --no-save --ignore-scripts --no-audit --no-fund --no-update-notifier --silent </dev/null ||
    fail "npm could not install; try: npm install --no-save --ignore-scripts"
  node scripts/lib/npm-current.mjs || fail "node_modules is not what package-lock.json says; remove node_modules and try again"
}

require_machine
[ ${#sections[@]} = 0 ] || install_debian_packages
install_npm_packages
if [ "$build" = yes ]; then
  echo "setup: building dist/"
  npm run --silent build
fi
