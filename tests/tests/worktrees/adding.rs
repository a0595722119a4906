//! `workmux add`: where a branch starts, what things are called, what is refused before anything is made, and several at
//! once.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::Value;
use workmux_tests::{Finished, Snapshot, World, require_engine};

use super::case::{Worktrees, world};

/// What `--json` says of the one worktree that was made.
fn json(finished: Finished) -> Value {
    let all: Vec<Value> = serde_json::from_str(&finished.ok().stdout).expect("JSON");
    let [one] = &all[..] else { panic!("{all:?}") };
    one.clone()
}

fn hash(world: &World, name: &str) -> String {
    world.git(&world.main(), &["rev-parse", name]).ok().stdout
}

#[test]
fn a_branch_starts_where_the_user_is_or_says() {
    let world = World::new();
    let git = |words: &[&str]| world.git(&world.main(), words).ok();
    git(&["commit", "-q", "--allow-empty", "-m", "second"]);
    git(&["branch", "old", "HEAD~"]);

    let made = json(world.add(&["one", "--json"]).run());
    assert_eq!((&made["name"], &made["branch"], &made["base"]), (&"one".into(), &"one".into(), &"main".into()));
    assert_eq!(made["path"], world.tree("one").to_str().unwrap());
    assert_eq!((made["running"].as_bool(), made["sandboxed"].as_bool()), (Some(false), Some(false)));
    assert_eq!(hash(&world, "one"), hash(&world, "main"));

    assert_eq!(json(world.add(&["two", "--base", "old", "--json"]).run())["base"], "old");
    assert_eq!(hash(&world, "two"), hash(&world, "old"));
    // A commit is no branch to merge into later.
    assert_eq!(json(world.add(&["three", "--base", "HEAD~", "--json"]).run())["base"], Value::Null);
    assert_eq!(hash(&world, "three"), hash(&world, "old"));
    // From another worktree it is that one's branch.
    assert_eq!(json(world.add(&["four", "--json"]).dir(world.tree("two")).run())["base"], "two");
    assert_eq!(hash(&world, "four"), hash(&world, "old"));
    git(&["checkout", "-q", "--detach", "old"]);
    assert_eq!(json(world.add(&["five", "--json"]).run())["base"], Value::Null);
    assert_eq!(hash(&world, "five"), hash(&world, "old"));
    world.user_config("base_branch: auto\n");
    assert_eq!(json(world.add(&["six", "--json"]).run())["base"], "main");

    for base in ["nowhere", "--all", "nowhere~3", ""] {
        let base = format!("--base={base}");
        world.add(&["seven", &base]).run().code(1).warns("there is no branch or commit");
    }
    assert!(!world.branches().contains(&"seven".to_owned()));
    assert_eq!(world.records().len(), 6);
    // A branch that git follows nothing with: nothing is pushed anywhere by accident.
    assert!(!world.read(world.git_dir().join("config")).contains("[branch"));
}

#[test]
fn a_remote_branch_becomes_a_local_one() {
    let world = World::new();
    let git = |words: &[&str]| world.git(&world.main(), words).ok();
    git(&["remote", "add", "origin", "/nowhere"]);
    git(&["update-ref", "refs/remotes/origin/feature/x", "main"]);
    let made = json(world.add(&["origin/feature/x", "--json"]).run());
    assert_eq!((&made["branch"], &made["name"]), (&"feature/x".into(), &"feature-x".into()));
    world.add(&["origin/absent"]).run().code(1).warns("there is no 'origin/absent'").warns("git fetch origin");
    world.add(&["origin/HEAD"]).run().code(1);
    assert_eq!(world.branches(), ["feature/x", "main"]);
}

