#!/bin/sh
# What every sandbox needs of its machine. Lima runs this as root at each start; packages are installed once.
set -eu
state=/var/lib/workmux
mkdir -p "$state"
trap 'test $? = 0 || echo "the script that prepares the machine failed" >"$state/failed"' EXIT
rm -f "$state/failed"

# Sandboxes are namespaces that an ordinary user makes; some distributions forbid that.
for switch in apparmor_restrict_unprivileged_userns apparmor_restrict_unprivileged_unconfined; do
    if [ -w "/proc/sys/kernel/$switch" ]; then echo 0 >"/proc/sys/kernel/$switch"; fi
done
if [ -w /proc/sys/kernel/unprivileged_userns_clone ]; then echo 1 >/proc/sys/kernel/unprivileged_userns_clone; fi

# Each sandbox is a session of one shared connection; ten are not enough.
limit=/etc/ssh/sshd_config.d/50-workmux.conf
if [ -d "${limit%/*}" ] && [ ! -e "$limit" ]; then
    printf 'MaxSessions 200\nMaxStartups 100\n' >"$limit"
    systemctl reload ssh 2>/dev/null || systemctl reload sshd 2>/dev/null || true
fi

missing=
for program in curl git xz; do
    command -v "$program" >/dev/null || missing="$missing $program"
done
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null; then
    echo "the image lacks$missing, and has no apt-get to install it" >"$state/failed"
    trap - EXIT
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install -y --no-install-recommends curl ca-certificates git xz-utils
