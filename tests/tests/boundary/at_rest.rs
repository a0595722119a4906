//! One attack at a time, on a repository that nobody else uses meanwhile.

use workmux_tests::{Sandbox, on_every_sandbox, require_engine};

use super::case::{Case, some, some_on};

on_every_sandbox!(
    p13_nothing_a_guest_tells_git_to_run_is_run,
    p14_links_lead_the_host_nowhere,
    p14_nothing_makes_the_host_wait_or_grow,
    p14_lies_are_not_believed
);

/// An attack: what the guest does. Only what is a breach by itself is checked beyond [`hold`].
type Attack = (&'static str, &'static str);

/// What git makes when it needs it, and an attacker at once.
const FOLDERS: &str = "mkdir -p \"$G/hooks\" \"$G/info\" \"$G/logs/refs/heads\" \"$G/refs/tags\" \"$G/objects/pack\" \"$A/logs\" \"$A/info\"\n";

/// Files by which git is told to run something.
const COMMANDS: &[Attack] = &[
    (
        "settings that name programs",
        r#"for key in core.fsmonitor core.hooksPath core.pager core.editor core.sshCommand core.askPass diff.external \
               alias.status alias.log filter.x.clean filter.x.smudge filter.x.process merge.x.driver gpg.program \
               credential.helper sequence.editor interactive.diffFilter; do git config "$key" "$PLANT #"; done
           git config extensions.worktreeConfig true
           printf '[core]\n\tfsmonitor = %s #\n\thooksPath = /tmp\n' "$PLANT" > "$A/config.worktree"
           printf '* filter=x diff=x merge=x\n' > "$G/info/attributes""#,
    ),
    (
        "hooks",
        r#"for hook in post-checkout pre-commit post-commit post-merge pre-rebase reference-transaction post-index-change \
               fsmonitor-watchman pre-auto-gc post-rewrite prepare-commit-msg commit-msg pre-merge-commit; do
               printf '#!/bin/sh\n%s\n' "$PLANT" > "$G/hooks/$hook"; chmod 755 "$G/hooks/$hook"
           done
           test -x "$G/hooks/pre-commit""#,
    ),
    ("the settings file is a link", r#"ln -sfn "$OUT/rc" "$G/config"; git config x.y z || true"#),
    ("the settings file is gone, and a directory", r#"rm "$G/config"; mkdir "$G/config""#),
    (
        "an unfinished rebase that runs something",
        r#"mkdir -p "$A/rebase-merge"; echo "exec $PLANT" > "$A/rebase-merge/git-rebase-todo"
           for f in head-name onto orig-head msgnum end; do echo 1 > "$A/rebase-merge/$f"; done; : > "$A/rebase-merge/interactive"
           git rev-parse HEAD > "$A/rebase-merge/onto"; git rev-parse HEAD > "$A/rebase-merge/orig-head"; echo refs/heads/main > "$A/rebase-merge/head-name""#,
    ),
    (
        "an unfinished sequence",
        r#"mkdir -p "$A/sequencer"; echo "exec $PLANT" > "$A/sequencer/todo"; git rev-parse HEAD > "$A/sequencer/head"; git rev-parse HEAD > "$A/CHERRY_PICK_HEAD""#,
    ),
    ("a bisect", r#"git bisect start; echo "$PLANT" > "$A/BISECT_RUN"; git bisect bad; ls "$A" | grep -q BISECT"#),
    (
        "submodules that update themselves",
        r#"printf '[submodule "s"]\n\tpath = s\n\turl = ./s\n\tupdate = !%s\n' "$PLANT" > .gitmodules
           git config submodule.s.update "!$PLANT"; git config submodule.s.active true; git config submodule.recurse true"#,
    ),
];

/// Links, by which the host would write or read elsewhere. Each replaces what was there in one step: work crosses at any
/// moment, and a guest without an index is an honest one.
const LINKS: &[Attack] = &[
    (
        "a reflog is a link to a file that a shell reads",
        r#"for log in refs/heads/main refs/heads/topic refs/heads/side HEAD; do
               mkdir -p "$(dirname "$G/logs/$log")"; rm -f "$G/logs/$log"; ln -s "$OUT/new-rc" "$G/logs/$log"
           done; mkdir -p "$A/logs"; rm -f "$A/logs/HEAD"; ln -s "$OUT/rc" "$A/logs/HEAD""#,
    ),
    ("all logs are a link", r#"rm -rf "$G/logs"; ln -s "$OUT/folder" "$G/logs""#),
    ("branches are a link", r#"rm -rf "$G/refs/heads"; ln -s "$OUT/folder" "$G/refs/heads""#),
    ("all refs are a link", r#"rm -rf "$G/refs"; ln -s "$OUT" "$G/refs""#),
    (
        "a branch is a link",
        r#"rm -f "$G/refs/heads/main"; ln -s "$OUT/rc" "$G/refs/heads/main"; ln -s /etc/passwd "$G/refs/heads/p""#,
    ),
    (
        "messages are links",
        r#"for f in COMMIT_EDITMSG MERGE_MSG ORIG_HEAD FETCH_HEAD; do rm -f "$A/$f"; ln -s "$OUT/$f" "$A/$f"; done"#,
    ),
    (
        "a merge in progress is made of links",
        // The head last: alone it is an honest merge, and work crosses at any moment.
        r#"ln -s "$OUT/rc" "$A/MERGE_MSG"; ln -s "$OUT/rc" "$A/MERGE_MODE"; git rev-parse side > "$A/MERGE_HEAD""#,
    ),
    ("the index is a link to nowhere", r#"ln -sfn "$OUT/index" "$A/index""#),
    ("the index is a link to a secret", r#"ln -sfn "$OUT/rc" "$A/index""#),
    ("HEAD is a link", r#"ln -sfn "$OUT/rc" "$A/HEAD""#),
    ("the list of packed refs is a link", r#"ln -sfn "$OUT/rc" "$G/packed-refs""#),
    (
        "objects are links",
        r#"rm -rf "$G/objects/pack" "$G/objects/info"; ln -s "$OUT/folder" "$G/objects/pack"; ln -s "$OUT/folder" "$G/objects/info"
           mkdir -p "$G/objects/aa"; ln -s "$OUT/rc" "$G/objects/aa/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
           ln -s "$OUT/folder" "$G/objects/bb""#,
    ),
    ("all objects are a link", r#"mv "$G/objects" "$G/o"; ln -s "$OUT/folder" "$G/objects""#),
    (
        "the checkout's own directory is a link",
        r#"if [ "$A" != "$G" ]; then mv "$A" "$G/aside"; ln -s "$OUT/folder" "$A"; fi"#,
    ),
    ("the worktrees are a link", r#"rm -rf "$G/worktrees"; ln -s "$OUT/folder" "$G/worktrees""#),
];

/// Things that make a reader wait or grow without end.
const TRAPS: &[Attack] = &[
    (
        "HEAD is a FIFO",
        r#"rm "$A/HEAD"; mkfifo "$A/HEAD"; if [ "$A" != "$G" ]; then rm "$G/HEAD"; mkfifo "$G/HEAD"; fi"#,
    ),
    (
        "refs are FIFOs",
        r#"mkfifo "$G/refs/heads/fifo" "$G/refs/tags/fifo"; rm -f "$G/refs/heads/main"; mkfifo "$G/refs/heads/main""#,
    ),
    ("the index is a FIFO", r#"rm "$A/index"; mkfifo "$A/index""#),
    (
        "packed refs, settings and logs are FIFOs",
        r#"for f in packed-refs config; do rm "$G/$f"; mkfifo "$G/$f"; done; mkdir -p "$A/logs"; rm -f "$A/logs/HEAD"; mkfifo "$A/logs/HEAD""#,
    ),
    (
        "objects are FIFOs",
        r#"mkdir -p "$G/objects/ab"; mkfifo "$G/objects/ab/cccccccccccccccccccccccccccccccccccccc" "$G/objects/pack/pack-0000000000000000000000000000000000000000.pack"; echo abcccccccccccccccccccccccccccccccccccccc > "$G/refs/heads/new""#,
    ),
    ("a merge in progress is a FIFO", r#"mkfifo "$A/MERGE_HEAD""#),
    ("an index of four gigabytes", r#"truncate -s 4G "$A/index""#),
    ("packed refs of four gigabytes", r#"truncate -s 4G "$G/packed-refs""#),
    ("a ref of a gigabyte", r#"truncate -s 1G "$G/refs/heads/big""#),
    (
        "an object of eight gigabytes",
        r#"mkdir -p "$G/objects/ab"; truncate -s 8G "$G/objects/ab/cccccccccccccccccccccccccccccccccccccc"; echo abcccccccccccccccccccccccccccccccccccccc > "$G/refs/heads/new""#,
    ),
    (
        "directories without end",
        r#"d="$G/refs/heads"; i=0; while [ $i -lt 100 ]; do d="$d/d"; i=$((i+1)); done; mkdir -p "$d"; git rev-parse HEAD > "$d/x""#,
    ),
    ("a directory that cannot be read", r#"mkdir -p "$G/refs/heads/closed/x"; chmod 000 "$G/refs/heads/closed""#),
    ("files that cannot be read", r#"chmod 000 "$A/HEAD" "$A/index" "$G/packed-refs""#),
    ("the private directory is emptied", r#"rm -rf "$G"/* 2>/dev/null || true"#),
];

/// Names and contents that lie.
const LIES: &[Attack] = &[
    (
        "names of branches that are commands, options and paths",
        r#"h=$(git rev-parse HEAD); for name in '$(touch${IFS}$CANARY)' '`touch x`' ';touch x' '-D' '--all' 'a b' 'x|y' 'HEAD'; do printf '%s\n' "$h" > "$G/refs/heads/$name"; done
           printf '%s refs/heads/../../hooks/pre-commit\n%s refs/heads/../config\n%s refs/../../x\n%s HEAD\n%s config\n' "$h" "$h" "$h" "$h" "$h" >> "$G/packed-refs""#,
    ),
    ("HEAD leads out of the refs", r#"echo 'ref: refs/heads/../../hooks/pre-commit' > "$A/HEAD""#),
    ("HEAD leads to the settings", r#"echo 'ref: config' > "$A/HEAD""#),
    ("HEAD leads to another checkout", r#"echo 'ref: worktrees/other/HEAD' > "$A/HEAD""#),
    (
        "pointer files lead elsewhere",
        r#"mkdir -p "$W/evil/worktrees/x"; cp -r "$G/config" "$W/evil/"; printf '[core]\n\tfsmonitor = %s #\n' "$PLANT" >> "$W/evil/config"; rm -r "$W/evil"
           if [ "$A" != "$G" ]; then echo /tmp > "$A/commondir"; echo /tmp/.git > "$A/gitdir"; else echo /tmp > "$G/commondir"; fi"#,
    ),
    (
        "alternates",
        r#"printf '%s\n' "$OUT" /etc > "$G/objects/info/alternates"; printf 'http://127.0.0.1/\n' > "$G/objects/info/http-alternates""#,
    ),
    (
        "grafts, replacements, a shallow boundary",
        r#"h=$(git rev-parse HEAD); echo "$h" > "$G/shallow"; echo "$h" > "$G/info/grafts"; mkdir -p "$G/refs/replace"; git rev-parse side > "$G/refs/replace/$h""#,
    ),
    (
        "the real objects",
        r#"o="$G/host/objects"; test -d "$o"; test "$(find "$o" -type f | wc -l)" -gt 0
           ! touch "$o/x" 2>/dev/null; ! rm -rf "$o"/* 2>/dev/null; ! chmod -R 777 "$o" 2>/dev/null; ! mv "$o" "$G/o" 2>/dev/null; ! mv "$G/host" "$G/h" 2>/dev/null
           ! mount -o remount,rw "$o" 2>/dev/null; ! umount "$o" 2>/dev/null
           f=$(find "$o" -type f | head -1); ! ln "$f" "$G/linked" 2>/dev/null; ! sh -c "echo x >> '$f'" 2>/dev/null"#,
    ),
    (
        "the way to the git directory",
        r#"! mv "$W/.git" "$W/q" 2>/dev/null; ! rm -rf "$W/.git" 2>/dev/null || test -e "$W/.git"
           if [ "$A" != "$G" ]; then ! sh -c 'echo gitdir: /tmp > "$1/.git"' sh "$W" 2>/dev/null; ! ln -sf /tmp "$W/.git" 2>/dev/null || ! test -L "$W/.git"; ! ln "$W/.git" "$W/hard" 2>/dev/null; fi
           test -e "$W/.git"; ! umount "$W/.git" 2>/dev/null"#,
    ),
    (
        "the records of other checkouts",
        r#"rm -rf "$G/worktrees/other"; git worktree prune --expire now || true; git worktree remove --force ../other 2>/dev/null || true
           git pack-refs --all; git gc --prune=now --quiet; git reflog expire --expire=now --all"#,
    ),
    ("an index that is rubbish", r#"head -c 5000 /dev/urandom > "$A/index""#),
    ("a stale lock of the host's", r#"touch "$A/index.lock" "$A/HEAD.lock" "$G/packed-refs.lock" "$G/config.lock""#),
];

/// Each attack is made; afterwards the host's git directory is as it was, except for objects and
/// refs below `refs/wm` that came the honest way.
fn hold(on: Sandbox, attacks: &[Attack]) {
    for (git, kind) in some_on(on) {
        // What one attack leaves is nothing, so the next one may use the same repository.
        let case = Case::on(on, git, kind);
        for (name, script) in attacks {
            let (before, home) = (case.git_dir(), case.home());
            let finished = case.guest(&format!("{FOLDERS}{script}")).run();
            let context = format!("'{name}', {kind:?}, {git:?}\n{finished}");
            assert_eq!(finished.code, Some(0), "the attack could not be made: {context}");
            let changes = before.changes(&case.git_dir());
            let arrived =
                |c: &String| ["+ objects", "+ refs/wm", "+ logs/refs/wm"].iter().any(|honest| c.starts_with(honest));
            let wrong: Vec<_> = changes.iter().filter(|c| !arrived(c)).collect();
            assert!(wrong.is_empty(), "{wrong:#?} changed: {context}");
            assert_eq!(home.changes(&case.home()), Vec::<String>::new(), "{context}");
            case.nothing_left(&context);
            // Containers take their time: there the user's own git has a look at the end.
            if !on.is_container() || Some(name) == attacks.last().map(|(name, _)| name) {
                case.life_goes_on();
            }
            assert_eq!(
                home.changes(&case.home()),
                Vec::<String>::new(),
                "written by the user's own git afterwards: {context}"
            );
            case.tidy();
        }
    }
}

fn p13_nothing_a_guest_tells_git_to_run_is_run(on: Sandbox) {
    hold(on, COMMANDS);
}

#[test]
fn p13_shown_able_to_fail() {
    require_engine!("bubblewrap");
    let (git, kind) = some()[0];
    let case = Case::new(git, kind);
    let (_, hooks) = COMMANDS.iter().find(|(name, _)| *name == "hooks").expect("an attack by hooks");
    case.guest(&format!("{FOLDERS}{hooks}")).mutant("p13_private_dir").run().ok();
    case.host(&case.checkout, &["commit", "--quiet", "--allow-empty", "--message=x"]);
    assert!(case.canary().exists(), "in the real git directory a guest's hooks must run");
}

fn p14_links_lead_the_host_nowhere(on: Sandbox) {
    hold(on, LINKS);
}

fn p14_nothing_makes_the_host_wait_or_grow(on: Sandbox) {
    hold(on, TRAPS);
}

fn p14_lies_are_not_believed(on: Sandbox) {
    hold(on, LIES);
}
