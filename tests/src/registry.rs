//! An image registry of a test's own on loopback, and tiny images to push to it; and one that never answers.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;

use crate::given::given;
use crate::wait::wait_until;
use crate::world::World;

/// `tester` with the password `secret123`, as a registry keeps it and as engines keep it.
const KEPT: &str = "tester:$2y$05$xowb2OzKIdkr3rQX.ZIkCenilof041lfF6Ae1bwUDzUnpkj3XJdTq\n";
const RIGHT: &str = "dGVzdGVyOnNlY3JldDEyMw==";
/// `tester` with the password `wrong`.
const WRONG: &str = "dGVzdGVyOndyb25n";

/// A registry. It ends with this value.
pub struct Registry {
    server: Child,
    address: String,
    _folder: TempDir,
}

impl Registry {
    /// One that gives to everybody, or one that wants a password.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(password: bool) -> Self {
        let folder = TempDir::new_in(&given().worlds).expect("a folder can be made");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let (address, path) = (format!("127.0.0.1:{port}"), folder.path());
        let auth = match password {
            true => format!("auth: {{ htpasswd: {{ realm: test, path: {} }} }}\n", path.join("users").display()),
            false => String::new(),
        };
        let config = format!(
            "version: 0.1\nlog: {{ level: error, accesslog: {{ disabled: true }} }}\nstorage: {{ inmemory: {{}} }}\n\
             http: {{ addr: '{address}' }}\n{auth}"
        );
        std::fs::write(path.join("users"), KEPT).expect("a file can be written");
        std::fs::write(path.join("config.yml"), config).expect("a file can be written");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(path.join("config.yml")).stdin(Stdio::null()).stdout(Stdio::null());
        let server = command.stderr(Stdio::null()).process_group(0).spawn().expect("docker-registry is installed");
        wait_until("the registry to listen", || TcpStream::connect(&address).is_ok());
        Self { server, address, _folder: folder }
    }

    /// `HOST:PORT`
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Has this world's engine know the registry, with the right password or a wrong one or none.
    pub fn introduce(&self, world: &mut World, password: Option<bool>) {
        trust(world, &self.address);
        let secret = password.map(|right| if right { RIGHT } else { WRONG });
        let known = secret.map(|secret| format!(r#""{}": {{"auth": "{secret}"}}"#, self.address)).unwrap_or_default();
        let file = world.home().join("engine/config.json");
        world.write(&file, format!(r#"{{"auths": {{{known}}}}}"#));
        world.set("DOCKER_CONFIG", world.home().join("engine"));
        world.set("REGISTRY_AUTH_FILE", file);
    }

    /// Pushes an image that holds `content` and nothing else, and forgets it. `name` is what follows the address.
    pub fn push(&self, world: &World, name: &str, content: &str) {
        let image = format!("{}/{name}", self.address);
        let folder = world.home().join("image");
        world.write(folder.join("content"), content);
        let tar = world.home().join("image.tar");
        world.program("tar").args(["-cf"]).arg(&tar).arg("-C").arg(&folder).arg("content").run().ok();
        world.engine(&["import", tar.to_str().expect("UTF-8"), &image]).ok();
        world.engine(&["push", &image]).ok();
        world.engine(&["rmi", "--force", &image]).ok();
    }

    /// Pushes an image of this world's engine with `content` on top, and forgets it.
    pub fn push_over(&self, world: &World, below: &str, name: &str, content: &str) {
        let image = format!("{}/{name}", self.address);
        let folder = world.home().join("image");
        world.write(folder.join("content"), content);
        world.write(folder.join("Dockerfile"), format!("FROM {below}\nCOPY content /content\n"));
        world.engine(&["build", "--tag", &image, folder.to_str().expect("UTF-8")]).ok();
        world.engine(&["push", &image]).ok();
        world.engine(&["rmi", "--force", &image]).ok();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _gone = self.server.kill();
        let _reaped = self.server.wait();
    }
}

/// Podman insists on encryption even on loopback unless it is told; docker does not.
pub fn trust(world: &mut World, address: &str) {
    let file = world.home().join("registries.conf");
    world.write(&file, format!("[[registry]]\nlocation = \"{address}\"\ninsecure = true\n"));
    world.set("CONTAINERS_REGISTRIES_CONF", file);
}

/// A registry that takes calls and never answers.
pub struct Silent {
    address: String,
    called: mpsc::Receiver<()>,
}

impl Silent {
    /// Listens, as long as the test program runs.
    ///
    /// # Panics
    /// When it cannot.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it has an address").to_string();
        let (call, called) = mpsc::channel();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _test_is_over = call.send(());
                std::thread::spawn(move || {
                    // Until the caller hangs up.
                    while stream.read(&mut [0; 1024]).is_ok_and(|count| count > 0) {}
                });
            }
        });
        Self { address, called }
    }

    /// `HOST:PORT`
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Waits until somebody has called.
    ///
    /// # Panics
    /// When nobody does.
    pub fn wait_for_a_call(&self) {
        self.called.recv_timeout(Duration::from_secs(30)).expect("a call to the silent registry");
    }
}
