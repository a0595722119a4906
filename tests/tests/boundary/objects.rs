//! P14: objects, commits and refs that lie, and how they arrive, or do not.

use workmux_tests::require_engine;

use super::case::{Case, all, some};

/// Makes a commit of one hostile tree on a branch `evil`, and an honest one on the branch that is checked out.
fn with_honest_work(hostile: &str) -> String {
    format!(
        "c() {{ git commit-tree -p HEAD -m evil \"$1\"; }}\nblob=$(echo \"$PLANT\" | git hash-object -w --stdin)\n{hostile}\n\
         git rev-parse HEAD > honest; git add honest; git commit -q -m honest; git rev-parse HEAD"
    )
}

/// Each makes a branch `evil` that must not arrive.
const UNFIT: &[(&str, &str)] = &[
    (
        "a tree with a '.git'",
        r#"t=$(printf '100644 blob %s\thooks\n' "$blob" | git mktree)
           t=$(printf '040000 tree %s\t.git\n' "$t" | git mktree); git update-ref refs/heads/evil "$(c "$t")""#,
    ),
    (
        "the same for file systems that fold case",
        r#"t=$(printf '100644 blob %s\tconfig\n' "$blob" | git mktree)
           t=$(printf '040000 tree %s\t.GiT\n' "$t" | git mktree); git update-ref refs/heads/evil "$(c "$t")""#,
    ),
    (
        "a tree that leads upwards",
        r#"t=$(printf '100644 blob %s\tx\n' "$blob" | git mktree)
           t=$(printf '040000 tree %s\t..\n' "$t" | git mktree); git update-ref refs/heads/evil "$(c "$t")""#,
    ),
    (
        "submodule settings that are options",
        r#"b=$(printf '[submodule "x"]\n\tpath = x\n\turl = --upload-pack=evil\n' | git hash-object -w --stdin)
           t=$(printf '100644 blob %s\t.gitmodules\n' "$b" | git mktree); git update-ref refs/heads/evil "$(c "$t")""#,
    ),
    (
        "submodule settings that are a link",
        r#"b=$(printf '../../x' | git hash-object -w --stdin)
           t=$(printf '120000 blob %s\t.gitmodules\n' "$b" | git mktree); git update-ref refs/heads/evil "$(c "$t")""#,
    ),
    (
        "a commit of objects that are not there",
        r#"t=$(printf '100644 blob 1234567890123456789012345678901234567890\tx\n' | git mktree --missing)
           git update-ref refs/heads/evil "$(c "$t")""#,
    ),
    (
        "an object under another's name",
        r#"other=$(echo other | git hash-object -w --stdin); t=$(printf '100644 blob %s\tx\n' "$other" | git mktree)
           git update-ref refs/heads/evil "$(c "$t")"
           f() { echo "$G/objects/$(echo "$1" | cut -c1-2)/$(echo "$1" | cut -c3-)"; }; chmod u+w "$(f "$other")"; cp "$(f "$blob")" "$(f "$other")""#,
    ),
    ("a branch that is no commit", r#"echo "$blob" > "$G/refs/heads/evil""#),
    (
        "a commit without an author",
        r#"git update-ref refs/heads/evil "$(printf 'tree %s\n\nx\n' "$(git rev-parse 'HEAD^{tree}')" | git hash-object -t commit -w --stdin --literally)""#,
    ),
    (
        "a pack that is none",
        r#"mkdir -p "$G/objects/pack"; head -c 3000 /dev/urandom > "$G/objects/pack/pack-$(printf '%040d' 7).pack"; echo 1234567890123456789012345678901234567890 > "$G/refs/heads/evil""#,
    ),
];

#[test]
fn p14_what_is_unfit_does_not_arrive_and_keeps_honest_work_from_nothing() {
    require_engine!("bubblewrap");
    for (git, kind) in some() {
        let case = Case::new(git, kind);
        for (name, script) in UNFIT {
            let before = case.control_files();
            let finished = case.guest(&with_honest_work(script)).run().ok();
            let context = format!("'{name}', {kind:?}, {git:?}\n{finished}");
            let head = case.host(&case.checkout, &["rev-parse", "HEAD"]).ok().stdout;
            assert_eq!(finished.stdout.lines().last(), Some(head.trim()), "honest work did not arrive: {context}");
            let evil = case.host(&case.checkout, &["rev-parse", "--verify", "--quiet", "refs/heads/evil"]);
            assert_ne!(evil.code, Some(0), "it arrived: {context}");
            assert!(finished.stderr.contains("evil"), "the user was not told: {context}");
            assert_eq!(before.changes(&case.control_files()), Vec::<String>::new(), "{context}");
            case.host(&case.checkout, &["fsck", "--strict", "--no-dangling"]).ok();
            assert!(!case.canary().exists(), "{context}");
            case.tidy();
        }
        case.life_goes_on();
    }
}

#[test]
fn p14_shown_able_to_fail() {
    require_engine!("bubblewrap");
    let (git, kind) = all()[0];
    let case = Case::new(git, kind);
    case.guest(&with_honest_work(UNFIT[0].1)).mutant("p14_fsck").run().ok();
    let arrived = case.host(&case.checkout, &["rev-parse", "--verify", "--quiet", "refs/heads/evil"]);
    assert_eq!(arrived.code, Some(0), "with the guard off the tree must arrive");

    // A branch that is a link to a file with a commit's name in it.
    let case = Case::new(git, kind);
    let script = "git rev-parse HEAD~1 > \"$G/outside\"; ln -s \"$G/outside\" \"$G/refs/heads/linked\"; ls -l \"$G/refs/heads/linked\"";
    let linked = ["rev-parse", "--verify", "--quiet", "refs/heads/linked"];
    case.guest(script).run().ok();
    assert_ne!(case.host(&case.checkout, &linked).code, Some(0));
}

/// An object the user already has cannot be replaced: neither loose ones nor packed ones.
#[test]
fn p14_forged_versions_of_the_users_objects_change_nothing() {
    require_engine!("bubblewrap");
    for (git, kind) in some() {
        let case = Case::new(git, kind);
        let list = ["cat-file", "--batch-all-objects", "--batch"];
        let before = case.host(&case.checkout, &list).ok().stdout;
        let script = r#"
            evil=$(echo evil | git hash-object -w --stdin); e="$G/objects/$(echo "$evil" | cut -c1-2)/$(echo "$evil" | cut -c3-)"
            git -C "$W" cat-file --batch-all-objects --batch-check='%(objectname)' | while read -r o; do [ "$o" != "$evil" ] || continue
                d="$G/objects/$(echo "$o" | cut -c1-2)"; mkdir -p "$d"; cp -f "$e" "$d/$(echo "$o" | cut -c3-)"
            done
            git pack-refs --all; git rev-parse HEAD > "$G/refs/heads/again""#;
        let finished = case.guest(script).run().ok();
        assert_eq!(before, case.host(&case.checkout, &list).ok().stdout, "{finished}");
        case.host(&case.checkout, &["fsck", "--strict"]).ok();
        let elsewhere = case.world.home().join("elsewhere");
        case.host(&case.checkout, &["worktree", "add", "--quiet", "--detach", elsewhere.to_str().expect("UTF-8")]).ok();
        assert_eq!(case.world.read(elsewhere.join("file")), "three\n");
        case.life_goes_on();
    }
}
