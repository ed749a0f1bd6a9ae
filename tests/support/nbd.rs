//! A small NBD client: simple replies, one request at a time, and whatever bytes a test likes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on panics")]
#![allow(unreachable_pub, reason = "a part of a test")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

pub const READ: u16 = 0;
pub const WRITE: u16 = 1;
pub const DISC: u16 = 2;
pub const FLUSH: u16 = 3;
pub const TRIM: u16 = 4;
pub const WRITE_ZEROES: u16 = 6;

/// Longest wait for an answer; a bound, never a pause.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Client(UnixStream);

impl Client {
    /// Connected, greeted, and silent.
    pub fn greeted(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    /// In transmission.
    pub fn connect(socket: &Path) -> Self {
        Self::try_connect(socket).expect("the door lets a client in")
    }

    /// In transmission, unless it is turned away. EXPORT_NAME is the shortest way in.
    pub fn try_connect(socket: &Path) -> Option<Self> {
        let mut client = Self::greeted(socket);
        let mut said = [0; 18 + 10];
        client.0.write_all(&Self::hello()).ok()?;
        client.0.read_exact(&mut said).ok()?;
        Some(client)
    }

    /// The client's flags, and EXPORT_NAME.
    pub fn hello() -> Vec<u8> {
        [&3_u32.to_be_bytes()[..], b"IHAVEOPT", &1_u32.to_be_bytes(), &[0; 4]].concat()
    }

    pub fn request(flags: u16, command: u16, offset: u64, bytes: u32) -> Vec<u8> {
        let head = [&[0x25, 0x60, 0x95, 0x13][..], &flags.to_be_bytes(), &command.to_be_bytes()].concat();
        [&head[..], b"a cookie", &offset.to_be_bytes(), &bytes.to_be_bytes()].concat()
    }

    pub fn write_request(flags: u16, offset: u64, data: &[u8]) -> Vec<u8> {
        let bytes = u32::try_from(data.len()).unwrap();
        [Self::request(flags, WRITE, offset, bytes), data.to_vec()].concat()
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// The error number of the next reply.
    pub fn reply(&mut self) -> u32 {
        let mut reply = [0; 16];
        self.0.read_exact(&mut reply).unwrap();
        assert_eq!(reply[..4], [0x67, 0x44, 0x66, 0x98]);
        assert_eq!(&reply[8..], b"a cookie");
        u32::from_be_bytes(*reply[4..].first_chunk().unwrap())
    }

    pub fn reply_with_data(&mut self, bytes: usize) -> Result<Vec<u8>, u32> {
        match self.reply() {
            0 => {
                let mut data = vec![0; bytes];
                self.0.read_exact(&mut data).unwrap();
                Ok(data)
            }
            error => Err(error),
        }
    }

    pub fn ask(&mut self, flags: u16, command: u16, offset: u64, bytes: u32) -> u32 {
        self.send(&Self::request(flags, command, offset, bytes));
        self.reply()
    }

    pub fn read(&mut self, offset: u64, bytes: u32) -> Result<Vec<u8>, u32> {
        self.send(&Self::request(0, READ, offset, bytes));
        self.reply_with_data(bytes as usize)
    }

    pub fn write(&mut self, offset: u64, data: &[u8]) -> u32 {
        self.write_with(0, offset, data)
    }

    pub fn write_with(&mut self, flags: u16, offset: u64, data: &[u8]) -> u32 {
        self.send(&Self::write_request(flags, offset, data));
        self.reply()
    }

    pub fn disconnect(mut self) {
        self.send(&Self::request(0, DISC, 0, 0));
    }

    /// Whether the server has hung up.
    pub fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0; 512]), Ok(0) | Err(_))
    }
}
