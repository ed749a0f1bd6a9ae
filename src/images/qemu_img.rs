//! `qemu-img` as a helper: explicit formats, no shell, bounded in time, memory and output, killed when it is not
//! wanted any more.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use api::{Code, Refusal};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::sniff::DiskFormat;
use crate::control::refusals;

/// Most of its complaints that are kept.
const STDERR_BYTES_MAX: usize = 4 << 10;
/// A damaged file makes it complain of every cluster; a reader needs a few.
const COMPLAINTS_MAX: usize = 3;
/// Longest line of its output.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Most address space it may take.
const ADDRESS_SPACE_BYTES_MAX: u64 = 4 << 30;

/// The program, and until when it may run.
#[derive(Debug, Clone)]
pub(super) struct QemuImg {
    program: PathBuf,
    format: DiskFormat,
    time_max: Duration,
    deadline: Instant,
}

/// Parts of `qemu-img info --output=json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Info {
    virtual_size: u64,
    format: String,
    backing_filename: Option<String>,
    format_specific: Option<FormatSpecific>,
}

#[derive(Debug, Deserialize)]
struct FormatSpecific {
    #[serde(default)]
    data: serde_json::Map<String, serde_json::Value>,
}

/// Parts of one line of `qemu-img map --output=json`.
#[derive(Debug, Deserialize)]
struct Extent {
    length: u64,
    data: bool,
    #[serde(default)]
    compressed: bool,
    offset: Option<u64>,
}

impl QemuImg {
    pub(super) fn new(
        program: &Path,
        format: DiskFormat,
        deadline: std::time::Instant,
        time_max: Duration,
    ) -> Self {
        Self { program: program.to_owned(), format, time_max, deadline: deadline.into() }
    }

    /// Makes sure that it sees what the header says: a disk of this size in a file that stands alone.
    pub(super) async fn info(&self, file: &Path, disk_bytes: u64) -> Result<(), Refusal> {
        let mut json = Vec::new();
        let run = self.run(file, &["info", "--output=json"], None, |line| {
            if json.len() < 1 << 20 {
                json.extend_from_slice(line);
            }
        });
        let done = run.await?;
        if !done.status.success() {
            return Err(self.damaged(&done.stderr));
        }
        let info: Info = serde_json::from_slice(&json).map_err(|error| {
            Refusal::new(Code::Internal, "qemu-img info cannot be understood").details(error.to_string())
        })?;
        if !info.stands_alone() || info.format != driver(self.format) {
            return Err(Refusal::new(
                Code::BadImage,
                format!(
                    "the {} file needs another file; only images that stand alone are taken",
                    self.format.name()
                ),
            ));
        }
        match info.virtual_size == disk_bytes {
            true => Ok(()),
            false => Err(self.damaged(&format!(
                "its header says {disk_bytes} bytes, qemu-img reads {}",
                info.virtual_size
            ))),
        }
    }

    /// Checks the file's own structure, and that no data lies past its end.
    pub(super) async fn check(&self, file: &Path, file_bytes: u64) -> Result<(), Refusal> {
        let done = self.run(file, &["check", "-q"], None, |_| ()).await?;
        // 0: consistent. 3: leaked clusters, which waste space and harm nothing. 63: this format has no check.
        if !matches!(done.status.code(), Some(0 | 3 | 63)) {
            return Err(self.damaged(&done.stderr));
        }
        let mut data_end = 0;
        let run = self.run(file, &["map", "--output=json"], None, |line| {
            data_end = data_end.max(extent_end(line));
        });
        let done = run.await?;
        if !done.status.success() {
            return Err(self.damaged(&done.stderr));
        }
        match data_end > file_bytes {
            true => Err(self.damaged(&format!(
                "data is expected up to byte {data_end}, the file has {file_bytes} bytes"
            ))),
            false => Ok(()),
        }
    }

