//! Passwords from a terminal that does not show them, or from standard input.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use api::Secret;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::failure::Failure;
use crate::user_args::PasswordFrom;

/// Longest password that is read.
const BYTES_MAX: u64 = 4096;

/// A new password: asked for twice on a terminal.
pub(crate) fn new(from: PasswordFrom, user: &str) -> Result<Secret, Failure> {
    let failed = |error: io::Error| Failure::Password(error.to_string());
    if from.password_stdin {
        return line().map_err(failed);
    }
    if !io::stdin().is_terminal() {
        let words = "standard input is no terminal; give --password-stdin to read the password from it";
        return Err(Failure::Password(words.to_owned()));
    }
    let first = asked(&format!("New password of {user}: ")).map_err(failed)?;
    match asked("Once more: ").map_err(failed)? == first {
        true => Ok(first),
        false => Err(Failure::Password("the two are not the same".to_owned())),
    }
}

fn asked(prompt: &str) -> io::Result<Secret> {
    let mut terminal = io::stderr();
    terminal.write_all(prompt.as_bytes())?;
    terminal.flush()?;
    let quiet = Quiet::new()?;
    let read = line();
    drop(quiet);
    terminal.write_all(b"\n")?;
    read
}

fn line() -> io::Result<Secret> {
    let mut line = String::new();
    io::stdin().lock().take(BYTES_MAX).read_line(&mut line)?;
    let password = line.strip_suffix('\n').unwrap_or(&line);
    let password = password.strip_suffix('\r').unwrap_or(password);
    match password.is_empty() {
        true => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "there is none")),
        false => Ok(Secret(password.to_owned())),
    }
}

/// The terminal does not show what is typed, until this is dropped.
struct Quiet(Termios);

impl Quiet {
    fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        quiet.local_modes.insert(LocalModes::ECHONL & before.local_modes);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // Whatever goes wrong here, there is nothing left to do.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}