#[test]
fn a_branch_that_is_there_is_worked_on() {
    let world = World::new();
    world.git(&world.main(), &["branch", "there"]).ok();
    world.add(&["there", "--base", "main"]).run().code(1).warns("there is a branch 'there' already").warns("--base");
    world.add(&["main"]).run().code(1);
    assert_eq!(world.records().len(), 0);
    assert!(!world.tree("there").exists());
    world.add(&["there"]).run().ok().says("✓ Created worktree 'there'");
    assert_eq!(world.git(&world.tree("there"), &["branch", "--show-current"]).ok().stdout, "there\n");
    // It was not ours to make, and it is not ours to take away when making fails.
    world.git(&world.main(), &["branch", "other"]).ok();
    world.user_config("post_create: [exit 3]\n");
    world.add(&["other"]).run().code(1);
    assert_eq!(world.branches(), ["main", "other", "there"]);
    // There twice: said, and gone to.
    world.add(&["there"]).run().code(1).warns("there is a worktree 'there' already").warns("workmux open there");
    world.add(&["there", "--open-if-exists", "-b", "-p", "exit 0"]).run().ok();
    assert_eq!(world.records().len(), 1);
}

#[test]
fn a_repository_without_a_commit_is_told_what_to_do() {
    let world = World::without_repository();
    world.folder(&world.main());
    world.git(&world.main(), &["init", "-q"]).ok();
    world.add(&["x"]).run().code(1).warns("no commit to start from").warns("git commit");
    assert!(!world.home().join("project__worktrees").exists());
    assert!(world.records().is_empty());
    assert_eq!(fs::read_dir(world.git_dir().join("refs/heads")).unwrap().count(), 0);
    let elsewhere = world.add(&["x"]).dir(world.home()).run().code(1);
    elsewhere.warns("git");
}

#[test]
fn p2_names_become_directories_and_windows_of_plain_letters() {
    let world = World::new();
    world.add(&["prj-4120/Create_Tags"]).run().ok();
    assert!(world.tree("prj-4120-create-tags").join("README.md").exists());
    let canary = world.home().join("canary");
    let evil = format!("x-$(touch${{IFS}}{})", canary.display());
    world.add(&[&evil]).run().ok();
    world.add(&["named", "--name", "../My Näme"]).run().ok();
    assert!(world.tree("my-name").exists());
    world.add(&["other", "--name", "###"]).run().code(1).warns("--name");
    world.user_config("worktree_naming: basename\nworktree_prefix: web-\n");
    world.add(&["feature/login"]).run().ok();
    assert!(world.tree("web-login").exists());
    // Another branch with the same handle: nothing of it is left, and the first is as it was.
    let before = Snapshot::of(&world.tree("web-login"));
    world.add(&["bug/login"]).run().code(1).warns("there is a worktree 'web-login' already").warns("--name");
    assert_eq!(before.changes(&Snapshot::of(&world.tree("web-login"))), [""; 0]);
    assert!(!world.branches().contains(&"bug/login".to_owned()));
    // A directory that is none of ours stays.
    world.write(world.tree("web-taken").join("file"), "mine");
    world.add(&["taken"]).run().code(1).warns("exists already");
    assert_eq!(world.read(world.tree("web-taken").join("file")), "mine");
    assert!(!world.branches().contains(&"taken".to_owned()));
    assert!(!canary.exists());
}

#[test]
fn p6_names_that_are_tricks_are_refused_before_anything_is_made() {
    let world = World::new();
    world.git(&world.main(), &["remote", "add", "origin", "/nowhere"]).ok();
    let before = Snapshot::of(&world.git_dir());
    let long = "x".repeat(201);
    for bad in [
        "..",
        "a..b",
        "a@{0}",
        "x.lock",
        "HEAD",
        "@",
        "refs/heads/x",
        "a b",
        "a\nb",
        "a/-b",
        "origin/../x",
        "a\u{202e}b",
        "a\u{1b}[31mb",
        "/x",
        "x/",
        "a//b",
        "a~1",
        "a^",
        "a:b",
        "a\\b",
        "a?",
        "a*",
        "a[",
        ".x",
        &long,
        "",
    ] {
        let run = world.add(&["--", bad]).run();
        assert_eq!(run.code, Some(1), "{bad:?}\n{run}");
        assert!(!run.stderr.contains(['\u{1b}', '\u{202e}']), "{bad:?}\n{run}");
    }
    for bad in ["-D", "--", "--help"] {
        world.add(&["--", bad]).run().code(1).warns("begins with '-'");
    }
    assert_eq!(before.changes(&Snapshot::of(&world.git_dir())), [""; 0]);
    assert!(!world.home().join("project__worktrees").exists() && world.records().is_empty());
}

