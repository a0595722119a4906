//! What `cargo xtask test` hands over: the programs to drive, as whom, and where.
//!
//! There is no other way to them, so that no test ever drives a program that was built from other sources.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::unistd::{Gid, Uid, User, geteuid};

use crate::stamp;

/// The given things.
#[derive(Debug)]
pub struct Given {
    /// The program, in an installed layout.
    pub program: PathBuf,
    /// The static guest program.
    pub guest: PathBuf,
    /// Libraries of backends that are not the product's: examples and hostile ones.
    pub other_plugins: PathBuf,
    /// The stand-in for `limactl`, under that name in a folder of its own. Ask for the engine `limactl` first.
    pub limactl: Option<PathBuf>,
    /// The installed release build; only where the run makes one.
    pub release: Option<PathBuf>,
    /// Below this lie all worlds.
    pub worlds: PathBuf,
    /// Where tests note which engines they used.
    pub ledger: PathBuf,
    /// The ordinary user that the product runs as.
    pub user: Account,
}

/// An ordinary user.
#[derive(Debug, Clone)]
pub struct Account {
    /// The name.
    pub name: String,
    /// The user id.
    pub uid: Uid,
    /// The primary group.
    pub gid: Gid,
    /// The tests run as root and only become this user.
    pub borrowed: bool,
}

/// The given things.
///
/// # Panics
/// Outside of `cargo xtask test`, and when the sources changed since it built.
pub fn given() -> &'static Given {
    static GIVEN: OnceLock<Given> = OnceLock::new();
    GIVEN.get_or_init(|| {
        let sources = stamp::of_sources(&checkout()).expect("the sources can be read");
        assert_eq!(
            variable("WORKMUX_TEST_STAMP"),
            sources,
            "the program was built from other sources than these. Type: cargo xtask test"
        );
        Given {
            program: existing("WORKMUX_TEST_BIN"),
            guest: existing("WORKMUX_TEST_GUEST"),
            other_plugins: existing("WORKMUX_TEST_OTHER_PLUGINS"),
            limactl: env::var_os("WORKMUX_TEST_LIMACTL_DOUBLE").map(PathBuf::from),
            release: env::var_os("WORKMUX_TEST_RELEASE").map(PathBuf::from),
            worlds: existing("WORKMUX_TEST_DIR"),
            ledger: variable("WORKMUX_TEST_LEDGER").into(),
            user: account(),
        }
    })
}

/// This checkout.
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the checkout").to_owned()
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: these tests need `cargo xtask test`"))
}

fn existing(name: &str) -> PathBuf {
    let path = PathBuf::from(variable(name));
    assert!(path.exists(), "{name}: there is no '{}'. Type: cargo xtask test", path.display());
    path
}

fn account() -> Account {
    let borrowed = geteuid().is_root();
    let user = if borrowed {
        let name = variable("WORKMUX_TEST_USER");
        User::from_name(&name).expect("passwd can be read").unwrap_or_else(|| panic!("there is no user '{name}'"))
    } else {
        User::from_uid(geteuid()).expect("passwd can be read").expect("we have an entry in passwd")
    };
    assert!(!user.uid.is_root(), "'{}' is root by another name", user.name);
    Account { name: user.name, uid: user.uid, gid: user.gid, borrowed }
}
