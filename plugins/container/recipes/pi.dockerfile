ARG BASE=localhost/workmux-sandbox-base
FROM ${BASE}

# A new value here repeats the installation, and so fetches the newest version.
ARG CACHE_BUST=
# A version, a major version or a tag of the agent's package in the npm registry.
ARG AGENT_VERSION=latest

# The agent searches files with fd, and downloads it when it is missing.
RUN set -eux; \
    : "${CACHE_BUST}"; \
    apt-get update; \
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends fd-find; \
    apt-get clean; \
    rm -rf /var/lib/apt/lists/*

# Node.js 22 and npm 10, both from the npm registry. The header files and manuals of
# Node.js are of no use here.
RUN set -eux; \
    : "${CACHE_BUST}"; \
    case "$(dpkg --print-architecture)" in \
        amd64) arch=x64 ;; \
        arm64) arch=arm64 ;; \
        *) echo "pi: no Node.js for this processor" >&2; exit 1 ;; \
    esac; \
    npm-unpack "node-linux-$arch@22" /opt/node; \
    rm -rf /opt/node/include /opt/node/share /opt/node/CHANGELOG.md; \
    npm-unpack npm@10 /opt/node/lib/node_modules/npm; \
    for tool in npm npx; do \
        ln -s "../lib/node_modules/npm/bin/$tool-cli.js" "/opt/node/bin/$tool"; \
    done; \
    chmod a+rx /opt/node/lib/node_modules/npm/bin/np?-cli.js; \
    for tool in node npm npx; do \
        ln -s "/opt/node/bin/$tool" "/usr/local/bin/$tool"; \
    done

# npm brings a list of authorities of its own; NODE_EXTRA_CA_CERTS adds the list of
# the image. No package runs a script of its own during the installation. The cache
# of npm and of Node.js is removed in the same step. /opt is readable by every user, because the
# container runs with the user and group id of the caller.
RUN set -eux; \
    : "${CACHE_BUST}"; \
    export NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt; \
    export TMPDIR=/tmp/npm; \
    mkdir /tmp/npm; \
    npm install --global --prefix /opt/pi --cache /tmp/npm/cache \
        --omit=dev --no-audit --no-fund --ignore-scripts --no-update-notifier \
        "@earendil-works/pi-coding-agent@$AGENT_VERSION"; \
    rm -rf /tmp/npm; \
    chmod -R a+rX /opt/pi; \
    ln -s /opt/pi/bin/pi /usr/local/bin/pi

# The image is read-only in use: an update could only fail, so do not look for one.
ENV PI_SKIP_VERSION_CHECK=1

# A broken installation fails the build. Its files are made elsewhere and removed.
RUN set -eux; \
    mkdir /tmp/check; \
    HOME=/tmp/check TMPDIR=/tmp/check pi --version; \
    rm -rf /tmp/check