#[test]
fn p7_worktrees_inside_the_main_checkout_stay_inside_it() {
    let world = World::new();
    world.project_config("worktree_dir: .worktrees/{project}\n");
    world.add(&["one"]).run().ok();
    assert!(world.main().join(".worktrees/project/one/README.md").exists());
    world.workmux(&["remove", "one"]).run().ok();
    fs::remove_dir_all(world.main().join(".worktrees")).unwrap();

    // Whoever may write into the checkout cannot lead us out of it.
    let canary = world.home().join("canary");
    world.folder(&canary);
    for planted in [".worktrees", ".worktrees/project"] {
        let at = world.main().join(planted);
        world.folder(at.parent().unwrap());
        symlink(&canary, &at).unwrap();
        world.user_config("worktree_dir: .worktrees/{project}\n");
        world.add(&["two"]).run().code(1).warns("cannot make the directory for worktrees");
        fs::remove_file(&at).unwrap();
    }
    assert_eq!(fs::read_dir(&canary).unwrap().count(), 0);
    fs::remove_dir(world.main().join(".worktrees")).unwrap();
    assert_eq!(world.branches(), ["main"]);
    world.user_config("");
    // A project may not have them anywhere else.
    for elsewhere in ["../elsewhere", "/tmp/elsewhere", "~/elsewhere", "x/../../elsewhere"] {
        world.project_config(&format!("worktree_dir: '{elsewhere}'\n"));
        world.add(&["three"]).run().ok().warns("'worktree_dir' is not used");
        assert!(world.tree("three").exists());
        world.workmux(&["remove", "three"]).run().ok();
    }
    // The user may.
    world.project_config("");
    world.user_config("worktree_dir: ~/trees/{project}\n");
    world.add(&["four"]).run().ok();
    assert!(world.home().join("trees/project/four/README.md").exists());
    world.user_config("worktree_dir: ~/trees/{branch}\n");
    world.add(&["five"]).run().code(1).warns("'{project}' is the only placeholder");
}

#[test]
fn changes_move_over_and_come_back_where_that_fails() {
    let world = World::new();
    let git = |words: &[&str]| world.git(&world.main(), words).ok().stdout;
    let status = |dir: &std::path::Path| world.git(dir, &["status", "--porcelain"]).ok().stdout;
    let dirty = || {
        world.write(world.main().join("README.md"), "changed\n");
        world.write(world.main().join("staged"), "staged\n");
        git(&["add", "staged"]);
        world.write(world.main().join("untracked"), "new\n");
    };
    dirty();
    world.add(&["tracked", "--with-changes"]).run().ok();
    assert_eq!(status(&world.main()), "?? untracked\n");
    assert_eq!(status(&world.tree("tracked")), " M README.md\nA  staged\n");

    dirty();
    world.add(&["all", "-w", "-u"]).run().ok();
    assert_eq!(status(&world.main()), "");
    assert_eq!(status(&world.tree("all")), " M README.md\nA  staged\n?? untracked\n");
    assert_eq!(world.read(world.tree("all").join("untracked")), "new\n");
    assert_eq!(git(&["stash", "list"]), "");
    // Nothing to move is no reason to fail, and an older stash is nobody's business.
    dirty();
    git(&["stash", "-q"]);
    world.add(&["none", "-w"]).run().ok();
    assert_eq!(git(&["stash", "list"]).lines().count(), 1);
    git(&["stash", "drop", "-q"]);
    fs::remove_file(world.main().join("untracked")).unwrap();

    // Where they do not fit, and where a later step fails, they are back, staged as they were.
    git(&["checkout", "-q", "--orphan", "else"]);
    git(&["rm", "-rfq", "."]);
    git(&["commit", "-q", "--allow-empty", "-m", "empty"]);
    git(&["checkout", "-q", "main"]);
    dirty();
    let before = (status(&world.main()), Snapshot::without(&world.main(), &[".git"]));
    let back = |finished: Finished, name: &str| {
        finished.code(1);
        assert_eq!(status(&world.main()), before.0);
        assert_eq!(before.1.changes(&Snapshot::without(&world.main(), &[".git"])), [""; 0]);
        assert!(!world.branches().contains(&name.to_owned()) && !world.tree(name).exists(), "{name}");
        assert_eq!(git(&["stash", "list"]), "");
    };
    back(world.add(&["unfit", "-w", "-u", "--base", "else"]).run(), "unfit");
    world.user_config("post_create: [exit 3]\n");
    back(world.add(&["hooked", "-w", "-u"]).run(), "hooked");
    world.user_config("");
    // What cannot be meant is said before anything moves.
    world.add(&["x", "-w", "-n", "2"]).run().code(2).warns("--with-changes fits one worktree");
    world.add(&["x", "-u"]).run().code(2);
    assert_eq!(status(&world.main()), before.0);
}

