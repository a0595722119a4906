ARG BASE=localhost/workmux-sandbox-base
FROM ${BASE}

# A new value here repeats the installation, and so fetches the newest version.
ARG CACHE_BUST=
# A version, a major version or a tag of the agent's package in the npm registry.
ARG AGENT_VERSION=latest

# The agent is one native program; it lies in a package of its own per platform.
# The main package names the version. /opt is readable by every user, because the
# container runs with the user and group id of the caller.
RUN set -eux; \
    : "${CACHE_BUST}"; \
    case "$(dpkg --print-architecture)" in \
        amd64) arch=x64 ;; \
        arm64) arch=arm64 ;; \
        *) echo "claude: no build for this processor" >&2; exit 1 ;; \
    esac; \
    version=$(npm-unpack "@anthropic-ai/claude-code@$AGENT_VERSION"); \
    npm-unpack "@anthropic-ai/claude-code-linux-$arch@$version" /opt/claude; \
    ln -s /opt/claude/claude /usr/local/bin/claude

# The image is read-only in use: an update could only fail.
ENV DISABLE_AUTOUPDATER=1

# A broken installation fails the build. Its files are made elsewhere and removed.
RUN set -eux; \
    mkdir /tmp/check; \
    HOME=/tmp/check TMPDIR=/tmp/check claude --version; \
    rm -rf /tmp/check
