//! Which programs are asked: those that nobody but the user can have put there.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::scene::{asks, configure, fails, program, put, world};

const CANARY: &str = "#!/bin/sh\ntouch CANARY\n";

#[test]
fn p12_a_program_that_others_could_have_put_there_is_not_asked() {
    let world = world();
    let canary = world.home().join("canary");
    let text = CANARY.replace("CANARY", canary.to_str().unwrap());
    asks(&world, &text, "");
    let path = program(&world);
    let mode = |of: &std::path::Path, mode| fs::set_permissions(of, PermissionsExt::from_mode(mode)).unwrap();
    let folder = path.parent().unwrap();

    mode(&path, 0o757);
    fails(&world, "'sandbox.bridge.executable': others can write").warns("chmod go-w");
    mode(&path, 0o644);
    fails(&world, "is not executable").warns("chmod u+x");
    mode(&path, 0o755);
    mode(folder, 0o777);
    fails(&world, "others can write");
    mode(folder, 0o755);
    symlink(&path, world.home().join("link")).unwrap();
    let checked_out = world.main().join("tools/backend");
    put(&world, &checked_out, &text);
    for (executable, why) in [
        ("programs/backend".to_owned(), "is not an absolute path"),
        ("~/programs/backend".to_owned(), "is not an absolute path"),
        (world.home().join("gone").display().to_string(), "cannot be used: No such file"),
        (folder.display().to_string(), "is not a regular file"),
        (world.home().join("link").display().to_string(), "leads elsewhere: write '"),
        (checked_out.display().to_string(), "lies in the git checkout"),
    ] {
        configure(&world, &executable, "");
        fails(&world, why).warns("'sandbox.bridge.executable'");
    }
    assert!(!canary.exists(), "it was started all the same");
    // Shown able to fail: nothing is wrong with it now, and it is asked.
    configure(&world, &path.display().to_string(), "");
    fails(&world, "did not answer 'describe'");
    assert!(canary.exists());
}

#[test]
fn p27_a_project_names_no_program() {
    let world = world();
    let canary = world.home().join("canary");
    put(&world, &program(&world), &CANARY.replace("CANARY", canary.to_str().unwrap()));
    world.user_config("sandbox: { backend: bridge, network: { policy: deny } }\n");
    let table = format!("{{ executable: '{}', timeout: 5, settings: {{ a: 1 }} }}", program(&world).display());
    world.project_config(&format!("sandbox: {{ bridge: {table} }}\n"));
    let run = world.shell(&["true"]).run().code(125).warns("'sandbox.bridge.executable': is not set");
    run.warns("sandbox.bridge.executable").warns("sandbox.bridge.timeout").warns("sandbox.bridge.settings");
    assert!(!canary.exists());
}

#[test]
fn a_program_that_the_guest_could_change_is_not_used() {
    let world = world();
    let honest = r#"#!/bin/sh
read -r line; id=${line#*'"id":'}
printf '%s\n' '{"id":'${id%%,*}',"ok":{"protocol":"0.1","isolation":"vm","features":{"mounts":true,"networks":["none"]}}}'
"#;
    put(&world, &program(&world), honest);
    let (folder, path) = (program(&world).parent().unwrap().to_owned(), program(&world));
    world.user_config(&format!(
        "sandbox:\n  backend: bridge\n  network: {{ policy: deny }}\n  extra_mounts: [{{ host_path: '{}', writable: true }}]\n  \
         bridge: {{ executable: '{}' }}\n",
        folder.display(),
        path.display()
    ));
    fails(&world, "the guest could change").warns(&path.display().to_string());
}
