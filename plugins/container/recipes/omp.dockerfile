ARG BASE=localhost/workmux-sandbox-base
FROM ${BASE}

# A new value here repeats the installation, and so fetches the newest version.
ARG CACHE_BUST=
# A version, a major version or a tag of the agent's package in the npm registry.
ARG AGENT_VERSION=latest

# The agent runs Python code in environments that it makes with venv and pip.
RUN set -eux; \
    : "${CACHE_BUST}"; \
    apt-get update; \
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        python3 python3-pip python3-venv unzip; \
    apt-get clean; \
    rm -rf /var/lib/apt/lists/*

# Bun runs the agent. "baseline" is the build for x86-64 processors without AVX2.
RUN set -eux; \
    : "${CACHE_BUST}"; \
    case "$(dpkg --print-architecture)" in \
        amd64) arch=x64-baseline ;; \
        arm64) arch=aarch64 ;; \
        *) echo "omp: no Bun for this processor" >&2; exit 1 ;; \
    esac; \
    npm-unpack "@oven/bun-linux-$arch" /opt/bun; \
    ln -s bun /opt/bun/bin/bunx; \
    ln -s /opt/bun/bin/bun /opt/bun/bin/bunx /usr/local/bin/

# Bun brings a list of authorities of its own; NODE_EXTRA_CA_CERTS adds the list of
# the image. Bun runs no script of a package unless told to trust it. Its cache is
# removed in the same step. Optional packages (speech, local models: half a gigabyte)
# are left out, except for the native library of the agent. /opt is readable by every
# user, because the container runs with the user and group id of the caller.
RUN set -eux; \
    : "${CACHE_BUST}"; \
    export NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt; \
    export TMPDIR=/tmp/bun BUN_INSTALL_CACHE_DIR=/tmp/bun/cache; \
    mkdir /tmp/bun /opt/omp; \
    cd /opt/omp; \
    case "$(dpkg --print-architecture)" in amd64) arch=x64 ;; *) arch=arm64 ;; esac; \
    version=$(npm-unpack "@oh-my-pi/pi-coding-agent@$AGENT_VERSION"); \
    echo '{"private":true}' > package.json; \
    bun add --production --omit=optional --omit=peer --no-progress \
        "@oh-my-pi/pi-coding-agent@$version" \
        "@oh-my-pi/pi-natives-linux-$arch@$version"; \
    rm -rf /tmp/bun; \
    chmod -R a+rX /opt/omp; \
    ln -s /opt/omp/node_modules/.bin/omp /usr/local/bin/omp

# A broken installation fails the build. Its files are made elsewhere and removed.
RUN set -eux; \
    mkdir /tmp/check; \
    HOME=/tmp/check TMPDIR=/tmp/check omp --version; \
    rm -rf /tmp/check
