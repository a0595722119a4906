//! What we must know of the guest program's file: that it needs nothing of the system it runs on.

/// Whether this 64-bit little-endian ELF file asks for a program interpreter, as every dynamically linked one does.
pub(crate) fn needs_interpreter(file: &[u8]) -> Result<bool, &'static str> {
    const PT_INTERP: u32 = 3;
    if file.get(..6) != Some(b"\x7fELF\x02\x01") {
        return Err("not a 64-bit little-endian ELF file");
    }
    let number = |at: usize, len: usize| -> Result<usize, &'static str> {
        let bytes = file.get(at..at + len).ok_or("cut short")?;
        Ok(bytes.iter().rev().fold(0, |n, byte| n << 8 | usize::from(*byte)))
    };
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for i in 0..count {
        let at = size.checked_mul(i).and_then(|n| n.checked_add(table)).ok_or("cut short")?;
        if at > file.len() {
            return Err("cut short");
        }
        if number(at, 4)? == PT_INTERP as usize {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_is_told_from_what_is_none() {
        let ours = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(needs_interpreter(&ours), Ok(true));
        assert!(needs_interpreter(b"#!/bin/sh\n").is_err());
        assert!(needs_interpreter(&ours[..64]).is_err());
    }
}
