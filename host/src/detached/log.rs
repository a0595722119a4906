//! The log: everything the terminal printed, raw, of bounded length.
//!
//! Where it is full, its older half goes. That is done in a new file which takes the old one's name, so that nobody
//! reads half of a change, and a full disk or a kill in the middle costs nothing that was there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The name in the directory.
pub(super) const NAME: &str = "log";
/// Longer than this it never is.
pub(super) const MAX: u64 = 8 * 1024 * 1024;
const NEW: &str = "log.new";

/// The open log.
pub(super) struct Log {
    directory: PathBuf,
    file: File,
    size: u64,
    max: u64,
}

impl Log {
    /// Begins an empty one in place of what a former command left.
    pub(super) fn begin(directory: &Path, max: u64) -> io::Result<Self> {
        let file = replace(directory, &[])?;
        Ok(Self { directory: directory.to_owned(), file, size: 0, max })
    }

    /// Adds to it.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        // More than all of it is not printed at once, but would not fit either.
        let bytes = &bytes[bytes.len() - bytes.len().min(usize::try_from(self.max / 2).unwrap_or(usize::MAX))..];
        if self.size + bytes.len() as u64 > self.max {
            self.halve()?;
        }
        let written = self.file.write_all(bytes);
        // Also where only a part fitted on the disk.
        self.size = self.file.stream_position().unwrap_or(self.size);
        written
    }

    fn halve(&mut self) -> io::Result<()> {
        let mut old = File::open(self.directory.join(NAME))?;
        old.seek(SeekFrom::Start(self.size.saturating_sub(self.max / 2)))?;
        let mut kept = Vec::new();
        old.take(self.max / 2).read_to_end(&mut kept)?;
        // From the beginning of a line, where lines are not longer than anybody reads.
        let line = kept.iter().take(64 * 1024).position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.file = replace(&self.directory, &kept[line..])?;
        self.size = (kept.len() - line) as u64;
        Ok(())
    }
}

fn replace(directory: &Path, content: &[u8]) -> io::Result<File> {
    let new = directory.join(NEW);
    match fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(content).and_then(|()| fs::rename(&new, directory.join(NAME))).inspect_err(|_| {
        let _gone = fs::remove_file(&new);
    })?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_full_log_keeps_its_last_half_from_the_beginning_of_a_line() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = Log::begin(directory.path(), 1000).unwrap();
        let path = directory.path().join(NAME);
        for n in 0..5000 {
            log.write(format!("line {n}\n").as_bytes()).unwrap();
            assert!(fs::metadata(&path).unwrap().len() <= 1000);
        }
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.len() >= 450 && text.starts_with("line ") && text.ends_with("\nline 4999\n"), "{text}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        // More at once than it holds.
        log.write(&[b'x'; 5000]).unwrap();
        assert!(fs::metadata(&path).unwrap().len() <= 1000);
        // The next command's is its own.
        drop(Log::begin(directory.path(), 1000).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    }
}