#[test]
fn changes_move_over_although_worktrees_lie_in_the_checkout() {
    let world = World::new();
    world.user_config("worktree_dir: .worktrees\n");
    world.add(&["first"]).run().ok();
    let first = world.main().join(".worktrees/first");
    world.write(first.join("work"), "precious\n");
    world.write(world.main().join("untracked"), "new\n");
    world.add(&["second", "-w", "-u"]).run().ok();
    assert_eq!(world.read(first.join("work")), "precious\n");
    assert_eq!(world.read(world.main().join(".worktrees/second/untracked")), "new\n");
    assert!(!world.main().join("untracked").exists());
    world.git(&first, &["status"]).ok();
}

#[test]
fn several_are_made_at_once() {
    let mut world = World::new();
    let agent = "#!/bin/sh\nprintf '%s' \"$*\" > .workmux/words\nexec cat\n";
    for name in ["claude", "codex", "gemini"] {
        world.put_program(name, agent);
    }
    let words = |handle: &str| {
        let file = world.tree(handle).join(".workmux/words");
        workmux_tests::wait_for("an agent's words", || fs::read_to_string(&file).ok().filter(|text| !text.is_empty()))
    };
    world.add(&["many", "-n", "2", "-p", "part {{ num }} of {{ all }}"]).run().ok();
    assert_eq!(words("many-1"), "-- part 1 of {{ all }}");
    assert_eq!(words("many-2"), "-- part 2 of {{ all }}");
    world.add(&["on", "--foreach", "os:Linux,mac;db:pg,my", "-p", "{{os}}/{{ db }}"]).run().ok();
    assert_eq!((words("on-linux-pg"), words("on-mac-my")), ("-- Linux/pg".into(), "-- mac/my".into()));
    let two = ["both", "-a", "codex", "-a", "gemini", "-p", "with {{ agent }}", "--json"];
    let made: Vec<Value> = serde_json::from_str(&world.add(&two).run().ok().stdout).unwrap();
    let agents: Vec<_> =
        made.iter().map(|one| (one["name"].as_str().unwrap(), one["agent"].as_str().unwrap())).collect();
    assert_eq!(agents, [("both-codex", "codex"), ("both-gemini", "gemini")]);
    assert_eq!(words("both-codex"), "--no-daemon -- with codex");
    assert_eq!(words("both-gemini"), "-i with gemini");
    // A name of ours is numbered where it is taken; one of the user's is not.
    for name in ["fix-login", "fix-login-2", "fix-login-3"] {
        let made = world.add(&["-p", "Please fix the login"]).run().ok();
        made.says(&format!("✓ Created worktree '{name}'"));
    }
    world.add(&["ignored", "-A", "-p", "fix the login"]).run().ok().says("✓ Created worktree 'fix-login-4'");
    world.add(&["-n", "2", "-p", "fix the login"]).run().ok().says("'fix-login-1'").says("'fix-login-2-2'");

    let before = world.branches();
    for (words, why) in [
        (&["x", "-n", "0", "-p", "y"][..], "at least 1"),
        (&["x", "-n", "33", "-p", "y"], "at most 32"),
        (&["x", "-n", "2", "--foreach", "a:b", "-p", "y"], "exclude each other"),
        (&["x", "--foreach", "a:b,c;d:e", "-p", "y"], "as many values"),
        (&["x", "-n", "2", "--name", "z", "-p", "y"], "--name fits one worktree"),
    ] {
        world.add(words).run().code(2).warns(why);
    }
    world.add(&["-p", "### !!"]).run().code(1).warns("no word to name a branch after");
    world.add(&[]).run().code(1).warns("give a branch, or a prompt");
    // Where the second cannot be made, the first is there, and said.
    world.add(&["many", "-n", "3", "-p", "y"]).run().code(1).warns("there is a worktree 'many-1' already");
    world.git(&world.main(), &["branch", "half-2"]).ok();
    let half = world.add(&["half", "-n", "2", "--base", "main", "-p", "y"]).run().code(1);
    half.says("'half-1'").warns("1 worktree(s) were made before this failed");
    let mut expected = before;
    expected.extend(["half-1".to_owned(), "half-2".to_owned()]);
    expected.sort();
    assert_eq!(world.branches(), expected);
    world.workmux(&["remove", "--all", "--force"]).run().ok();
    world.assert_clean();
}

