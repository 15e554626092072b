#!/usr/bin/env bash
# Installs what deploy/test-packages.txt names and this machine lacks; nothing happens without root and apt. No service
# is set up or started: what exists of their configuration stays, and a Postfix is left without any.
set -euo pipefail

[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 0
missing=()
while read -r package; do
  dpkg-query --show --showformat='${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || missing+=("$package")
done < <(grep -v '^#' "$(dirname "$0")/test-packages.txt")
[ "${#missing[@]}" = 0 ] && exit 0

export DEBIAN_FRONTEND=noninteractive
echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections
# Tests that need a package skip where it cannot be had.
apt-get install --quiet --quiet --yes --no-install-recommends "${missing[@]}" ||
  { apt-get update --quiet --quiet && apt-get install --quiet --quiet --yes --no-install-recommends "${missing[@]}"; } ||
  echo "not installed: ${missing[*]}" >&2
