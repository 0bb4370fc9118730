//! A log on a stream that cannot be looked back at: standard output.

use std::io::{self, ErrorKind, Write};

use super::Sink;

/// A stream of lines. What was cut short stays a line of its own: the next one starts afresh.
pub(super) struct Stream<W> {
    out: W,
    /// Whether the last line has not come to its end.
    is_torn: bool,
}

impl<W: Write> Stream<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, is_torn: false }
    }
}

impl<W: Write + Send> Sink for Stream<W> {
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(line.len() + 2);
        if self.is_torn {
            bytes.push(b'\n');
        }
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
        let mut written = 0;
        while written < bytes.len() {
            match self.out.write(&bytes[written..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(more) => {
                    written += more;
                    self.is_torn = bytes[written - 1] != b'\n';
                }
                Err(error) => return Err(error),
            }
        }
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipe or a disk with so much room.
    struct Narrow {
        room: usize,
        text: Vec<u8>,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            let taken = bytes.len().min(self.room).min(3);
            self.room -= taken;
            self.text.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn half_a_line_is_not_glued_to_the_next() {
        for room in 0..=13 {
            let mut stream = Stream::new(Narrow {
                room,
                text: Vec::new(),
            });
            let first = stream.append(b"first line");
            assert_eq!(first.is_ok(), room >= 11, "{room}");
            // Neither has room, and what is left of it is no part of another.
            assert!(stream.append(b"second").is_err());
            stream.out.room = 100;
            stream.append(b"third").unwrap();
            let text = String::from_utf8(stream.out.text).unwrap();
            assert_eq!(text.lines().last(), Some("third"), "{room}: {text:?}");
            assert!(
                text.ends_with('\n') && !text.contains("linesecond"),
                "{room}: {text:?}"
            );
        }
    }
}
