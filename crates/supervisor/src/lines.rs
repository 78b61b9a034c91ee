//! Lines of bounded length from a source that is not trusted to end them.

use std::io;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// How much is read at once, in bytes: some lines. Each worker has three of these readers, and keeps them for its life.
const READ: usize = 2_048;

/// Reads lines of at most `limit` bytes; of a longer one, the rest is read and thrown away, so that
/// whoever writes can neither make the reader hold more than that nor make it lose its place.
pub(crate) struct BoundedLines<R> {
    reader: BufReader<R>,
    limit: usize,
}

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Its text without the line's end, at most `limit` bytes of it, invalid UTF-8 replaced.
    pub(crate) text: String,
    /// How long it was, in bytes.
    pub(crate) bytes: usize,
}

impl<R: AsyncRead + Unpin> BoundedLines<R> {
    pub(crate) fn new(source: R, limit: usize) -> Self {
        Self {
            reader: BufReader::with_capacity(READ, source),
            limit,
        }
    }

    /// The next line, or `None` at the end. A last line without a line feed is a line.
    ///
    /// Not cancel safe: what was read of a line is lost.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Line>> {
        let mut kept = Vec::new();
        let mut bytes = 0;
        loop {
            let buffer = self.reader.fill_buf().await?;
            if buffer.is_empty() && bytes == 0 {
                return Ok(None);
            }
            let feed = buffer.iter().position(|byte| *byte == b'\n');
            let part = buffer.get(..feed.unwrap_or(buffer.len())).unwrap_or(buffer);
            let room = self.limit.saturating_sub(kept.len()).min(part.len());
            kept.extend_from_slice(part.get(..room).unwrap_or(part));
            bytes += part.len();
            let ended = feed.is_some() || buffer.is_empty();
            let used = part.len() + usize::from(feed.is_some());
            self.reader.consume(used);
            if ended {
                if bytes <= self.limit && kept.last() == Some(&b'\r') {
                    kept.pop();
                }
                let text = String::from_utf8_lossy(&kept).into_owned();
                return Ok(Some(Line { text, bytes }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(input: &[u8], limit: usize) -> Vec<(String, usize)> {
        let mut lines = BoundedLines::new(input, limit);
        let mut all = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            all.push((line.text, line.bytes));
        }
        all
    }

    #[tokio::test]
    async fn lines_are_split_at_line_feeds_and_the_last_one_needs_none() {
        let read = all(b"a\r\n\nlast", 10).await;
        assert_eq!(
            read,
            [("a".into(), 2), (String::new(), 0), ("last".into(), 4)]
        );
    }

    #[tokio::test]
    async fn an_endless_line_costs_the_limit_and_not_the_lines_after_it() {
        let mut input = vec![b'x'; 100_000];
        input.extend_from_slice(b"\nnext\n");
        let read = all(&input, 8).await;
        assert_eq!(read, [("x".repeat(8), 100_000), ("next".into(), 4)]);
    }
}
