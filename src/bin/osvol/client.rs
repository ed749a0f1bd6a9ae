//! Requests to the daemon. One connection each: on a Unix socket it costs microseconds.

use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use api::{Code, Refusal};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::Failure;
use crate::http::{Body, ChunkedWriter, Response};

/// Largest answer that is kept in memory: 100,000 volumes and more.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// The daemon, as seen from here.
#[derive(Debug)]
pub(crate) struct Client {
    socket: PathBuf,
}

/// An answer in both forms: as it came, for `--json`, and as its type.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    pub(crate) json: String,
    pub(crate) value: T,
}

/// An answer whose status says what kind it is.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Client {
    pub(crate) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>, Failure> {
        self.typed(self.exchange("GET", path, b"")?)
    }

    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Answer<T>, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| self.protocol(error.to_string()))?;
        self.typed(self.exchange("POST", path, &body)?)
    }

    pub(crate) fn patch<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Answer<T>, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| self.protocol(error.to_string()))?;
        self.typed(self.exchange("PATCH", path, &body)?)
    }

    /// Replaces something; the answer as it came, which may be empty.
    pub(crate) fn put_quietly(&self, path: &str, body: &impl Serialize) -> Result<String, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| self.protocol(error.to_string()))?;
        self.exchange("PUT", path, &body)
    }

    /// Any request with a JSON body; `null` sends none.
    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<Reply, Failure> {
        let body = match body.is_null() {
            true => Vec::new(),
            false => serde_json::to_vec(body).map_err(|error| self.protocol(error.to_string()))?,
        };
        let response = self.send(method, path, "application/json", &body)?;
        Ok(Reply { status: response.status, body: self.accept(response)? })
    }

    /// An answer's body as its type.
    pub(crate) fn read<T: DeserializeOwned>(&self, body: &str) -> Result<T, Failure> {
        serde_json::from_str(body).map_err(|error| self.protocol(error.to_string()))
    }

    pub(crate) fn delete(&self, path: &str) -> Result<(), Failure> {
        self.exchange("DELETE", path, b"").map(drop)
    }

    fn typed<T: DeserializeOwned>(&self, json: String) -> Result<Answer<T>, Failure> {
        let value = serde_json::from_str(&json).map_err(|error| self.protocol(error.to_string()))?;
        Ok(Answer { json, value })
    }

    fn exchange(&self, method: &str, path: &str, body: &[u8]) -> Result<String, Failure> {
        self.accept(self.send(method, path, "application/json", body)?)
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        accept: &str,
        body: &[u8],
    ) -> Result<Response<UnixStream>, Failure> {
        let mut stream = self.connect()?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: osvold\r\nAccept: {accept}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).map_err(|e| self.broken(e))?;
        Response::read(stream).map_err(|e| self.broken(e))
    }

    /// Sends a body of unknown length that `write` makes, and gives the answer's body to be read as it comes.
    ///
    /// The daemon may refuse before the body is sent (it is asked first), or while it is.
    pub(crate) fn upload(
        &self,
        path: &str,
        content_type: &str,
        write: impl FnOnce(&mut dyn Write) -> Result<(), UploadError>,
    ) -> Result<BufReader<Body<UnixStream>>, Failure> {
        let mut stream = self.connect()?;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: osvold\r\nAccept: {}, application/json\r\nContent-Type: {content_type}\r\n\
             Transfer-Encoding: chunked\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
            api::NDJSON
        );
        stream.write_all(head.as_bytes()).map_err(|e| self.broken(e))?;
        let sender = stream.try_clone().map_err(|e| self.broken(e))?;
        let mut response = Response::read(stream).map_err(|e| self.broken(e))?;
        let mut sent = Ok(());
        if response.status == 100 {
            let mut body = ChunkedWriter::new(sender);
            sent = match write(&mut body) {
                Ok(()) => body.end(),
                Err(UploadError::Send(error)) => Err(error),
                Err(UploadError::Source(failure)) => return Err(failure),
            };
            // Whatever became of sending, the daemon's own words say more.
            response = match (response.next(), &sent) {
                (Ok(response), _) => response,
                (Err(_), Err(error)) => {
                    return Err(self.broken(io::Error::new(error.kind(), error.to_string())));
                }
                (Err(error), Ok(())) => return Err(self.broken(error)),
            };
        }
        if response.status >= 300 || !response.content_type.starts_with(api::NDJSON) {
            self.accept(response)?;
            return Err(sent
                .err()
                .map_or_else(|| self.protocol("an answer without progress"), |e| self.broken(e)));
        }
        Ok(response.body())
    }

    /// Sends a file as it is, by its name, and gives the answer.
    pub(crate) fn upload_file(
        &self,
        path: &str,
        name: &str,
        write: impl FnOnce(&mut dyn Write) -> Result<(), UploadError>,
    ) -> Result<String, Failure> {
        let mut stream = self.connect()?;
        // A header is one line of plain text.
        let name: String = name.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: osvold\r\nAccept: application/json\r\nContent-Type: application/zip\r\n\
             uploadfilename: {name}\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
        );
        stream.write_all(head.as_bytes()).map_err(|e| self.broken(e))?;
        let sender = stream.try_clone().map_err(|e| self.broken(e))?;
        let response = Response::read(stream).map_err(|e| self.broken(e))?;
        if response.status != 100 {
            return self.accept(response);
        }
        let mut body = ChunkedWriter::new(sender);
        let sent = match write(&mut body) {
            Ok(()) => body.end(),
            Err(UploadError::Send(error)) => Err(error),
            Err(UploadError::Source(failure)) => return Err(failure),
        };
        // Whatever became of sending, the daemon's own words say more.
        match (response.next(), sent) {
            (Ok(response), _) => self.accept(response),
            (Err(_), Err(error)) | (Err(error), Ok(())) => Err(self.broken(error)),
        }
    }

    /// A text.
    pub(crate) fn text(&self, path: &str) -> Result<String, Failure> {
        self.accept(self.send("GET", path, "text/plain, application/json", b"")?)
    }

    /// A body that is read as it comes.
    pub(crate) fn fetch(&self, path: &str) -> Result<BufReader<Body<UnixStream>>, Failure> {
        let response = self.send("GET", path, "application/octet-stream, application/json", b"")?;
        if response.status >= 300 {
            self.accept(response)?;
            return Err(self.protocol("an answer that is neither a file nor a refusal"));
        }
        Ok(response.body())
    }

    /// Asks for something that takes its time, and gives the answer's lines to be read as they come.
    pub(crate) fn post_with_progress(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<BufReader<Body<UnixStream>>, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| self.protocol(error.to_string()))?;
        let accept = format!("{}, application/json", api::NDJSON);
        let response = self.send("POST", path, &accept, &body)?;
        if response.status >= 300 || !response.content_type.starts_with(api::NDJSON) {
            self.accept(response)?;
            return Err(self.protocol("an answer without progress"));
        }
        Ok(response.body())
    }

    /// A disk as its extents: its size, and the body.
    pub(crate) fn download(&self, path: &str) -> Result<(u64, BufReader<Body<UnixStream>>), Failure> {
        let accept = format!("{}, application/json", api::upload::MEDIA_TYPE);
        let response = self.send("GET", path, &accept, b"")?;
        match response.disk_bytes {
            Some(disk_bytes) if response.content_type.starts_with(api::upload::MEDIA_TYPE) => {
                Ok((disk_bytes, response.body()))
            }
            _ => {
                self.accept(response)?;
                Err(self.protocol("an answer without a disk"))
            }
        }
    }

    fn connect(&self) -> Result<UnixStream, Failure> {
        UnixStream::connect(&self.socket)
            .map_err(|source| Failure::Connect { socket: self.socket.clone(), source })
    }

    /// The whole body of an answer, or the refusal that it is.
    fn accept(&self, response: Response<UnixStream>) -> Result<String, Failure> {
        let status = response.status;
        let mut text = String::new();
        response.body().take(ANSWER_BYTES_MAX).read_to_string(&mut text).map_err(|e| self.broken(e))?;
        if status < 300 {
            return Ok(text);
        }
        let refusal = serde_json::from_str(&text).unwrap_or_else(|_| {
            Refusal::new(Code::Unknown, format!("osvold answered HTTP {status}")).details(text)
        });
        Err(Failure::Refused(Box::new(refusal)))
    }

    pub(crate) fn broken(&self, source: io::Error) -> Failure {
        Failure::Broken { socket: self.socket.clone(), source }
    }

    pub(crate) fn protocol(&self, what: impl Into<String>) -> Failure {
        Failure::Protocol { socket: self.socket.clone(), what: what.into() }
    }
}

/// Why a body could not be sent to its end.
#[derive(Debug)]
pub(crate) enum UploadError {
    /// The daemon does not take it.
    Send(io::Error),
    /// The file cannot be read.
    Source(Failure),
}
