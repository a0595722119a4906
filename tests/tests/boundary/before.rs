//! What is looked at before a guest starts: pointer files (P17), the configuration it is given (P15); and what it
//! cannot tidy away (P22).

use workmux_tests::{gits, require_engine};

use super::case::{Case, Kind, all};

/// Ways to send git's pointer files elsewhere. `evil` is a repository whose configuration betrays who reads it.
const DETOURS: &[(&str, &str)] = &[
    ("the checkout's '.git' is a link", r#"mv "$W/.git" "$OUT/pointer"; ln -s "$OUT/pointer" "$W/.git""#),
    ("the checkout's '.git' has a second name", r#"ln "$W/.git" "$OUT/pointer""#),
    ("the checkout's '.git' leads to another checkout", r#"echo "gitdir: $G/worktrees/other" > "$W/.git""#),
    (
        "the checkout's '.git' leads to a repository of somebody's making",
        r#"echo "gitdir: $OUT/evil/.git" > "$W/.git""#,
    ),
    ("the checkout's '.git' is a FIFO", r#"rm "$W/.git"; mkfifo "$W/.git""#),
    ("the checkout's '.git' holds two lines", r#"echo x >> "$W/.git""#),
    ("'commondir' is a link", r#"mv "$A/commondir" "$OUT/c"; ln -s "$OUT/c" "$A/commondir""#),
    ("'commondir' has a second name", r#"ln "$A/commondir" "$OUT/c""#),
    ("'commondir' leads elsewhere", r#"echo "$OUT/evil/.git" > "$A/commondir""#),
    ("'commondir' is gone", r#"rm "$A/commondir""#),
    ("'gitdir' is a link", r#"mv "$A/gitdir" "$OUT/g"; ln -s "$OUT/g" "$A/gitdir""#),
    ("'gitdir' leads elsewhere", r#"echo "$OUT/evil/.git" > "$A/gitdir""#),
    ("the objects are a link", r#"mv "$G/objects" "$OUT/o"; ln -s "$OUT/o" "$G/objects""#),
    ("the refs are a link", r#"mv "$G/refs" "$OUT/r"; ln -s "$OUT/r" "$G/refs""#),
];

/// The same for a main checkout.
const MAIN_DETOURS: &[(&str, &str)] = &[
    ("'.git' is a link", r#"mv "$G" "$OUT/git"; ln -s "$OUT/git" "$G""#),
    (
        "'.git' is a file that leads to another checkout's",
        r#"mv "$G" "$OUT/git"; echo "gitdir: $OUT/evil/.git" > "$W/.git""#,
    ),
    ("a 'commondir' in the main checkout", r#"echo "$OUT/evil/.git" > "$G/commondir""#),
    ("a work tree elsewhere", r#"git config core.worktree "$OUT/evil""#),
];

#[test]
fn p17_pointer_files_that_lead_elsewhere_stop_the_start() {
    require_engine!("bubblewrap");
    for git in gits() {
        for (kind, detours) in [(Kind::Linked, DETOURS), (Kind::Main, MAIN_DETOURS)] {
            for (name, detour) in detours {
                let case = Case::new(git, kind);
                let evil = r#"git init -q "$OUT/evil"; git -C "$OUT/evil" config core.fsmonitor "$PLANT #""#;
                let script = case.script(&format!("{evil}\n{detour}"));
                case.world.program("sh").args(["-c", &script]).run().ok();
                let (before, outside) = (case.home(), case.checkout.join("ran"));
                let finished = case.guest("touch ran").run();
                let context = format!("'{name}'\n{finished}");
                assert_eq!(finished.code, Some(125), "{context}");
                assert!(finished.stderr.lines().count() <= 6, "{context}");
                assert!(!outside.exists() && !case.canary().exists(), "{context}");
                assert_eq!(before.changes(&case.home()), Vec::<String>::new(), "{context}");
                case.nothing_left(name);
            }
        }
    }
}

#[test]
fn p17_shown_able_to_fail() {
    require_engine!("bubblewrap");
    let case = Case::new(gits()[0], Kind::Linked);
    let script = case.script(DETOURS[1].1);
    case.world.program("sh").args(["-c", &script]).run().ok();
    case.guest("touch ran").mutant("p17_pointers").run().ok();
    assert!(case.checkout.join("ran").exists(), "with the guard off the guest must start");
}

/// Settings as users have them; each value marked SECRET must never reach a guest.
const SETTINGS: &str = r#"
git config http.extraHeader 'Authorization: SECRET'; git config http.https://h/.extraHeader SECRET; git config http.proxy http://u:SECRET@p
git config credential.helper '!echo SECRET'; git config url.https://u:SECRET@h/.insteadOf https://h/; git config remote.origin.url https://u:SECRET@h/x.git
git config remote.origin.fetch '+refs/heads/*:refs/remotes/origin/*'; git config remote.origin.proxy SECRET; git config branch.main.remote origin
git config branch.main.merge refs/heads/main; git config branch.main.description SECRET; git config core.sshCommand 'ssh -i SECRET'
git config core.hooksPath /SECRET; git config core.fsmonitor SECRET; git config core.autocrlf input; git config alias.x '!SECRET'
git config user.signingKey SECRET; git config gpg.program SECRET; git config diff.x.textconv SECRET; git config merge.x.driver SECRET
git config my.own SECRET; git config workmux.own SECRET; git config include.path /SECRET; git config --global user.email me@example.invalid
git config --global github.token SECRET; git config --global sendemail.smtpPass SECRET; git config pull.rebase true
"#;

/// Sections and names a guest may see, besides subsections.
const LISTED: &[&str] = &[
    "core.repositoryformatversion",
    "core.bare",
    "core.splitindex",
    "core.fsmonitor",
    "core.filemode",
    "core.ignorecase",
    "core.symlinks",
    "core.autocrlf",
    "core.eol",
    "core.safecrlf",
    "core.precomposeunicode",
    "core.quotepath",
    "core.whitespace",
    "core.abbrev",
    "core.commentchar",
    "core.sparsecheckout",
    "core.sparsecheckoutcone",
    "extensions.objectformat",
    "extensions.worktreeconfig",
    "extensions.partialclone",
    "user.name",
    "user.email",
    "remote.url",
    "remote.pushurl",
    "remote.fetch",
    "remote.promisor",
    "remote.partialclonefilter",
    "remote.tagopt",
    "branch.remote",
    "branch.pushremote",
    "branch.merge",
    "branch.rebase",
    "submodule.url",
    "submodule.active",
    "filter.clean",
    "filter.smudge",
    "filter.process",
    "filter.required",
    "merge.conflictstyle",
    "merge.ff",
    "pull.rebase",
    "pull.ff",
    "push.default",
    "push.autosetupremote",
    "rebase.autosquash",
    "rebase.autostash",
    "rerere.enabled",
    "fetch.prune",
    "init.defaultbranch",
    "gc.auto",
    "maintenance.auto",
    "gc.worktreepruneexpire",
    "core.excludesfile",
    "core.attributesfile",
    "diff.algorithm",
    "color.ui",
    "log.date",
];

fn guests_configuration(case: &Case, mutant: &str) -> String {
    let setup = case.script(SETTINGS);
    case.world.program("sh").args(["-c", &setup]).run().ok();
    // Read as text as well: git itself would hide what it cannot parse.
    let script = "git config --list --show-origin --name-only; echo ---; cat \"$G/config\"; grep -r SECRET \"$G\" \
                  --include=config* || true; env; cat ~/.gitconfig /etc/gitconfig 2>/dev/null || true";
    case.guest(script).mutant(mutant).run().ok().stdout
}

#[test]
fn p15_a_guest_gets_the_settings_of_the_list_and_no_other() {
    require_engine!("bubblewrap");
    for (git, kind) in all() {
        let case = Case::new(git, kind);
        let said = guests_configuration(&case, "");
        assert!(!said.contains("SECRET"), "{said}");
        // What our own environment says is not a file's.
        let lines = said.lines().take_while(|l| *l != "---").filter(|l| l.starts_with("file:"));
        let keys: Vec<&str> = lines.filter_map(|l| l.split('\t').nth(1)).collect();
        for wanted in ["remote.origin.url", "branch.main.merge", "core.autocrlf", "user.email", "pull.rebase"] {
            assert!(keys.contains(&wanted), "{wanted} is missing: {keys:?}");
        }
        for key in keys {
            let (section, name) = (key.split('.').next().unwrap_or(key), key.rsplit('.').next().unwrap_or(key));
            assert!(LISTED.contains(&format!("{section}.{name}").as_str()), "{key} is not on the list: {said}");
        }
    }
}

#[test]
fn p15_shown_able_to_fail() {
    require_engine!("bubblewrap");
    let case = Case::new(gits()[0], Kind::Linked);
    assert!(guests_configuration(&case, "p15_allowlist").contains("SECRET"), "with the guard off secrets must show");
}

const TIDYING: &str = "git worktree list | wc -l; git gc -q --prune=now; git worktree prune --expire=now; git reflog expire --expire=now --all; git prune; git worktree list | wc -l; \
                       git -c gc.auto=1 gc -q --auto; git maintenance run --quiet; git repack -adq; git prune-packed";

#[test]
fn p22_tidying_in_a_guest_tidies_nothing_of_the_hosts() {
    require_engine!("bubblewrap");
    for (git, kind) in all() {
        let case = Case::new(git, kind);
        // Work that only reflogs, the index and other checkouts still hold.
        let setup = "git commit -q --allow-empty -m 'thrown away'; git rev-parse HEAD; git reset -q --hard HEAD~1; echo staged > staged; git add staged";
        let lost = case.world.program("sh").args(["-c", setup]).dir(&case.checkout).run().ok().stdout;
        let before = case.git_dir();
        let finished = case.guest(TIDYING).run().ok();
        let changes = before.changes(&case.git_dir());
        assert_eq!(changes, Vec::<String>::new(), "{finished}");
        case.host(&case.checkout, &["cat-file", "-e", lost.trim()]).ok();
        assert_eq!(case.host(&case.checkout, &["status", "--porcelain"]).ok().stdout, "A  staged\n");
        let other = case.world.home().join("project__worktrees/other");
        case.host(&other, &["status"]).ok();
    }
}

#[test]
fn p22_shown_able_to_fail() {
    require_engine!("bubblewrap");
    let case = Case::new(gits()[0], Kind::Linked);
    let other = case.world.home().join("project__worktrees/other");
    case.host(&other, &["status"]).ok();
    case.guest(TIDYING).mutant("p13_private_dir").run();
    let left = case.host(&other, &["status"]);
    assert_ne!(left.code, Some(0), "without a git directory of its own a guest must tidy other checkouts away\n{left}");
}
