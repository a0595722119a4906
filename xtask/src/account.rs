//! Who runs the product in tests and in the demo: an ordinary user, always.
//!
//! Whoever is one already is that user. Root uses an account of its own for this, and hands files over to it.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Result, process};

/// The account that root uses.
pub(crate) const NAME: &str = "workmux-test";

/// An ordinary user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// We are root and become this user; otherwise this is who we are.
    pub(crate) borrowed: bool,
}

/// Our own user id.
pub(crate) fn own_uid() -> u32 {
    fs::metadata("/proc/self").map_or(u32::MAX, |m| m.uid())
}

impl Account {
    /// Ourselves, or root's account if it exists.
    pub(crate) fn find() -> Result<Option<Self>> {
        let uid = own_uid();
        let borrowed = uid == 0;
        let key = if borrowed { NAME.to_owned() } else { uid.to_string() };
        let Ok(line) = process::output(Command::new("getent").args(["passwd", &key])) else {
            return if borrowed { Ok(None) } else { Err(format!("user {uid} has no entry in passwd")) };
        };
        let account = Self::parse(&line, borrowed).ok_or(format!("cannot read the passwd entry of '{key}'"))?;
        if account.uid == 0 { Err(format!("'{NAME}' is root by another name; remove it")) } else { Ok(Some(account)) }
    }

    fn parse(line: &str, borrowed: bool) -> Option<Self> {
        let mut fields = line.trim_end().split(':');
        let name = fields.next()?.to_owned();
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Self { name, uid, gid, borrowed })
    }

    /// A program run by this user with `home` as its home and nothing else of our environment but a search path.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>, home: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(home);
        command.envs([("USER", &self.name), ("LOGNAME", &self.name)]).env("HOME", home);
        command.envs([("LANG", "C.UTF-8"), ("TERM", "xterm-256color"), ("SHELL", "/bin/sh")]);
        command.env("PATH", self.search_path());
        if self.borrowed {
            // Also drops the supplementary groups.
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// Root's own search path may lead through folders that this user cannot enter.
    fn search_path(&self) -> std::ffi::OsString {
        let standard = || "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin".into();
        if self.borrowed { standard() } else { std::env::var_os("PATH").unwrap_or_else(standard) }
    }

    /// A new folder of this user's, which nobody else may enter.
    pub(crate) fn folder(&self, path: &Path) -> Result<PathBuf> {
        use std::os::unix::fs::DirBuilderExt;
        let fail = |e: std::io::Error| format!("could not make '{}': {e}", path.display());
        fs::DirBuilder::new().mode(0o700).create(path).map_err(fail)?;
        if self.borrowed {
            chown(path, Some(self.uid), Some(self.gid)).map_err(fail)?;
        }
        Ok(path.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passwd_line_is_read() {
        let account = Account::parse("x:*:1003:1004:A, B:/home/x:/bin/sh\n", false).unwrap();
        assert_eq!((account.name.as_str(), account.uid, account.gid), ("x", 1003, 1004));
        assert_eq!(Account::parse("x:*:one:2::/:/bin/sh", false), None);
        assert_eq!(Account::parse("", false), None);
    }
}
