//! P16: repositories inside the work tree. Git on the host enters what its index calls a submodule and obeys the
//! configuration it finds there, so nothing of a guest's may come to lie there.

use workmux_tests::{World, require_engine};

use super::case::{Case, Kind, all};

/// A shell function of guests: makes a repository with one commit, whose configuration betrays every git that reads it.
const NEST: &str = r#"
nest() {
    git init -q "$1"; (cd "$1"; echo x > x; git add x; git -c user.name=g -c user.email=g@x commit -qm nested)
    printf '[core]\n\tfsmonitor = %s #\n\thooksPath = hooks\n[diff]\n\texternal = %s #\n[filter "x"]\n\tclean = %s #\n' "$PLANT" "$PLANT" "$PLANT" >> "$1/.git/config"
    echo '* filter=x' > "$1/.git/info/attributes"; echo more > "$1/x"
}
"#;

/// Host git as it is typed every day. None of it may run anything of the guest's.
fn everyday_git_runs_nothing(case: &Case) {
    let words: &[&[&str]] = &[
        &["status"],
        &["status", "--porcelain=v2", "--untracked-files=all"],
        &["diff"],
        &["diff", "HEAD"],
        &["commit", "--quiet", "--all", "--allow-empty", "--message=all"],
        &["status"],
        &["diff"],
        &["stash", "list"],
        &["log", "-p", "-1"],
    ];
    for words in words {
        let finished = case.host(&case.checkout, words);
        assert!(!case.canary().exists(), "the guest's code ran on the host\n{finished}");
        finished.ok();
    }
}

#[test]
fn p16_a_new_submodule_of_the_guests_stays_out_of_the_index_and_is_named() {
    require_engine!("bubblewrap");
    for (git, kind) in all() {
        for script in [
            "nest nest; git add nest; git commit -qm 'adds a submodule'",
            "nest nest; git add nest",
            "nest deep; mkdir a; mv deep a/nest; git add a; git commit -qm 'deep'; git rm -q --cached a/nest",
        ] {
            let case = Case::new(git, kind);
            let finished = case.guest(&format!("{NEST}{script}")).run().ok();
            let listed = case.host(&case.checkout, &["ls-files", "--stage"]).ok();
            assert!(!listed.stdout.contains("160000"), "{finished}\n{listed}");
            if !script.contains("--cached") {
                finished.warns("nest").warns("left out of the index");
            }
            everyday_git_runs_nothing(&case);
        }
    }
}

#[test]
fn p16_shown_able_to_fail() {
    require_engine!("bubblewrap");
    let (git, kind) = all()[0];
    let case = Case::new(git, kind);
    case.guest(&format!("{NEST} nest nest; git add nest")).mutant("p14_gitlinks").run().ok();
    case.host(&case.checkout, &["status"]).ok();
    assert!(case.canary().exists(), "with the guard off the guest's code must run");
}

/// A repository `library` of the user's, and a submodule `lib` of it in the project.
fn with_submodule(case: &Case) {
    let library = case.world.home().join("library");
    let setup = "set -e; git init -q -b main library; cd library; echo a > a; git add a; git commit -qm a";
    case.world.program("sh").args(["-c", setup]).dir(case.world.home()).run().ok();
    let url = library.to_str().expect("UTF-8");
    case.host(&case.checkout, &["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", url, "lib"]).ok();
    case.host(&case.checkout, &["commit", "--quiet", "--message=a submodule"]).ok();
}

#[test]
fn p16_the_users_own_submodules_cannot_be_turned_against_them() {
    require_engine!("bubblewrap");
    for (git, kind) in all() {
        let case = Case::new(git, kind);
        with_submodule(&case);
        let before = case.control_files();
        let script = r#"
            ! mv lib away 2>/dev/null; ! rm -rf lib 2>/dev/null; test -e lib/.git
            ! rm lib/.git 2>/dev/null; ! sh -c 'echo gitdir: /tmp > lib/.git' 2>/dev/null; ! mv lib/.git lib/q 2>/dev/null
            echo changed > lib/a 2>/dev/null || true
            git -C lib config core.fsmonitor "$PLANT #"; git -C lib config core.hooksPath hooks
            m=$(git -C lib rev-parse --absolute-git-dir); mkdir -p "$m/hooks" "$m/logs"
            printf '#!/bin/sh\n%s\n' "$PLANT" > "$m/hooks/pre-commit"; chmod 755 "$m/hooks/pre-commit"
            rm -f "$m/logs/HEAD"; ln -s "$OUT/rc" "$m/logs/HEAD""#;
        let finished = case.guest(script).run().ok();
        let after = case.control_files();
        assert_eq!(before.changes(&after), Vec::<String>::new(), "{finished}");
        everyday_git_runs_nothing(&case);
        case.host(&case.checkout.join("lib"), &["status"]).ok();
        case.host(&case.checkout.join("lib"), &["commit", "--quiet", "--all", "--allow-empty", "--message=m"]).ok();
        assert!(!case.canary().exists(), "{finished}");
    }
}

