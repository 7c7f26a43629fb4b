//! Whole lines into something that may take half of one: a disk that fills up, a pipe that closes.

use std::io::{self, ErrorKind, Write};

#[derive(Debug)]
pub(super) struct Lines<W> {
    out: W,
    /// It has half a line, which must not become the beginning of the next one.
    torn: bool,
}

impl<W: Write> Lines<W> {
    pub(super) const fn new(out: W) -> Self {
        Self { out, torn: false }
    }

    pub(super) const fn out(&self) -> &W {
        &self.out
    }

    /// Writes whole lines, as many in one call as there are in `at_once` bytes. Says how many of them were written, also
    /// where not all were.
    pub(super) fn write(&mut self, lines: &[u8], at_once: usize) -> (u64, io::Result<()>) {
        if self.torn {
            match self.write_all(b"\n") {
                (_, Ok(())) => self.torn = false,
                (_, Err(error)) => return (0, Err(error)),
            }
        }
        let mut left = lines;
        let mut written = 0;
        while !left.is_empty() {
            let (piece, rest) = left.split_at(whole(left, at_once));
            let (bytes, outcome) = self.write_all(piece);
            let done = piece.get(..bytes).unwrap_or_default();
            written += done.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")).count() as u64;
            if let Err(error) = outcome {
                self.torn = done.last().is_some_and(|byte| *byte != b'\n');
                return (written, Err(error));
            }
            left = rest;
        }
        (written, Ok(()))
    }

    /// As the standard library's, which does not say how far it came.
    fn write_all(&mut self, bytes: &[u8]) -> (usize, io::Result<()>) {
        let mut done = 0;
        while let Some(left) = bytes.get(done..)
            && !left.is_empty()
        {
            match self.out.write(left) {
                Ok(0) => return (done, Err(ErrorKind::WriteZero.into())),
                Ok(more) => done += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return (done, Err(error)),
            }
        }
        (done, Ok(()))
    }
}

/// The length of the lines that fit, at least of the first.
fn whole(lines: &[u8], most: usize) -> usize {
    if lines.len() <= most {
        return lines.len();
    }
    let ends = lines.iter().take(most).rposition(|byte| *byte == b'\n');
    let first = || lines.iter().position(|byte| *byte == b'\n');
    ends.or_else(first).map_or(lines.len(), |last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with room for so many bytes.
    #[derive(Default)]
    struct Disk {
        room: usize,
        has: Vec<u8>,
        calls: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.calls += 1;
            let taken = bytes.len().min(self.room);
            if taken == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.room -= taken;
            self.has.extend(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_was_torn_spoils_no_other() {
        let mut lines = Lines::new(Disk { room: 7, ..Disk::default() });
        let (written, outcome) = lines.write(b"one\ntwo two\nthree\n", 4096);
        assert_eq!((written, outcome.unwrap_err().kind()), (1, ErrorKind::StorageFull));
        let (written, outcome) = lines.write(b"four\n", 4096);
        assert!(written == 0 && outcome.is_err(), "still no room");
        lines.out.room = 100;
        let (written, outcome) = lines.write(b"five\n", 4096);
        assert!(written == 1 && outcome.is_ok());
        assert_eq!(str::from_utf8(&lines.out.has).unwrap(), "one\ntwo\nfive\n");
    }

    #[test]
    fn a_pipe_gets_whole_lines_and_no_more_than_it_takes_at_once() {
        let mut lines = Lines::new(Disk { room: 1000, ..Disk::default() });
        let (written, outcome) = lines.write(b"1\n22\n333\nmuch longer than that\n4\n", 6);
        assert!(written == 5 && outcome.is_ok());
        assert_eq!(lines.out.calls, 4);
    }
}
