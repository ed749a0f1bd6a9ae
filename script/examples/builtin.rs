//! Runs plan scripts on a disk image by the built-in engine: `builtin IMAGE SCRIPT…`. For tests, which compare both engines.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::ExitCode;

use script::builtin::{Disk, Outcome, run};
use script::{Step, Values, expand};

struct Image(File);

impl Disk for Image {
    fn size_bytes(&self) -> u64 {
        self.0.metadata().map_or(0, |metadata| metadata.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read_exact_at(out, offset)
    }
}

fn main() -> std::io::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or_else(|| std::io::Error::other("which image?"))?;
    let image = Image(File::options().read(true).write(true).open(path)?);
    let steps = arguments.map(|name| {
        let content = std::fs::read_to_string(&name)?;
        Ok(Step { name, content, has_attributes: false })
    });
    let steps: std::io::Result<Vec<Step>> = steps.collect();
    let script =
        expand(&steps?, &Values::new()).map_err(|faults| std::io::Error::other(format!("{faults:?}")))?;
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let run = run(&script, &image, now, &mut |_| {});
    print!("{}", run.output);
    Ok(match run.outcome {
        Outcome::Done(changes) => {
            for (offset, bytes) in changes {
                image.0.write_all_at(&bytes, offset)?;
            }
            ExitCode::SUCCESS
        }
        Outcome::Failed { line, message, .. } => {
            eprintln!("line {line}: {message}");
            ExitCode::from(1)
        }
        outcome => {
            eprintln!("{outcome:?}");
            ExitCode::from(2)
        }
    })
}