#[test]
fn p16_honest_work_in_a_submodule_arrives() {
    require_engine!("bubblewrap");
    for (git, kind) in all() {
        let case = Case::new(git, kind);
        with_submodule(&case);
        let script = "cd lib; git switch -q -c work; echo more >> a; git commit -qam 'in the submodule'; cd ..; git status --short; git commit -qam outer";
        case.guest(script).run().ok();
        let log = case.host(&case.checkout.join("lib"), &["log", "--format=%s", "-1"]).ok();
        assert_eq!(log.stdout, "in the submodule\n", "{log}");
        let log = case.host(&case.checkout, &["log", "--format=%s", "-1"]).ok();
        assert_eq!(log.stdout, "outer\n", "{log}");
        everyday_git_runs_nothing(&case);
    }
}

#[test]
fn p16_a_submodule_that_is_not_checked_out_is_covered() {
    require_engine!("bubblewrap");
    for (git, kind) in all() {
        let case = Case::new(git, kind);
        with_submodule(&case);
        case.host(&case.checkout, &["submodule", "--quiet", "deinit", "--force", "lib"]).ok();
        let script = format!("{NEST} ! rmdir lib 2>/dev/null; ! mv lib x 2>/dev/null; nest lib");
        let finished = case.guest(&script).run().ok();
        assert!(!case.checkout.join("lib/.git").exists(), "{finished}");
        finished.warns("'lib'");
        everyday_git_runs_nothing(&case);
    }
}

#[test]
fn p09_a_link_where_a_submodule_belongs_leads_the_host_nowhere() {
    require_engine!("bubblewrap");
    let (git, _) = all()[0];
    let case = Case::new(git, Kind::Linked);
    with_submodule(&case);
    case.host(&case.checkout, &["submodule", "--quiet", "deinit", "--force", "lib"]).ok();
    // What an earlier guest, or a checkout of its commit, can have left.
    case.world.program("sh").args(["-c", "rmdir lib; ln -s ../../outside lib"]).dir(&case.checkout).run().ok();
    let home = case.home();
    case.guest("true").run().code(125).warns("lib");
    assert_eq!(home.changes(&case.home()), Vec::<String>::new());
    case.nothing_left("after a refusal");
}

#[test]
fn p16_a_repository_in_the_place_of_tracked_files_is_no_submodule() {
    require_engine!("bubblewrap");
    for (git, kind) in all() {
        for script in ["rm -r sub; nest sub", "rm file; nest file", "rm -r sub; nest sub; git add -A; git reset -q"] {
            let case = Case::new(git, kind);
            case.guest(&format!("{NEST}{script}")).run().ok();
            for words in [&["status"][..], &["diff"], &["diff", "HEAD"], &["stash", "list"]] {
                let finished = case.host(&case.checkout, words);
                assert!(!case.canary().exists(), "'{script}': the guest's code ran on the host\n{finished}");
                finished.ok();
            }
        }
    }
}

/// A user may keep checkouts inside the main one. A guest of the main checkout must not turn them against the user.
fn checkout_inside(mutant: &str) -> (Case, workmux_tests::Finished) {
    let (git, _) = all()[0];
    let case = Case::new(git, Kind::Main);
    case.host(&case.checkout, &["worktree", "add", "--quiet", "-b", "inside", "trees/deep/inside"]).ok();
    let script = r#"
        nest evil; mv evil/.git /tmp/evil; cp -r /tmp/evil evil-git
        echo "gitdir: $W/evil-git" > trees/deep/inside/.git || true; rm -rf trees/deep/inside || true
        if mv trees x; then mkdir -p trees/deep/inside; echo "gitdir: $W/evil-git" > trees/deep/inside/.git; fi
        if mv trees/deep trees/y; then mv trees/y trees/deep; fi; echo x > trees/deep/inside/file || true; echo fine > trees/deep/beside; ls trees/deep/inside"#;
    let finished = case.guest(&format!("{NEST}{script}")).mutant(mutant).run();
    let inside = case.checkout.join("trees/deep/inside");
    if inside.is_dir() {
        case.host(&inside, &["status"]);
    }
    (case, finished)
}

#[test]
fn p13_other_checkouts_inside_this_one_are_out_of_reach() {
    require_engine!("bubblewrap");
    let (case, finished) = checkout_inside("");
    assert!(!case.canary().exists(), "{finished}");
    let inside = case.checkout.join("trees/deep/inside");
    assert_eq!(case.host(&inside, &["status", "--porcelain"]).ok().stdout, "", "{finished}");
    assert_eq!(case.world.read(case.checkout.join("trees/deep/beside")), "fine\n");
    finished.ok();
    case.nothing_left("a checkout inside");
    // Shown able to fail.
    assert!(checkout_inside("p13_checkouts_inside").0.canary().exists());
}

/// The repositories of a user with many files: what is looked for is in git's records, not in the tree.
#[test]
fn p16_the_start_does_not_walk_the_tree() {
    require_engine!("bubblewrap");
    let world = World::new();
    world.user_config("sandbox: { enabled: true, backend: bubblewrap, network: { policy: deny } }");
    let closed = world.main().join("closed");
    world.folder(&closed);
    // Whoever walks the tree fails here, or says so.
    world.program("chmod").arg("000").arg(&closed).run().ok();
    let finished = world.workmux(&["sandbox", "shell", "--", "true"]).run();
    world.program("chmod").arg("700").arg(&closed).run().ok();
    assert_eq!(finished.clone().ok().stderr, "", "{finished}");
}
