//! Takes a byte stream apart into lines without ever holding much more than one (P49).

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

const CHUNK: usize = 16 * 1024;
/// A buffer that one long line made larger than this is given back after it.
const KEPT: usize = 64 * 1024;

/// A line longer than its limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// The lines of one connection.
pub(super) struct Lines<R> {
    from: R,
    limit: usize,
    buffer: Vec<u8>,
    /// How much of the buffer was handed out already.
    start: usize,
    /// How much of the buffer is known to hold no line end.
    scanned: usize,
    ended: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// Lines of at most `limit` bytes, the line end included.
    pub(super) fn new(from: R, limit: usize) -> Self {
        Self { from, limit, buffer: Vec::new(), start: 0, scanned: 0, ended: false }
    }

    /// What arrived and was not handed out.
    pub(super) fn pending(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Whether the other end has said that it sends no more.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// The next line that has arrived whole, without its end. At the end of the stream the rest is a line too.
    pub(super) fn take(&mut self) -> Result<Option<Vec<u8>>, TooLong> {
        let rest = &self.buffer[self.scanned..];
        let end = match memchr::memchr(b'\n', rest) {
            Some(at) => self.scanned + at,
            None if self.ended && !self.pending().is_empty() => self.buffer.len(),
            None => {
                self.scanned = self.buffer.len();
                return if self.over(self.pending().len()) { Err(TooLong) } else { Ok(None) };
            }
        };
        if self.over(end - self.start) {
            return Err(TooLong);
        }
        let line = self.buffer[self.start..end].to_vec();
        self.start = (end + 1).min(self.buffer.len());
        self.scanned = self.start;
        Ok(Some(line))
    }

    /// Waits for more bytes. Nothing is lost when the wait is given up.
    pub(super) async fn fill(&mut self) -> io::Result<()> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.scanned -= self.start;
            self.start = 0;
            if self.buffer.capacity() > KEPT && self.buffer.len() < CHUNK {
                self.buffer.shrink_to(CHUNK);
            }
        }
        let mut chunk = [0; CHUNK];
        match self.from.read(&mut chunk).await? {
            0 => self.ended = true,
            n => self.buffer.extend_from_slice(&chunk[..n]),
        }
        Ok(())
    }

    /// Reads and forgets what still arrives, at most one line's worth.
    pub(super) async fn discard(&mut self) -> io::Result<()> {
        let mut left = self.limit;
        let mut chunk = [0; CHUNK];
        while left > 0 && !self.ended {
            match self.from.read(&mut chunk).await? {
                0 => self.ended = true,
                n => left = left.saturating_sub(n),
            }
        }
        Ok(())
    }

    /// Whether a line of so many bytes before its end is beyond the limit.
    fn over(&self, content: usize) -> bool {
        content >= self.limit && !crate::mutant::off("p49_line_limit")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(bytes: &[u8], limit: usize) -> Result<Vec<String>, TooLong> {
        let mut lines = Lines::new(bytes, limit);
        let mut got = Vec::new();
        loop {
            while let Some(line) = lines.take()? {
                got.push(String::from_utf8(line).unwrap());
            }
            if lines.ended() {
                return Ok(got);
            }
            lines.fill().await.unwrap();
        }
    }

    #[tokio::test]
    async fn lines_come_apart_and_the_last_needs_no_end() {
        assert_eq!(all(b"a\n\nb\r\nc", 100).await, Ok(vec!["a".into(), "".into(), "b\r".into(), "c".into()]));
        assert_eq!(all(b"", 100).await, Ok(vec![]));
        assert_eq!(all(b"a\n", 100).await, Ok(vec!["a".into()]));
    }

    #[tokio::test]
    async fn p49_a_line_may_have_its_limit_and_no_byte_more() {
        let line = |n: usize| [vec![b'x'; n - 1], vec![b'\n']].concat();
        for limit in [10, CHUNK - 1, CHUNK, CHUNK + 1, 1 << 20] {
            for n in [limit - 1, limit] {
                assert_eq!(all(&line(n), limit).await.unwrap()[0].len(), n - 1);
            }
            assert_eq!(all(&line(limit + 1), limit).await, Err(TooLong), "{limit}");
            assert_eq!(all(&vec![b'x'; limit], limit).await, Err(TooLong), "{limit} without an end");
        }
    }

    #[tokio::test]
    async fn p49_a_long_line_takes_little_more_than_its_limit() {
        let endless = tokio::io::repeat(b'x');
        let mut lines = Lines::new(endless, 1 << 20);
        while lines.take() == Ok(None) {
            lines.fill().await.unwrap();
        }
        assert!(lines.buffer.len() <= (1 << 20) + CHUNK);
    }
}
