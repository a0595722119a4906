//! What clients and supervisor say to each other: frames of a kind, a length and that many bytes. Both ends are this
//! program, of the same user; a frame is still never longer than its reader expects.

use std::io;

/// The kind of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// To the terminal: these bytes are typed. Answered by `Done` or `Deaf`; within an attachment by nothing.
    Type,
    /// To the terminal: this many of its last lines as text. Answered by `Text`.
    Capture,
    /// To the terminal: the command is to end. Answered by `Done` when it was told.
    Stop,
    /// To the terminal: I am a terminal of this size; answered by `Text` without end, until either closes.
    Attach,
    /// To the terminal, within an attachment: I have this size now.
    Resize,
    /// From the terminal: done.
    Done,
    /// From the terminal: not typed, because the command does not read.
    Deaf,
    /// From the terminal: text, or output.
    Text,
}

const KINDS: [(Kind, u8); 8] = [
    (Kind::Type, b't'),
    (Kind::Capture, b'c'),
    (Kind::Stop, b's'),
    (Kind::Attach, b'a'),
    (Kind::Resize, b'r'),
    (Kind::Done, b'+'),
    (Kind::Deaf, b'-'),
    (Kind::Text, b'='),
];

/// One frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) payload: Vec<u8>,
}

/// What can be typed at once, and what may wait for the command to read it.
pub(super) const MAX_INPUT: usize = 1024 * 1024;
/// The longest answer: every line kept, of the widest terminal.
pub(super) const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// Kind and length.
pub(super) const HEADER: usize = 5;

/// The frame as bytes.
pub(super) fn frame(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let kind = KINDS.iter().find(|(k, _)| *k == kind).map_or(0, |(_, byte)| *byte);
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.push(kind);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// What a header announces, unless it is longer than `max`.
pub(super) fn header(bytes: [u8; HEADER], max: usize) -> io::Result<(Kind, usize)> {
    let [kind, length @ ..] = bytes;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    match KINDS.iter().find(|(_, byte)| *byte == kind) {
        Some((kind, _)) if length <= max => Ok((*kind, length)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it does not speak this program's language")),
    }
}

/// Takes the first frame out of what was received so far, if it is there as a whole.
pub(super) fn split(received: &mut Vec<u8>, max: usize) -> io::Result<Option<Frame>> {
    let Some(first) = received.first_chunk::<HEADER>() else { return Ok(None) };
    let (kind, length) = header(*first, max)?;
    if received.len() < HEADER + length {
        return Ok(None);
    }
    let payload = received[HEADER..HEADER + length].to_vec();
    received.drain(..HEADER + length);
    Ok(Some(Frame { kind, payload }))
}

/// A size as a payload.
pub(super) fn size(rows: u16, columns: u16) -> Vec<u8> {
    [rows.to_be_bytes(), columns.to_be_bytes()].concat()
}

/// The size in a payload.
pub(super) fn read_size(payload: &[u8]) -> Option<(u16, u16)> {
    let [a, b, c, d] = *payload else { return None };
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in_however_they_arrive() {
        let mut bytes = frame(Kind::Type, b"abc");
        bytes.extend(frame(Kind::Stop, b""));
        let (mut received, mut seen) = (Vec::new(), Vec::new());
        for byte in bytes {
            received.push(byte);
            seen.extend(split(&mut received, 3).unwrap());
        }
        let frame = |kind, payload: &[u8]| Frame { kind, payload: payload.to_vec() };
        assert_eq!(seen, [frame(Kind::Type, b"abc"), frame(Kind::Stop, b"")]);
    }

    #[test]
    fn longer_and_unknown_frames_are_refused_by_their_header() {
        assert!(split(&mut frame(Kind::Type, b"abcd"), 3).is_err());
        assert!(split(&mut b"GET / HTTP/1.1".to_vec(), MAX_INPUT).is_err());
        assert!(split(&mut b"t\xff\xff\xff\xff".to_vec(), MAX_INPUT).is_err());
        assert_eq!(read_size(&size(24, 80)), Some((24, 80)));
        assert_eq!(read_size(b"123"), None);
    }
}
