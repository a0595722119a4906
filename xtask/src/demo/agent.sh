# The demo's agent: does an agent's work, then what no agent should be able to do, and says how each went.
#   sh agent.sh NONCE SECRET MAIN
# Lines it prints: 'ok WHAT', 'no WHAT', or 'tried WHAT' where only the host can tell whether harm was done.
nonce=$1 secret=$2 main=$3
here() { if "$@" >/dev/null 2>&1; then echo "ok $what"; else echo "no $what"; fi; }

echo "namespace $(readlink /proc/self/ns/pid)"
what=guest;  here test -n "$WM_SANDBOX_GUEST"
what=write;  here sh -c 'echo "$1" > hello.txt' sh "$nonce"
what=commit; here sh -c 'git add hello.txt && git commit --quiet --message "hello from the sandbox"'
what=status; here workmux set-window-status done

if cat "$secret" 2>/dev/null; then echo "no secret"; else echo "ok secret"; fi
attempt() { echo "tried $1"; shift; "$@" >/dev/null 2>&1 || :; }
attempt outside   sh -c 'echo overwritten > "$1/README.md"' sh "$main"
attempt elsewhere sh -c 'echo planted > "${1%/*}/planted"' sh "$main"
attempt hook      sh -c 'mkdir -p "$1/.git/hooks"; echo "#!/bin/sh" > "$1/.git/hooks/pre-commit"; chmod +x "$1/.git/hooks/pre-commit"' sh "$main"
attempt config    git -C "$main" config core.fsmonitor "touch $main/planted"
attempt pointer   sh -c 'rm -f .git; echo "gitdir: /tmp/elsewhere" > .git'
echo "end $nonce"
exit 7
