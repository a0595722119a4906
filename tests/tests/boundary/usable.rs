//! P23: the boundary leaves git whole. Everything people and agents do with git works in the guest, without noise,
//! and has happened on the host afterwards.

use workmux_tests::{Git, World, gits, require_engine};

use super::case::{Case, all};

/// Each step must succeed and complain about nothing.
const STEPS: &str = r#"
n=0
step() {
    n=$((n + 1))
    out=$("$@" 2>&1) || { echo "step $n failed with $?: $*: $out" >&2; exit 1; }
    case "$out" in *warning:*|*error:*|*fatal:*|*hint:*) echo "step $n complains: $*: $out" >&2; exit 1 ;; esac
}
commit() { echo "$1" > "$1"; git add "$1"; step git commit -q -m "$1"; }
cur=$(git symbolic-ref --short -q HEAD || echo HEAD); first=$(git rev-parse --verify -q HEAD || true)
"#;

/// The list of what must work.
const LIST: &str = r#"
step git status; commit c1; step git diff HEAD~1; step git log --oneline --graph --all; step git show; step git blame file
git switch -q -c left; echo left > file; step git commit -q -am left
step git switch -q "$cur"; echo right > file; step git commit -q -am right
! git merge -q left > /dev/null 2>&1; step git status; step git merge --abort
step git merge -q -X ours -m merged left; step git branch -d left
git switch -q -c series; commit s1; commit s2; commit s3
export GIT_EDITOR=true; GIT_SEQUENCE_EDITOR='sed -i 2s/^pick/squash/' step git rebase -q -i HEAD~3
step git rebase -q --onto "$first" "$cur" series; step git switch -q "$cur"; step git cherry-pick series; step git revert --no-edit HEAD
echo dirty >> file; step git stash push -q; step git stash list; step git stash pop -q; step git stash push -q; step git stash drop -q
step git branch -D packed; step git branch -m series renamed; step git tag light; step git tag -a -m heavy heavy; step git tag -d light
step git bisect start -q; step git bisect bad; step git bisect good "$first"; step git bisect run true; step git bisect reset
step git switch -q "$cur"
step git notes add -m note; step git notes show; step git reflog; step git reflog expire --expire=all refs/heads/renamed
step git pack-refs --all; step git gc --quiet; step git prune; step git repack -q -a -d; step git fsck --no-dangling; step git count-objects
step git worktree list; step git worktree prune; step git worktree add -q -b elsewhere /tmp/elsewhere; step git -C /tmp/elsewhere status
step git worktree remove /tmp/elsewhere
step git init -q --bare /tmp/remote; step git remote add r /tmp/remote; step git push -q r "$cur"; step git fetch -q r
step git branch -q --set-upstream-to "r/$cur"; step git status; step git pull -q --ff-only; step git clone -q -b "$cur" /tmp/remote /tmp/clone
step git config my.key value; step git config --get my.key; step git config --unset my.key; step git submodule update --init; step git submodule status
git config filter.up.clean 'tr a-z A-Z'; git config filter.up.smudge 'tr A-Z a-z'; echo '*.up filter=up' > .gitattributes
echo text > t.up; step git add .; step git commit -q -m filtered; test "$(git cat-file -p HEAD:t.up)" = TEXT
rm t.up; step git checkout -- t.up; test "$(cat t.up)" = text
step git sparse-checkout set sub; test ! -e side; step git status; step git config --worktree my.own x; step git sparse-checkout disable
mkdir -p "$(git rev-parse --git-path hooks)"; printf '#!/bin/sh\necho ran > hooked\n' > "$(git rev-parse --git-path hooks/post-commit)"; chmod 755 "$(git rev-parse --git-path hooks/post-commit)"
commit c2; test -e hooked; rm "$(git rev-parse --git-path hooks/post-commit)" hooked; step git maintenance run --quiet
step git format-patch -q -1 -o /tmp/patch; step git reset -q --hard HEAD~1; step git am -q /tmp/patch/*; step git describe --tags; step git archive -o /tmp/a.tar HEAD
step git mv c1 c1b; step git restore --staged --worktree . ; step git rm -q c1; step git commit -q -m 'no c1'; step git grep -q right HEAD -- file
step git commit -q --amend --no-edit; step git shortlog -s HEAD; step git clean -n; step git rerere; step git ls-files -s; step git update-index --refresh
step git rm -q t.up .gitattributes; step git commit -q -m unfiltered; step git switch -q -c last; commit c3; step git switch -q "$cur"; step git merge -q --squash last; step git commit -q -m squashed
test $n -ge 90 || { echo "only $n steps" >&2; exit 1; }
git rev-parse HEAD refs/heads/renamed refs/tags/heavy; git status --porcelain
"#;

fn steps(script: &str) -> String {
    format!("{STEPS}{script}")
}

#[test]
fn p23_everything_people_do_with_git_works() {
    require_engine!("bubblewrap");
    for (git, kind) in all() {
        let case = Case::new(git, kind);
        let finished = case.guest(&steps(LIST)).run().ok();
        let noise: Vec<_> = finished.stderr.lines().filter(|l| !allowed(l)).collect();
        assert!(noise.is_empty(), "{kind:?} {git:?}: {noise:#?}\n{finished}");
        let host = case.host(&case.checkout, &["rev-parse", "HEAD", "refs/heads/renamed", "refs/tags/heavy"]).ok();
        assert_eq!(host.stdout, finished.stdout, "{kind:?} {git:?}");
        let status = case.host(&case.checkout, &["status", "--porcelain"]).ok();
        assert_eq!(status.stdout, "", "{kind:?} {git:?}");
        case.life_goes_on();
        case.nothing_left("the list");
    }
}

/// What the host may say after the list: the guest deleted a branch, and made notes.
fn allowed(line: &str) -> bool {
    line.contains("the sandbox deleted 'refs/heads/packed'") || line.contains("'notes/commits' is kept at")
}

/// A repository made by `setup` in the home of a world with this git; the guest works in `checkout`.
fn shape(git: Git, setup: &str, checkout: &str, script: &str) {
    let world = World::with_git(git);
    world.user_config("sandbox: { enabled: true, backend: bubblewrap, network: { policy: deny } }");
    world.program("sh").args(["-c", &format!("set -e\n{setup}")]).dir(world.home()).run().ok();
    let dir = world.home().join(checkout);
    let script = format!("set -eu\n{}\ngit rev-parse HEAD; git status --porcelain", steps(script));
    let finished = world.workmux(&["sandbox", "shell", "--", "sh", "-c", &script]).dir(&dir).run().ok();
    assert_eq!(finished.stderr, "", "'{setup}' {git:?}");
    let ask = "git rev-parse HEAD; git status --porcelain; git fsck --strict >&2";
    let host = world.program("sh").args(["-c", ask]).dir(&dir).run().ok();
    assert_eq!(host.stdout, finished.stdout, "'{setup}' {git:?}\n{host}");
}

const WORK: &str = "step git status; commit one; git switch -q -c branch; commit two; step git switch -q \"$cur\"; \
                    step git merge -q --no-ff -m merged branch; step git stash list; step git log --all; step git gc -q; \
                    commit three";

#[test]
fn p23_every_shape_of_repository_works() {
    require_engine!("bubblewrap");
    for git in gits() {
        let plain =
            "git init -q r; cd r; mkdir sub other; echo a > sub/a; echo b > other/b; git add .; git commit -qm first;";
        shape(
            git,
            "git init -q --object-format=sha256 r; cd r; echo a > a; git add .; git commit -qm first",
            "r",
            WORK,
        );
        shape(
            git,
            "git init -q --object-format=sha256 r; cd r; echo a > a; git add .; git commit -qm first; git worktree add -q ../w",
            "w",
            WORK,
        );
        shape(git, &format!("{plain} git sparse-checkout set sub"), "r", &format!("test ! -e other; {WORK}"));
        shape(
            git,
            &format!(
                "{plain} git worktree add -q ../w; cd ../w; git sparse-checkout set sub; git config --worktree x.y z"
            ),
            "w",
            &format!("test ! -e other; {WORK}"),
        );
        shape(
            git,
            &format!("{plain} cd ..; git clone -q --bare r b.git; git -C b.git worktree add -q ../w main"),
            "w",
            WORK,
        );
        shape(
            git,
            "git init -q --separate-git-dir=away r; cd r; echo a > a; git add .; git commit -qm first",
            "r",
            WORK,
        );
        shape(git, &format!("{plain} git clone -q --depth 1 \"file://$PWD\" ../s"), "s", WORK);
        shape(git, &format!("{plain} git clone -q --shared . ../s"), "s", WORK);
        shape(git, &format!("{plain} git switch -q --detach"), "r", "commit one; commit two; step git log");
        shape(git, "git init -q r", "r", "commit one");
        let filter = "git config --global filter.up.clean 'tr a-z A-Z'; git config --global filter.up.smudge 'tr A-Z a-z'; \
                      git config --global filter.up.required true;";
        let filtered = "echo '*.t filter=up' > .gitattributes; echo word > w.t; step git add .; step git commit -q -m w; \
                        test \"$(git cat-file -p HEAD:w.t)\" = WORD";
        shape(git, &format!("{filter}{plain}"), "r", filtered);
        let modern = World::with_git(git).program("git").args(["init", "-q", "--ref-format=reftable", "r"]).run();
        if modern.code == Some(0) {
            let setup = "git init -q --ref-format=reftable r; cd r; echo a > a; git add .; git commit -qm first";
            shape(git, setup, "r", WORK);
            shape(git, &format!("{setup}; git worktree add -q ../w"), "w", WORK);
        }
    }
}

#[test]
fn p15_a_filter_whose_tool_the_guest_lacks_fails_instead_of_committing_raw_content() {
    require_engine!("bubblewrap");
    for (git, kind) in all() {
        let case = Case::new(git, kind);
        // Installed in the home, which no guest sees.
        let tool = case.world.home().join("bin/up");
        case.world.write(&tool, "#!/bin/sh\ntr a-z A-Z\n");
        let word = format!("filter.up.clean={}", tool.display());
        let (key, value) = word.split_once('=').expect("a setting");
        case.world.program("chmod").arg("755").arg(&tool).run().ok();
        case.host(&case.checkout, &["config", key, value]).ok();
        let script = "echo '*.t filter=up' > .gitattributes; echo word > w.t; git add .gitattributes; git add w.t";
        case.guest(script).run().code(128).warns("w.t");
    }
}
