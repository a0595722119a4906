//! The host and a hostile guest at the same time.

use workmux_tests::{Finished, Git, Sandbox, Snapshot, on_every_sandbox, require_engine, wait_until};

use super::case::{Case, Kind, all, all_on};

on_every_sandbox!(
    p13_a_host_that_works_meanwhile_finds_only_its_own_work,
    p14_two_who_commit_at_once_keep_both,
    p14_work_crosses_while_the_guest_runs
);

/// Attacks everything over and over until `stop` appears in the checkout.
const STORM: &str = r#"
touch started; mkdir -p "$G/hooks" "$G/objects/pack"
while [ ! -e stop ]; do
    ( printf '[core]\n\tfsmonitor = %s #\n' "$PLANT" >> "$G/config"
      printf '#!/bin/sh\n%s\n' "$PLANT" > "$G/hooks/post-commit"; chmod 755 "$G/hooks/post-commit"
      rm -f "$A/HEAD"; ln -s "$OUT/rc" "$A/HEAD"; rm -f "$A/HEAD"; mkfifo "$A/HEAD"; rm -f "$A/HEAD"; echo "ref: refs/heads/../../x" > "$A/HEAD"
      rm -f "$A/index"; ln -s "$OUT/index" "$A/index"; rm -f "$A/index"; head -c 300 /dev/urandom > "$A/index"
      rm -rf "$G/refs/heads"; ln -s "$OUT/folder" "$G/refs/heads"; rm "$G/refs/heads"; mkdir "$G/refs/heads"; mkfifo "$G/refs/heads/main"; rm "$G/refs/heads/main"
      rm -rf "$G/logs"; ln -s "$OUT/folder" "$G/logs"; rm "$G/logs"; mkdir "$G/logs"
      mv "$G/objects/pack" "$G/objects/p"; ln -s "$OUT/folder" "$G/objects/pack"; rm "$G/objects/pack"; mv "$G/objects/p" "$G/objects/pack"
      echo /tmp > "$G/objects/info/alternates"; mv "$W/.git" "$W/q"; rm -rf "$W/.git"; echo evil > "$W/.git"
      echo x > "$G/host/objects/x"; mkdir "$G/worktrees/new"; rm -rf "$G/worktrees" ) 2> /dev/null || true
done
true
"#;

fn p13_a_host_that_works_meanwhile_finds_only_its_own_work(on: Sandbox) {
    for (git, kind) in all_on(on) {
        let case = Case::on(on, git, kind);
        let (control, home) = (case.control_files(), case.home());
        let guest = case.guest(STORM).start();
        wait_until("the guest attacks", || case.checkout.join("started").exists());
        for round in 0..3 {
            for words in [
                &["config", "user.signature", "x"][..],
                &["commit", "--quiet", "--allow-empty", "--message=live"],
                &["gc", "--quiet"],
                &["status"],
                &["pack-refs", "--all"],
                &["config", "--unset", "user.signature"],
            ] {
                let finished = case.host(&case.checkout, words).ok();
                assert!(!case.canary().exists(), "round {round}: {finished}");
            }
        }
        case.world.write(case.checkout.join("stop"), "");
        let finished = guest.wait().ok();
        for name in ["stop", "started"] {
            case.world.program("rm").arg(case.checkout.join(name)).run().ok();
        }
        let log = case.host(&case.checkout, &["log", "--format=%s", "-3"]).ok().stdout;
        assert_eq!(log, "live\nlive\nlive\n", "{finished}");
        // What the host's own commands changed, and nothing else.
        let changes = control.changes(&case.control_files());
        let own = |c: &String| {
            [
                "! packed-refs",
                "+ info/refs",
                "! info/refs",
                "+ gc.",
                "! config",
                "! worktrees/other/logs/HEAD",
                "+ worktrees/topic/COMMIT_EDITMSG",
            ]
            .iter()
            .any(|o| c.starts_with(o))
        };
        assert!(changes.iter().all(own), "{changes:#?}\n{finished}");
        let config = case.host(&case.checkout, &["config", "--list"]).ok();
        assert!(!config.stdout.contains("canary") && !config.stdout.contains("fsmonitor"), "{config}");
        assert_eq!(home.changes(&case.home()), Vec::<String>::new(), "{finished}");
        case.nothing_left("a storm");
        case.life_goes_on();
    }
}

/// Both commit on the same branch: nobody's work is lost, and the user is told where the guest's is.
fn p14_two_who_commit_at_once_keep_both(on: Sandbox) {
    for (git, kind) in all_on(on) {
        // The host's commit may reach the guest a moment before its own; then it was one after the other.
        let at_once = (0..10).any(|_| two_commits(on, git, kind));
        assert!(at_once, "never at once: {kind:?} {git:?}");
    }
}