    /// Writes the disk into `raw`; `progress` hears thousandths.
    pub(super) async fn convert(
        &self,
        file: &Path,
        raw: &Path,
        mut progress: impl FnMut(u64),
    ) -> Result<(), Refusal> {
        let options = ["convert", "-p", "-O", "raw"];
        let done = self.run(file, &options, Some(raw), |line| progress(thousandths(line))).await?;
        match done.status.success() {
            true => Ok(()),
            false => Err(self.damaged(&done.stderr)),
        }
    }

    /// Runs it on a file. What that is is said in options, so that nothing in its name can mean anything.
    async fn run(
        &self,
        file: &Path,
        options: &[&str],
        output: Option<&Path>,
        mut line: impl FnMut(&[u8]),
    ) -> Result<Done, Refusal> {
        let mut child = self.spawn(file, options, output)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let work = async {
            let (_, stderr) = tokio::join!(read_lines(stdout, &mut line), read_some(stderr));
            child.wait().await.map(|status| Done { status, stderr })
        };
        match tokio::time::timeout_at(self.deadline, work).await {
            Ok(done) => done.map_err(|error| refusals::of_io("wait for qemu-img", &error)),
            Err(_) => Err(self.timed_out()),
        }
    }

    fn spawn(&self, file: &Path, options: &[&str], output: Option<&Path>) -> Result<Child, Refusal> {
        let mut command = Command::new(&self.program);
        command.args(options).arg("--image-opts").arg(image_options(self.format, file)).args(output);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command.env_clear().env("LC_ALL", "C").env("PATH", "/usr/local/bin:/usr/bin:/bin");
        let child = command.spawn().map_err(|error| self.cannot_start(&error))?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let limit = Rlimit { current: Some(ADDRESS_SPACE_BYTES_MAX), maximum: Some(ADDRESS_SPACE_BYTES_MAX) };
        if let Some(Err(error)) = pid.map(|pid| prlimit(Some(pid), Resource::As, limit)) {
            tracing::warn!("qemu-img runs without a limit of memory: {error}");
        }
        Ok(child)
    }

    fn cannot_start(&self, error: &std::io::Error) -> Refusal {
        match error.kind() {
            std::io::ErrorKind::NotFound => {
                let message = format!(
                    "{} is not installed; it is needed to read {} images",
                    self.program.display(),
                    self.format.name()
                );
                Refusal::new(Code::MissingTool, message)
                    .action("install the package qemu-utils (Debian, Ubuntu) or qemu-img (Fedora, RHEL)")
                    .action("or convert the image to raw elsewhere")
            }
            _ => refusals::of_io(&format!("start {}", self.program.display()), error),
        }
    }

    /// A file that qemu-img cannot read, or a disk that it cannot write.
    fn damaged(&self, stderr: &str) -> Refusal {
        if stderr.contains("No space left on device") || stderr.contains("File too large") {
            return refusals::no_space().details(stderr.trim());
        }
        let name = self.format.name();
        Refusal::new(Code::BadImage, format!("the {name} file is damaged or truncated; nothing was added"))
            .details(stderr.trim().lines().take(COMPLAINTS_MAX).collect::<Vec<_>>().join("\n"))
            .action("get the file again, or check it with qemu-img check")
    }

    fn timed_out(&self) -> Refusal {
        Refusal::new(
            Code::TimedOut,
            format!("converting the image took longer than {} s", self.time_max.as_secs()),
        )
        .action("raise images.convert_time_max in osvold's configuration, or convert the image to raw first")
    }
}

struct Done {
    status: ExitStatus,
    stderr: String,
}

impl Info {
    /// No backing file, no data file, and no more extents than itself.
    fn stands_alone(&self) -> bool {
        let data = self.format_specific.as_ref().map(|specific| &specific.data);
        let extents = data.and_then(|data| data.get("extents")).and_then(serde_json::Value::as_array);
        self.backing_filename.is_none()
            && data.is_none_or(|data| !data.contains_key("data-file"))
            && extents.is_none_or(|extents| extents.len() <= 1)
    }
}

/// QEMU's name of a format's driver.
fn driver(format: DiskFormat) -> &'static str {
    match format {
        DiskFormat::Qcow2 => "qcow2",
        DiskFormat::Vmdk => "vmdk",
        DiskFormat::Vhdx => "vhdx",
        DiskFormat::Vhd => "vpc",
    }
}

