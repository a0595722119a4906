#!/bin/sh
# Installs the agent that the machine was made for, once, from its package in the npm registry.
set -eu
state=/var/lib/workmux
agent=@AGENT@ package=@PACKAGE@
[ ! -e "$state/agent" ] || exit 0
[ ! -e "$state/failed" ] || exit 0
mkdir -p "$state"
# A machine without its agent is of use all the same; the next start tries again.
rm -f "$state/no-agent"
trap 'test $? = 0 || echo "$agent" >"$state/no-agent"' EXIT
if ! command -v "$agent" >/dev/null; then
    if ! command -v npm >/dev/null; then
        export DEBIAN_FRONTEND=noninteractive
        apt-get update
        apt-get install -y --no-install-recommends nodejs npm
    fi
    npm install --global --no-fund --no-audit "$package"
fi
echo "$agent" >"$state/agent"
