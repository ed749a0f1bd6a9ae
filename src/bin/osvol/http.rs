//! HTTP/1.1 over a blocking stream, as much as one client of one daemon needs (RFC 9112).

use std::io::{self, BufRead, BufReader, Read, Write};

/// Most bytes that a response's head may have.
const HEAD_BYTES_MAX: u64 = 64 << 10;
const HEADERS_MAX: usize = 64;
/// Size of one chunk of a body that is sent.
const CHUNK_BYTES: usize = 1 << 20;

/// How a response's body ends (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
    UntilClosed,
}

/// A response whose head has been read.
#[derive(Debug)]
pub(crate) struct Response<R> {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    /// Of a disk that is read out ([`api::upload::SIZE_HEADER`]).
    pub(crate) disk_bytes: Option<u64>,
    framing: Framing,
    stream: BufReader<R>,
}

impl<R: Read> Response<R> {
    /// Reads one head; an interim response (100 Continue) has no body and is followed by another.
    pub(crate) fn read(stream: R) -> io::Result<Self> {
        Self::read_from(BufReader::with_capacity(64 << 10, stream))
    }

    fn read_from(mut stream: BufReader<R>) -> io::Result<Self> {
        let head = read_head(&mut stream)?;
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut parsed = httparse::Response::new(&mut headers);
        parsed.parse(&head).map_err(|error| invalid(format!("bad HTTP response: {error}")))?;
        let status = parsed.code.ok_or_else(|| invalid("an HTTP response without a status"))?;
        let header = |name: &str| {
            let found = parsed.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name));
            found.and_then(|h| std::str::from_utf8(h.value).ok()).map(str::trim)
        };
        let framing = match (header("transfer-encoding"), header("content-length")) {
            (Some(coding), _) if coding.eq_ignore_ascii_case("chunked") => Framing::Chunked,
            (_, Some(length)) => {
                Framing::Length(length.parse().map_err(|_| invalid("a bad Content-Length"))?)
            }
            _ if status < 200 || status == 204 => Framing::Length(0),
            _ => Framing::UntilClosed,
        };
        let content_type = header("content-type").unwrap_or_default().to_owned();
        let disk_bytes = header(api::upload::SIZE_HEADER).and_then(|bytes| bytes.parse().ok());
        Ok(Self { status, content_type, disk_bytes, framing, stream })
    }

    /// The response after an interim one.
    pub(crate) fn next(self) -> io::Result<Self> {
        Self::read_from(self.stream)
    }

    /// The body as it comes.
    pub(crate) fn body(self) -> BufReader<Body<R>> {
        let left = match self.framing {
            Framing::Length(length) => length,
            Framing::Chunked => 0,
            Framing::UntilClosed => u64::MAX,
        };
        let ended = self.framing == Framing::Length(0);
        BufReader::new(Body { stream: self.stream, framing: self.framing, left, ended, first: true })
    }
}

/// Reads up to and with the empty line.
fn read_head(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut limited = stream.take(HEAD_BYTES_MAX);
    loop {
        let line = limited.read_until(b'\n', &mut head)?;
        match line {
            0 if limited.limit() == 0 => return Err(invalid("an HTTP head that is too long")),
            0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed without an answer")),
            1 | 2 if head.ends_with(b"\r\n\r\n") => return Ok(head),
            _ => {}
        }
    }
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// A body with its framing taken off.
#[derive(Debug)]
pub(crate) struct Body<R> {
    stream: BufReader<R>,
    framing: Framing,
    left: u64,
    ended: bool,
    first: bool,
}

impl<R: Read> Body<R> {
    /// Reads the head of the next chunk (RFC 9112 §7.1).
    fn next_chunk(&mut self) -> io::Result<()> {
        if !self.first {
            self.line()?;
        }
        self.first = false;
        let line = self.line()?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        self.left = u64::from_str_radix(digits, 16).map_err(|_| invalid("a bad chunk"))?;
        if self.left == 0 {
            self.ended = true;
            while !self.line()?.is_empty() {}
        }
        Ok(())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        (&mut self.stream).take(4096).read_line(&mut line)?;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None => Err(cut_short()),
        }
    }
}

fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the answer was cut short")
}

impl<R: Read> Read for Body<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.framing == Framing::Chunked && self.left == 0 && !self.ended {
            self.next_chunk()?;
        }
        if self.ended || out.is_empty() {
            return Ok(0);
        }
        let wanted = out.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.stream.read(&mut out[..wanted])?;
        if read == 0 {
            return if self.framing == Framing::UntilClosed { Ok(0) } else { Err(cut_short()) };
        }
        self.left -= read as u64;
        self.ended = self.framing != Framing::Chunked && self.left == 0;
        Ok(read)
    }
}

/// Writes a body in chunks. [`ChunkedWriter::end`] tells the peer that it is whole.
#[derive(Debug)]
pub(crate) struct ChunkedWriter<W: Write> {
    stream: W,
    buffer: Vec<u8>,
}

impl<W: Write> ChunkedWriter<W> {
    pub(crate) fn new(stream: W) -> Self {
        Self { stream, buffer: Vec::with_capacity(CHUNK_BYTES) }
    }

    pub(crate) fn end(mut self) -> io::Result<()> {
        self.send()?;
        self.stream.write_all(b"0\r\n\r\n")?;
        self.stream.flush()
    }

    fn send(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            write!(self.stream, "{:x}\r\n", self.buffer.len())?;
            self.buffer.extend_from_slice(b"\r\n");
            self.stream.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }
}

impl<W: Write> Write for ChunkedWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == CHUNK_BYTES {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()?;
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(raw: &str) -> io::Result<String> {
        let mut text = String::new();
        Response::read(raw.as_bytes())?.body().read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn bodies_in_all_three_framings() {
        assert_eq!(body("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcde").unwrap(), "abc");
        let chunked =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3;x=y\r\ncde\r\n0\r\n\r\n";
        assert_eq!(body(chunked).unwrap(), "abcde");
        assert_eq!(body("HTTP/1.1 200 OK\r\n\r\nabc").unwrap(), "abc");
        assert_eq!(body("HTTP/1.1 204 No Content\r\n\r\nabc").unwrap(), "");
    }

    #[test]
    fn an_answer_that_is_cut_short_is_an_error() {
        let whole = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
        for cut in 0..whole.len() {
            assert!(body(&whole[..cut]).is_err(), "cut at {cut}");
        }
        assert!(body("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabc").is_err());
    }

    #[test]
    fn what_is_not_http_is_an_error() {
        assert!(body("SSH-2.0-OpenSSH\r\n\r\n").is_err());
        assert!(body(&"x".repeat(100 << 10)).is_err());
    }

    #[test]
    fn an_interim_response_is_followed_by_another() {
        let raw = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n";
        let interim = Response::read(raw.as_bytes()).unwrap();
        assert_eq!((interim.status, interim.next().unwrap().status), (100, 201));
    }

    #[test]
    fn what_is_written_in_chunks_is_read_back() {
        let data = vec![b'x'; 2 * CHUNK_BYTES + 7];
        let mut sent = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        let mut writer = ChunkedWriter::new(&mut sent);
        writer.write_all(&data).unwrap();
        writer.end().unwrap();
        let mut read = Vec::new();
        Response::read(&sent[..]).unwrap().body().read_to_end(&mut read).unwrap();
        assert!(read == data);
    }
}
