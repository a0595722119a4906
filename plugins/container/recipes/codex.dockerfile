ARG BASE=localhost/workmux-sandbox-base
FROM ${BASE}

# A new value here repeats the installation, and so fetches the newest version.
ARG CACHE_BUST=
# A version, a major version or a tag of the agent's package in the npm registry.
ARG AGENT_VERSION=latest

# The agent uses bubblewrap to run its commands.
RUN set -eux; \
    : "${CACHE_BUST}"; \
    apt-get update; \
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends bubblewrap; \
    apt-get clean; \
    rm -rf /var/lib/apt/lists/*

# The native program is published per platform as a version of the main package. It
# is statically linked, and finds its helpers beside its real place. /opt is readable
# by every user, because the container runs with the user and group id of the caller.
RUN set -eux; \
    : "${CACHE_BUST}"; \
    case "$(dpkg --print-architecture)" in \
        amd64) arch=x64 cpu=x86_64 ;; \
        arm64) arch=arm64 cpu=aarch64 ;; \
        *) echo "codex: no build for this processor" >&2; exit 1 ;; \
    esac; \
    version=$(npm-unpack "@openai/codex@$AGENT_VERSION"); \
    npm-unpack "@openai/codex@$version-linux-$arch" /opt/codex; \
    ln -s "/opt/codex/vendor/$cpu-unknown-linux-musl/bin/codex" /usr/local/bin/codex

# The settings of the agent are mounted here: it makes no helper programs below /tmp.
# Any user must be able to write here when nothing is mounted.
RUN set -eux; \
    mkdir -p /home/user/.codex; \
    chmod 1777 /home/user/.codex

# The image is read-only in use: an update could only fail, so do not offer one.
RUN set -eux; \
    mkdir -p /etc/codex; \
    echo 'check_for_update_on_startup = false' > /etc/codex/config.toml

# A broken installation fails the build. Its files are made elsewhere and removed.
RUN set -eux; \
    mkdir /home/check; \
    HOME=/home/check TMPDIR=/home/check codex --version; \
    rm -rf /home/check