#[test]
fn p37_a_branch_is_named_by_the_users_generator_and_by_nobody_elses() {
    let world = World::new();
    let canary = world.home().join("canary");
    world.user_config("auto_name: { command: 'grep -o \"[a-z]*\" | head -n 1' }\n");
    world.project_config(&format!("auto_name: {{ command: 'touch {}' }}\n", canary.display()));
    world.add(&["-A", "-p", "zebra: $(touch x)", "--no-pane-cmds"]).run().ok().warns("'auto_name.command' is not used");
    assert_eq!(world.branches(), ["main", "zebra"]);
    assert!(!canary.exists());
    world.project_config("");
    for (command, why) in [
        ("exit 3", "'auto_name.command' failed"),
        ("echo -- -D", "begins with '-'"),
        ("echo '$(touch x)'", "said"),
        ("true", "it is empty"),
    ] {
        world.user_config(&format!("auto_name: {{ command: \"{command}\" }}\n"));
        world.add(&["-A", "-p", "x"]).run().code(1).warns("the branch could not be named").warns(why);
    }
    assert_eq!((world.branches().len(), world.records().len()), (2, 1));
}

#[test]
fn waiting_tells_how_it_went() {
    require_engine!("bubblewrap");
    let world = world();
    world.add(&["good", "-S", "-W", "-p", "workmux set-window-status done"]).run().ok();
    world.add(&["bad", "-S", "--wait", "-p", "exit 3"]).run().code(1).says("'bad'");
    world.add(&["ended", "-S", "-W", "-p", "exit 0"]).run().ok();
    // Not only one of several.
    let both = ["n", "-S", "-W", "--foreach", "code:0,5", "-p", "exit {{ code }}", "--json"];
    let made: Vec<Value> = serde_json::from_str(&world.add(&both).run().code(1).stdout).unwrap();
    let codes: Vec<_> = made.iter().map(|one| one["exit_code"].as_i64()).collect();
    assert_eq!(codes, [Some(0), Some(5)]);
    assert_eq!(world.agent_of("n-5")["exit_code"], 5);
    world.workmux(&["wait", "good", "ended"]).run().ok().says("good: done\nended: exited 0");
    world.workmux(&["wait", "good", "bad"]).run().code(1).warns("not done: bad");
    world.add(&["long", "-S", "-p", "true"]).run().ok();
    world.workmux(&["wait", "long", "--timeout", "0"]).run().code(1).warns("the time is over");
    world.workmux(&["remove", "--all", "-f"]).run().ok();
    world.assert_clean();
}

#[test]
fn another_file_may_stand_in_for_the_projects() {
    let world = World::new();
    world.project_config("worktree_prefix: project-\n");
    let other = world.home().join("other.yaml");
    world.write(&other, "worktree_prefix: other-\npost_create: ['touch made']\n");
    let run = world.add(&["x", "--config", other.to_str().unwrap()]).run().ok();
    // It has a project's limits, not a user's rights.
    run.says("'other-x'").warns("'post_create'");
    assert!(!world.tree("other-x").join("made").exists());
    world.add(&["y", "--config", "/nonexistent.yaml"]).run().code(1).warns("/nonexistent.yaml");
    assert_eq!(world.branches(), ["main", "x"]);
}

#[test]
fn status_of_everywhere_says_which_repository() {
    let world = World::new();
    world.add(&["one"]).run().ok();
    let said = world.workmux(&["status", "--everywhere"]).dir(world.home()).run().ok();
    said.says("REPOSITORY").says(&world.main().display().to_string());
    assert!(!world.workmux(&["status"]).run().ok().stdout.contains("REPOSITORY"));
}
