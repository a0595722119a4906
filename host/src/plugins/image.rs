//! Whether a file is a whole shared library for this machine, before the dynamic loader believes it.
//!
//! The loader maps what the headers say: beyond the end of a half-copied file that is a SIGBUS in this process.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::Rejection;

const HEADER: usize = 64;
const PROGRAM_HEADER: u64 = 56;
const SECTION_HEADER: u64 = 64;
const SHARED_OBJECT: u16 = 3;
const LOAD: u32 = 1;
/// The fix where nothing can be made of a file.
pub(super) const REMOVE: &str = "remove it";
/// Larger than any library; keeps what is read bounded.
pub(super) const MAX_SIZE: u64 = 1 << 30;

/// The number that stands for this processor in the header.
const MACHINE: Option<u16> = match std::env::consts::ARCH.as_bytes() {
    b"x86_64" => Some(62),
    b"aarch64" => Some(183),
    b"riscv64" => Some(243),
    _ => None,
};

/// Checks the headers of a library of `size` bytes. Linux on 64-bit machines; elsewhere the loader has the only word.
pub(super) fn check(file: &File, size: u64) -> Result<(), Rejection> {
    if !cfg!(all(target_os = "linux", target_pointer_width = "64", target_endian = "little"))
        || crate::mutant::off("p73_elf")
    {
        return Ok(());
    }
    if size == 0 {
        return Err(Rejection::new("it is empty").fix("copy it again, or remove it"));
    }
    if size > MAX_SIZE {
        return Err(Rejection::new(format!("it is too large ({size} bytes)")).fix(REMOVE));
    }
    let cut = || Rejection::new(format!("it is cut short ({size} bytes)")).fix("copy it again");
    let mut header = [0; HEADER];
    let start = (size as usize).min(HEADER);
    file.read_exact_at(&mut header[..start], 0).map_err(|e| Rejection::new(format!("it cannot be read: {e}")))?;
    if !header[..start].starts_with(b"\x7fELF") {
        return Err(Rejection::new("it is not a shared library").fix(REMOVE));
    }
    if start < HEADER {
        return Err(cut());
    }
    let half = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let (class, order, kind, machine) = (header[4], header[5], half(16), half(18));
    if class != 2 || order != 1 || MACHINE.is_some_and(|ours| ours != machine) {
        return Err(Rejection::new("it was built for another processor")
            .fix(format!("install the library for {}", std::env::consts::ARCH)));
    }
    if kind != SHARED_OBJECT {
        return Err(Rejection::new("it is not a shared library").fix("build it as a 'cdylib'"));
    }
    let (programs, sections) = (long(&header, 32), long(&header, 40));
    let (program_size, program_count) = (half(54), half(56));
    let (section_size, section_count) = (half(58), half(60));
    let inside = |start: u64, length: u64| start.checked_add(length).is_some_and(|end| end <= size);
    if u64::from(program_size) != PROGRAM_HEADER || program_count == 0 {
        return Err(Rejection::new("its headers are damaged").fix("copy it again"));
    }
    if !inside(programs, PROGRAM_HEADER * u64::from(program_count)) {
        return Err(cut());
    }
    if sections != 0
        && (u64::from(section_size) != SECTION_HEADER || !inside(sections, SECTION_HEADER * u64::from(section_count)))
    {
        return Err(cut());
    }
    let mut table = vec![0; PROGRAM_HEADER as usize * usize::from(program_count)];
    file.read_exact_at(&mut table, programs).map_err(|_| cut())?;
    for entry in table.chunks_exact(PROGRAM_HEADER as usize) {
        let kind = u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]);
        if kind == LOAD && !inside(long(entry, 8), long(entry, 32)) {
            return Err(cut());
        }
    }
    Ok(())
}

fn long(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(eight)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn verdict(content: &[u8]) -> String {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        check(&file, content.len() as u64).map_or_else(|e| e.reason, |()| "good".into())
    }

    /// Headers of a library that consists of nothing else, in one segment.
    fn library() -> Vec<u8> {
        let mut image = vec![0; HEADER + PROGRAM_HEADER as usize];
        image[..6].copy_from_slice(b"\x7fELF\x02\x01");
        image[16] = SHARED_OBJECT as u8;
        image[18..20].copy_from_slice(&MACHINE.unwrap().to_le_bytes());
        image[32] = HEADER as u8;
        image[54] = PROGRAM_HEADER as u8;
        image[56] = 1;
        image[HEADER] = LOAD as u8;
        let size = image.len() as u64;
        image[HEADER + 32..HEADER + 40].copy_from_slice(&size.to_le_bytes());
        image
    }

    #[test]
    fn p73_headers() {
        assert_eq!(verdict(&library()), "good");
        assert_eq!(verdict(b""), "it is empty");
        assert_eq!(verdict(b"#!/bin/sh\n"), "it is not a shared library");
        assert_eq!(verdict(&library()[..20]), "it is cut short (20 bytes)");
        assert_eq!(verdict(&library()[..100]), "it is cut short (100 bytes)");
        let with = |at: usize, value: u8| {
            let mut image = library();
            image[at] = value;
            verdict(&image)
        };
        assert_eq!(with(4, 1), "it was built for another processor", "32 bit");
        assert_eq!(with(5, 2), "it was built for another processor", "big-endian");
        assert_eq!(with(18, 40), "it was built for another processor");
        assert_eq!(with(16, 1), "it is not a shared library", "an object file");
        assert_eq!(with(54, 1), "its headers are damaged");
        assert_eq!(with(HEADER + 32, 255), "it is cut short (120 bytes)", "a segment beyond the end");
        assert_eq!(with(HEADER + 15, 255), "it is cut short (120 bytes)", "a segment whose end overflows");
        assert_eq!(with(40, 200), "it is cut short (120 bytes)", "a section table beyond the end");
        assert_eq!(with(39, 255), "it is cut short (120 bytes)", "segments beyond the end");
    }
}