/// Answers whether both really committed on what was there before.
fn two_commits(on: Sandbox, git: Git, kind: Kind) -> bool {
    let case = Case::on(on, git, kind);
    // Until the host's commit is there the guest's git directory does not change: with any change it would come in.
    let script = r#"
        mkdir /tmp/o; export GIT_ALTERNATE_OBJECT_DIRECTORIES="$G/objects"; b=$(git symbolic-ref HEAD); old=$(git rev-parse HEAD)
        c=$(GIT_OBJECT_DIRECTORY=/tmp/o git commit-tree -p HEAD -m guest 'HEAD^{tree}'); touch ready
        while [ ! -e go ]; do sleep 0.02; done
        rm go ready; cp -r /tmp/o/* "$G/objects/"; git update-ref "$b" "$c" "$old" 2>/dev/null && echo "$c" || echo late"#;
    let guest = case.guest(script).start();
    wait_until("the guest is ready", || case.checkout.join("ready").exists());
    let branch = case.host(&case.checkout, &["symbolic-ref", "HEAD"]).ok().stdout;
    case.host(&case.checkout, &["commit", "--quiet", "--allow-empty", "--message=host"]).ok();
    case.world.write(case.checkout.join("go"), "");
    let finished = guest.wait().ok();
    let theirs = finished.stdout.trim().to_owned();
    let log = case.host(&case.checkout, &["log", "--format=%s", "-1"]).ok().stdout;
    assert_eq!(log, "host\n", "{finished}");
    if theirs == "late" {
        return false;
    }
    let kept = case.host(&case.checkout, &["for-each-ref", "--format=%(objectname) %(refname)", "refs/wm"]).ok().stdout;
    let line = kept.lines().find(|l| l.starts_with(&theirs)).unwrap_or_else(|| panic!("{kept}\n{finished}"));
    let place = line.split(' ').nth(1).expect("a name");
    assert!(place.ends_with(branch.trim().trim_start_matches("refs/")), "{place}");
    finished.warns(place);
    case.host(&case.checkout, &["merge", "--quiet", "--message=both", place]).ok();
    case.life_goes_on();
    true
}

/// What the host does while a guest runs reaches the guest, and what the guest does reaches the host before its end.
fn p14_work_crosses_while_the_guest_runs(on: Sandbox) {
    for (git, kind) in all_on(on) {
        let case = Case::on(on, git, kind);
        let script = r#"
            echo one > one; git add one; git commit -q -m 'from the guest'
            i=0; while ! git rev-parse -q --verify refs/tags/hello > /dev/null; do sleep 0.2; i=$((i+1)); [ $i -lt 50 ]; git tag tick$i; done
            git log -1 --format=%s hello"#;
        let guest = case.guest(script).start();
        wait_until("the commit is on the host", || {
            case.host(&case.checkout, &["log", "--format=%s", "-1"]).stdout == "from the guest\n"
        });
        // The branch first, then the index.
        wait_until("the index is on the host", || {
            case.host(&case.checkout, &["status", "--porcelain"]).ok().stdout.is_empty()
        });
        case.host(&case.checkout, &["tag", "hello", "HEAD~1"]).ok();
        // A sync gives as it takes: the guest's next change brings it.
        guest.wait().ok().says("third\n");
    }
}

/// P18: the user puts another repository in the place of the guest's while it runs. What was mounted over the old one
/// moved away with it, so the run ends at once.
#[test]
fn p18_another_repository_in_the_same_place_ends_the_run() {
    require_engine!("bubblewrap");
    for (git, kind) in all() {
        let (finished, finished_alone) = swapped(git, kind, "");
        let context = format!("{kind:?} {git:?} {finished}");
        assert!(!finished_alone, "{context}");
        assert_eq!(finished.code, Some(125), "{context}");
        finished.warns("was replaced while a sandbox was using it");
    }
}

#[test]
fn p18_shown_able_to_fail() {
    require_engine!("bubblewrap");
    let (git, kind) = all()[0];
    assert!(swapped(git, kind, "p18_record").1, "with the guard off the guest must go on");
}

/// Swaps the repository under a guest that then has two seconds. Answers how the run ended and whether the guest came
/// to its own end.
fn swapped(git: Git, kind: Kind, mutant: &str) -> (Finished, bool) {
    let case = Case::new(git, kind);
    let guest = case.guest("touch ready; sleep 2; touch over").mutant(mutant).start();
    wait_until("the guest is ready", || case.checkout.join("ready").exists());
    let swap = "mv .git .git-before && git init -q -b main . && git commit -q --allow-empty -m another";
    case.world.program("sh").args(["-c", swap]).dir(case.world.main()).run().ok();
    let main = case.world.main();
    let (new, old) = (Snapshot::of(&main.join(".git")), Snapshot::of(&main.join(".git-before")));
    let finished = guest.wait();
    assert_eq!(new.changes(&Snapshot::of(&main.join(".git"))), Vec::<String>::new(), "{finished}");
    assert_eq!(old.changes(&Snapshot::of(&main.join(".git-before"))), Vec::<String>::new(), "{finished}");
    (finished, case.checkout.join("over").exists())
}
