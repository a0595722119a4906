# The base image of all agent images: what every agent needs, and no agent.
FROM debian:trixie-slim

# Tools print and read UTF-8 only when told so; the image has no locale set.
ENV LANG=C.UTF-8

# git, jq, procps (ps) and ripgrep (rg) are what agents call; curl, CA certificates
# and jq fetch the agents; util-linux has setpriv. Downloads and package lists are
# removed in the same step, so that they never become part of a layer.
RUN set -eux; \
    apt-get update; \
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ca-certificates curl git jq procps ripgrep util-linux; \
    apt-get clean; \
    rm -rf /var/lib/apt/lists/*

# Login shells reset PATH in /etc/profile. This puts the directories that workmux
# mounts back at the front.
RUN printf '%s\n' \
        'for workmux_dir in /tmp/.workmux-shims/bin "${WORKMUX_DEV:-/run/workmux/bin}"; do' \
        '    if [ -d "$workmux_dir" ]; then PATH="$workmux_dir:$PATH"; fi' \
        'done' \
        'unset workmux_dir' \
        'export PATH' \
        > /etc/profile.d/workmux.sh

# npm-unpack PACKAGE[@VERSION|@TAG|@MAJOR] [DIR]
# Fetches one package from the npm registry, compares it with the checksum that the
# registry names, unpacks it into DIR and prints its version. Without DIR it only
# prints the version. It needs no Node.js and runs no install script.
RUN set -eu; \
    printf '%s\n' \
        '#!/bin/sh' \
        '# usage: npm-unpack PACKAGE[@VERSION|@TAG|@MAJOR] [DIR]' \
        'set -eu' \
        'spec=${1:?package missing} dir=${2:-}' \
        'registry=${NPM_REGISTRY:-https://registry.npmjs.org}' \
        'fail() { echo "npm-unpack: $spec: $1" >&2; exit 1; }' \
        'fetch() {' \
        '    curl -fsSL --retry 3 --connect-timeout 20 --speed-limit 1000 --speed-time 60 \' \
        '        -o "$2" "$1" || fail "cannot download $1"' \
        '}' \
        '' \
        '# The first character may be the @ of a scope.' \
        'case ${spec#?} in' \
        '    *@*) name=${spec%@*} want=${spec##*@} ;;' \
        '    *) name=$spec want=latest ;;' \
        'esac' \
        'tmp=$(mktemp -d)' \
        'trap "rm -rf $tmp" EXIT' \
        '' \
        '# A tag first; else the highest version equal to what is wanted or within it.' \
        'fetch "${registry%/}/$(echo "$name" | sed "s,/,%2f,")" "$tmp/index"' \
        'version=$(jq -r --arg tags dist-tags --arg want "$want" \' \
        '    ".[\$tags][\$want] // empty" "$tmp/index") || fail "the registry sent no JSON"' \
        'if [ -z "$version" ]; then' \
        '    pattern=$(echo "$want" | sed "s/[.]/[.]/g")' \
        '    version=$(jq -r ".versions | keys[]" "$tmp/index" |' \
        '        grep -Ex "$pattern([.][0-9]+)*" | sort -V | tail -n 1) || true' \
        'fi' \
        '[ -n "$version" ] || fail "no such version"' \
        'dist() { jq -r --arg v "$version" ".versions[\$v].dist.$1 // empty" "$tmp/index"; }' \
        '' \
        'if [ -n "$dir" ]; then' \
        '    url=$(dist tarball) sum=$(dist integrity)' \
        '    case $sum in' \
        '        sha512-*) ;;' \
        '        *) fail "the registry names no sha512 for version $version" ;;' \
        '    esac' \
        '    fetch "$url" "$tmp/package.tgz"' \
        '    hex=$(echo "${sum#sha512-}" | base64 -d | od -An -v -tx1 | tr -d " \n")' \
        '    echo "$hex  $tmp/package.tgz" | sha512sum -c --status - ||' \
        '        fail "wrong checksum of $url"' \
        '    mkdir -p "$dir"' \
        '    tar -xzf "$tmp/package.tgz" -C "$dir" --strip-components=1 --no-same-owner ||' \
        '        fail "cannot unpack $url"' \
        '    chmod -R a+rX "$dir"' \
        'fi' \
        'echo "$version"' \
        > /usr/local/bin/npm-unpack; \
    chmod 755 /usr/local/bin/npm-unpack; \
    sh -n /usr/local/bin/npm-unpack

WORKDIR /
CMD ["bash"]

# (the guest program)
