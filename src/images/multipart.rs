//! `multipart/form-data` (RFC 7578) as clients of Image Streamer send it: one file, streamed, never held in memory.
//!
//! They take liberties. The boundary has characters that RFC 2046 does not allow, and no quotes; there may be other
//! fields before the file; lines may end without CR; PowerShell's client writes a stray `Content-Type` behind the file;
//! the closing boundary may be missing. All of that is read as it is meant: the first part with a file name is the
//! file, and it ends at the boundary or with the body.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use api::{Code, Refusal};
use axum::body::{Body, Bytes, HttpBody};
use hyper::body::Frame;

/// Longest boundary; RFC 2046 has 70.
const BOUNDARY_BYTES_MAX: usize = 256;
/// Longest head of a part, and longest text before the file.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// What may stand between the file and its boundary.
const STRAY_BYTES_MAX: usize = 64;

/// The file in a multipart body, as a body of its own.
///
/// # Errors
/// When the content type names no boundary.
pub(crate) fn file_of(body: Body, content_type: &str) -> Result<Body, Refusal> {
    let parser = Parser::new(boundary(content_type)?);
    Ok(Body::new(FileBody { body, parser, done: false }))
}

/// Whether a content type says that the body is multipart.
pub(crate) fn is_multipart(content_type: &str) -> bool {
    content_type.trim_start().get(..10).is_some_and(|start| start.eq_ignore_ascii_case("multipart/"))
}

fn boundary(content_type: &str) -> Result<&str, Refusal> {
    let at = content_type.to_ascii_lowercase().find("boundary=");
    let value = at.map(|at| content_type[at + "boundary=".len()..].trim());
    let value = value.map(|value| match value.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next().unwrap_or_default(),
        None => value.split([';', ',']).next().unwrap_or_default().trim(),
    });
    match value {
        Some(boundary) if !boundary.is_empty() && boundary.len() <= BOUNDARY_BYTES_MAX => Ok(boundary),
        _ => Err(Refusal::new(
            Code::MalformedRequest,
            "the multipart body has no boundary in its Content-Type",
        )
        .action("send Content-Type: multipart/form-data; boundary=…")),
    }
}

/// Why a body is not taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum MultipartError {
    #[error("the head of a part of the multipart body is too long")]
    Head,
    #[error("the multipart body has no file: a part named \"file\", or with a file name, is needed")]
    NoFile,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a boundary: what comes until then does not count.
    Between,
    /// In the head of a part.
    Head,
    File,
    After,
}

/// Takes a body in pieces of any length and gives the file's bytes.
#[derive(Debug)]
struct Parser {
    delimiter: Vec<u8>,
    state: State,
    pending: Vec<u8>,
    found: bool,
}

impl Parser {
    fn new(boundary: &str) -> Self {
        // The first boundary need not follow a line end.
        let delimiter = [b"\n--", boundary.as_bytes()].concat();
        Self { delimiter, state: State::Between, pending: b"\n".to_vec(), found: false }
    }

    /// Bytes of the file that are sure.
    fn take(&mut self, bytes: &[u8]) -> Result<Bytes, MultipartError> {
        if self.state == State::After {
            return Ok(Bytes::new());
        }
        self.pending.extend_from_slice(bytes);
        loop {
            match self.state {
                State::Between => match find(&self.pending, &self.delimiter) {
                    Some(at) => {
                        self.pending.drain(..at + self.delimiter.len());
                        self.state = State::Head;
                    }
                    None => {
                        let keep = self.delimiter.len().min(self.pending.len());
                        self.pending.drain(..self.pending.len() - keep);
                        return Ok(Bytes::new());
                    }
                },
                State::Head => match head_end(&self.pending) {
                    _ if self.pending.starts_with(b"--") => {
                        self.state = State::After;
                        return Ok(Bytes::new());
                    }
                    Some(end) if end <= HEAD_BYTES_MAX => {
                        let is_file = is_file(&String::from_utf8_lossy(&self.pending[..end]));
                        // The line end before a boundary may be the one that ends the head.
                        self.pending.drain(..if is_file { end } else { end - 1 });
                        self.found |= is_file;
                        self.state = if is_file { State::File } else { State::Between };
                    }
                    _ if self.pending.len() > HEAD_BYTES_MAX => return Err(MultipartError::Head),
                    _ => return Ok(Bytes::new()),
                },
                State::File => return Ok(self.file()),
                State::After => return Ok(Bytes::new()),
            }
        }
    }

