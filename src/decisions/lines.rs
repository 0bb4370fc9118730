//! Lines of a log, each for what it is.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read};
use std::mem;

use jiff::Timestamp;
use serde::Deserialize;

use super::Decision;

/// The longest line that is read. A review has at most 7 MiB, and a patch or a message is a part of it.
const LONGEST: usize = 16 * 1024 * 1024;

/// How much is read at once.
const CHUNK: usize = 256 * 1024;

/// The target of a decision that the decision log did not take and that went to the program's log instead.
const RESCUED: &str = "lanekeeper::decision";

/// What a line is.
#[derive(Debug)]
pub enum Line<'a> {
    /// A decision, with its JSON as it was written.
    Decision(Box<Decision<'a>>, &'a str),
    /// A line of the program's own log.
    Program,
    /// Something else: half a line, or the line of another program.
    Foreign,
}

/// The lines of an input, in memory one at a time.
pub struct Lines<R> {
    input: BufReader<R>,
    number: u64,
    line: Vec<u8>,
    /// What a container's runtime has written of a line so far, in pieces, by stream.
    pieces: [Vec<u8>; 2],
}

impl<R: Read> Lines<R> {
    /// Reads `input` from where it is.
    pub fn new(input: R) -> Self {
        Self {
            input: BufReader::with_capacity(CHUNK, input),
            number: 0,
            line: Vec::new(),
            pieces: [Vec::new(), Vec::new()],
        }
    }

    /// The number of the line that was read last.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether the next line has to be waited for, as far as is known.
    pub fn is_dry(&self) -> bool {
        self.input.buffer().is_empty()
    }

    /// Whether what is read next begins as a file that gzip has made.
    pub fn is_compressed(&mut self) -> io::Result<bool> {
        Ok(self.input.fill_buf()?.starts_with(b"\x1f\x8b"))
    }

    /// The next line that is not empty.
    pub fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        loop {
            let Some(is_whole) = self.fill()? else {
                let is_left = self.pieces.iter_mut().any(|pieces| !mem::take(pieces).is_empty());
                return Ok(is_left.then_some(Line::Foreign));
            };
            if !is_whole {
                return Ok(Some(Line::Foreign));
            }
            if let Some(Piece {
                stream,
                is_last,
                start,
            }) = Piece::of(&self.line)
            {
                let pieces = &mut self.pieces[stream];
                if pieces.len() + self.line.len() > LONGEST {
                    // Whatever follows, it is no decision any more.
                    *pieces = b"?".to_vec();
                }
                let text = &self.line[start..];
                pieces.extend_from_slice(text.strip_suffix(b"\n").unwrap_or(text));
                if !is_last {
                    continue;
                }
                self.line = mem::take(pieces);
            }
            if let Some(message) = rescued(&self.line) {
                self.line = message.into_bytes();
            }
            if self.line.trim_ascii().is_empty() {
                continue;
            }
            return Ok(Some(classify(&self.line)));
        }
    }

    /// Reads a line; whether it is short enough to be kept, or `None` at the end.
    fn fill(&mut self) -> io::Result<Option<bool>> {
        let limit = LONGEST as u64;
        let mut is_whole = true;
        loop {
            self.line.clear();
            let read = self
                .input
                .by_ref()
                .take(limit)
                .read_until(b'\n', &mut self.line)?;
            if read == 0 && is_whole {
                return Ok(None);
            }
            if self.line.ends_with(b"\n") || (read as u64) < limit {
                self.number += 1;
                return Ok(Some(is_whole));
            }
            is_whole = false;
        }
    }
}

/// A line of a container's log (CRI): `2026-11-28T04:00:00.1Z stdout F …`, where all but the last piece of a long
/// line has `P`.
struct Piece {
    /// 0: standard output, 1: standard error.
    stream: usize,
    is_last: bool,
    /// Where the container's own text begins.
    start: usize,
}

impl Piece {
    fn of(line: &[u8]) -> Option<Self> {
        if !line.first()?.is_ascii_digit() {
            return None;
        }
        let mut words = line.splitn(4, |byte| *byte == b' ');
        let (time, stream, tags, _) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let start = time.len() + stream.len() + tags.len() + 3;
        let stream = [&b"stdout"[..], b"stderr"]
            .iter()
            .position(|name| *name == stream)?;
        let is_last = match tags.split(|byte| *byte == b':').next()? {
            b"F" => true,
            b"P" => false,
            _ => return None,
        };
        std::str::from_utf8(time).ok()?.parse::<Timestamp>().ok()?;
        Some(Self {
            stream,
            is_last,
            start,
        })
    }
}

/// A line of the program's own log.
#[derive(Deserialize)]
struct Logged<'a> {
    #[serde(rename = "timestamp")]
    _timestamp: Timestamp,
    #[serde(borrow)]
    level: Cow<'a, str>,
    #[serde(borrow)]
    target: Cow<'a, str>,
    #[serde(borrow, default)]
    message: Cow<'a, str>,
}

/// The JSON of a line: `kubectl logs` with --timestamps or --prefix puts something before it.
fn json_of(line: &[u8]) -> Option<&str> {
    let start = line.iter().position(|byte| *byte == b'{')?;
    std::str::from_utf8(line[start..].trim_ascii_end()).ok()
}

/// The decision in a line of the program's log, if it is one.
fn rescued(line: &[u8]) -> Option<String> {
    let json = json_of(line)?;
    // Few lines are, and no other has to be read twice.
    if !json.contains(RESCUED) {
        return None;
    }
    let logged: Logged<'_> = serde_json::from_str(json).ok()?;
    (logged.target == RESCUED).then(|| logged.message.into_owned())
}

fn classify(line: &[u8]) -> Line<'_> {
    let Some(json) = json_of(line) else {
        return Line::Foreign;
    };
    if let Ok(decision) = serde_json::from_str(json) {
        Line::Decision(Box::new(decision), json)
    } else if serde_json::from_str::<Logged<'_>>(json).is_ok_and(|logged| !logged.level.is_empty()) {
        Line::Program
    } else {
        Line::Foreign
    }
}