/// The file as options (qemu-img(1), `--image-opts`): a comma in a value is written twice.
fn image_options(format: DiskFormat, file: &Path) -> OsString {
    let mut options = OsString::from(format!("driver={}", driver(format)));
    if format == DiskFormat::Vhd {
        // The size that its footer says, and not the one that its geometry comes to.
        options.push(",force_size_calc=current_size");
    }
    options.push(",read-only=on,file.driver=file,file.filename=");
    let path: Vec<u8> =
        file.as_os_str().as_bytes().split(|byte| *byte == b',').collect::<Vec<_>>().join(&b",,"[..]);
    options.push(OsStr::from_bytes(&path));
    options
}

/// Where an extent of plain data ends in the file; compressed data is checked by reading it.
fn extent_end(line: &[u8]) -> u64 {
    let json = line.trim_ascii().trim_ascii_start();
    let json = json.strip_prefix(b"[").unwrap_or(json);
    let json = json.strip_suffix(b"]").or_else(|| json.strip_suffix(b",")).unwrap_or(json);
    match serde_json::from_slice(json) {
        Ok(Extent { length, data: true, compressed: false, offset: Some(offset) }) => {
            offset.saturating_add(length)
        }
        Ok(_) | Err(_) => 0,
    }
}

/// `    (12.34/100%)` is 123.
fn thousandths(line: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(line);
    let number = text.trim().trim_start_matches('(').split('/').next().unwrap_or_default();
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let tenth = fraction.chars().next().and_then(|c| c.to_digit(10)).unwrap_or(0);
    (whole.parse::<u64>().unwrap_or(0) * 10 + u64::from(tenth)).min(1000)
}

/// Hands on each line; qemu-img ends its progress with a carriage return.
async fn read_lines(stream: Option<impl AsyncRead + Unpin>, line: &mut impl FnMut(&[u8])) {
    let Some(stream) = stream else { return };
    let mut stream = BufReader::new(stream);
    let mut bytes = Vec::new();
    loop {
        let piece = match stream.fill_buf().await {
            Ok([]) | Err(_) => break,
            Ok(piece) => piece,
        };
        let end = piece.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let taken = end.map_or(piece.len(), |at| at + 1);
        if bytes.len() < LINE_BYTES_MAX {
            bytes.extend_from_slice(&piece[..taken]);
        }
        stream.consume(taken);
        if end.is_some() {
            line(&bytes);
            bytes.clear();
        }
    }
    line(&bytes);
}

/// The first complaints; the rest is read and forgotten, so that the program never waits for us.
async fn read_some(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let (mut kept, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        let room = STDERR_BYTES_MAX - kept.len();
        kept.extend_from_slice(&buffer[..read.min(room)]);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read() {
        assert_eq!(thousandths(b"    (0.00/100%)"), 0);
        assert_eq!(thousandths(b"    (12.34/100%)"), 123);
        assert_eq!(thousandths(b"    (100.00/100%)"), 1000);
        assert_eq!(thousandths(b"nonsense"), 0);
    }

    #[test]
    fn a_path_means_nothing_but_itself() {
        let options = |format, path: &str| image_options(format, Path::new(path)).into_string().unwrap();
        assert_eq!(
            options(DiskFormat::Vmdk, "/a,file.driver=nbd/x"),
            "driver=vmdk,read-only=on,file.driver=file,file.filename=/a,,file.driver=nbd/x"
        );
        assert!(options(DiskFormat::Vhd, "/a").starts_with("driver=vpc,force_size_calc=current_size,"));
    }

    #[test]
    fn the_end_of_plain_data_is_read() {
        let line = br#"[{ "start": 0, "length": 8388608, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 327680}]"#;
        assert_eq!(extent_end(line), 8_716_288);
        assert_eq!(extent_end(br#"{ "start": 0, "length": 5, "zero": true, "data": false},"#), 0);
        let packed = br#"{ "start": 0, "length": 5, "zero": false, "data": true, "compressed": true},"#;
        assert_eq!(extent_end(packed), 0);
    }
}