    fn file(&mut self) -> Bytes {
        if let Some(at) = find(&self.pending, &self.delimiter) {
            self.state = State::After;
            self.pending.truncate(at);
            return self.rest();
        }
        let held = self.delimiter.len() + STRAY_BYTES_MAX;
        let sure = self.pending.len().saturating_sub(held);
        let rest = self.pending.split_off(sure);
        std::mem::replace(&mut self.pending, rest).into()
    }

    /// The last bytes of the file, without what does not belong to it.
    fn rest(&mut self) -> Bytes {
        let mut rest = std::mem::take(&mut self.pending);
        if rest.last() == Some(&b'\r') {
            rest.pop();
        }
        rest.truncate(without_stray_type(&rest));
        rest.into()
    }

    /// The body has ended.
    fn finish(&mut self) -> Result<Bytes, MultipartError> {
        match self.state {
            State::File => {
                self.state = State::After;
                Ok(std::mem::take(&mut self.pending).into())
            }
            State::After if self.found => Ok(Bytes::new()),
            State::After | State::Between | State::Head => Err(MultipartError::NoFile),
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = haystack[from..].iter().position(|byte| *byte == needle[0]) {
        if haystack[from + at..].starts_with(needle) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// Where the bytes behind a head's empty line begin.
fn head_end(bytes: &[u8]) -> Option<usize> {
    let crlf = find(bytes, b"\r\n\r\n").map(|at| at + 4);
    let lf = find(bytes, b"\n\n").map(|at| at + 2);
    match (crlf, lf) {
        (Some(crlf), Some(lf)) => Some(crlf.min(lf)),
        (crlf, lf) => crlf.or(lf),
    }
}

fn is_file(head: &str) -> bool {
    let disposition = head
        .lines()
        .find(|line| line.get(..20).is_some_and(|name| name.eq_ignore_ascii_case("content-disposition:")));
    disposition.is_some_and(|line| {
        let line = line.to_ascii_lowercase();
        line.contains("filename") || line.contains("name=\"file\"") || line.ends_with("name=file")
    })
}

/// Where the file ends when a stray `Content-Type: application/zip` stands behind it.
fn without_stray_type(bytes: &[u8]) -> usize {
    let text_end = bytes.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |at| at + 1);
    let start = text_end.saturating_sub(STRAY_BYTES_MAX);
    let Some(line) = bytes[start..text_end].iter().rposition(|byte| *byte == b'\n') else {
        return bytes.len();
    };
    let word = bytes[start + line + 1..text_end].to_ascii_lowercase();
    match word.as_slice() {
        b"application/zip" | b"content-type: application/zip" | b"content-type:application/zip" => {
            let end = start + line;
            if bytes[..end].ends_with(b"\r") { end - 1 } else { end }
        }
        _ => bytes.len(),
    }
}

struct FileBody {
    body: Body,
    parser: Parser,
    done: bool,
}

impl HttpBody for FileBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        loop {
            if self.done {
                return Poll::Ready(None);
            }
            let file = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.parser.take(&data),
                    Err(_) => continue,
                },
                Some(Err(error)) => {
                    self.done = true;
                    return Poll::Ready(Some(Err(error.into())));
                }
                None => {
                    self.done = true;
                    self.parser.finish()
                }
            };
            match file {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Err(error) => {
                    self.done = true;
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDARY: &str = "----------ThIs_Is_tHe_bouNdaRY_$";

    fn parsed(body: &[u8], step: usize) -> Result<Vec<u8>, MultipartError> {
        let mut parser = Parser::new(BOUNDARY);
        let mut file = Vec::new();
        for piece in body.chunks(step) {
            file.extend(parser.take(piece)?);
        }
        file.extend(parser.finish()?);
        Ok(file)
    }

    #[track_caller]
    fn is_the_file(body: &str, file: &[u8]) {
        for step in [1, 2, 7, 64, 1 << 20] {
            assert_eq!(parsed(body.as_bytes(), step).unwrap(), file, "in pieces of {step}: {body:?}");
        }
    }

    #[test]
    fn the_boundary_is_found_with_and_without_quotes() {
        let plain = format!("multipart/form-data; boundary={BOUNDARY}");
        assert_eq!(boundary(&plain).unwrap(), BOUNDARY);
        assert_eq!(boundary("multipart/form-data; charset=x; BOUNDARY=\"a b\"; x=y").unwrap(), "a b");
        assert!(
            boundary("multipart/form-data").is_err() && boundary("multipart/form-data; boundary=").is_err()
        );
        assert!(is_multipart(&plain) && !is_multipart("application/octet-stream"));
    }

    #[test]
    fn the_sdks_body_is_the_file() {
        let head = "Content-Disposition: form-data; name=\"file\"; filename=\"i.zip\"\r\nContent-Type: application/octet-stream";
        let file = "line\r\n--not the boundary\r\n\n";
        is_the_file(&format!("--{BOUNDARY}\r\n{head}\r\n\r\n{file}\r\n--{BOUNDARY}--\r\n"), file.as_bytes());
        is_the_file(&format!("--{BOUNDARY}\r\n{head}\r\n\r\n\r\n--{BOUNDARY}--\r\n"), b"");
    }

    #[test]
    fn sloppy_bodies_are_read_as_they_are_meant() {
        let head = "Content-Disposition: form-data; name=\"file\"; filename=\"i.zip\"";
        is_the_file(&format!("junk\r\n--{BOUNDARY}\n{head}\n\nPK\n--{BOUNDARY}--\n"), b"PK");
        is_the_file(&format!("--{BOUNDARY}\r\n{head}\r\n\r\nPK"), b"PK");
        for stray in ["\r\nContent-Type: application/zip\r\n", "\r\napplication/zip\r\n\r\n"] {
            is_the_file(&format!("--{BOUNDARY}\r\n{head}\r\n\r\nPK{stray}\r\n--{BOUNDARY}--\r\n"), b"PK");
        }
        is_the_file(
            &format!("--{BOUNDARY}\r\n{head}\r\n\r\nPK\r\n--{BOUNDARY}\r\nContent-Type: application/zip"),
            b"PK",
        );
    }

    #[test]
    fn fields_before_the_file_do_not_count() {
        let field = "Content-Disposition: form-data; name=\"name\"\r\n\r\nweb";
        let file = "Content-Disposition: form-data; name=\"x\"; filename=\"f\"\r\n\r\ndata";
        is_the_file(&format!("--{BOUNDARY}\r\n{field}\r\n--{BOUNDARY}\r\n{file}\r\n--{BOUNDARY}--"), b"data");
        let empty = "Content-Disposition: form-data; name=\"name\"\r\n\r\n";
        is_the_file(&format!("--{BOUNDARY}\r\n{empty}\r\n--{BOUNDARY}\r\n{file}\r\n--{BOUNDARY}--"), b"data");
    }

    #[test]
    fn a_body_without_a_file_or_with_an_endless_head_is_refused() {
        assert_eq!(parsed(b"", 1), Err(MultipartError::NoFile));
        assert_eq!(parsed(format!("--{BOUNDARY}--\r\n").as_bytes(), 3), Err(MultipartError::NoFile));
        let endless = format!("--{BOUNDARY}\r\n{}", "x".repeat(HEAD_BYTES_MAX + 1));
        assert_eq!(parsed(endless.as_bytes(), 1 << 20), Err(MultipartError::Head));
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut parser = Parser::new(BOUNDARY);
        parser
            .take(format!("--{BOUNDARY}\r\nContent-Disposition: x; filename=f\r\n\r\n").as_bytes())
            .unwrap();
        for _ in 0..100 {
            parser.take(&[b'\n'; 4096]).unwrap();
            assert!(parser.pending.len() <= parser.delimiter.len() + STRAY_BYTES_MAX);
        }
        let mut parser = Parser::new(BOUNDARY);
        for _ in 0..100 {
            parser.take(&[b'x'; 4096]).unwrap();
            assert!(parser.pending.len() <= parser.delimiter.len());
        }
    }
}
