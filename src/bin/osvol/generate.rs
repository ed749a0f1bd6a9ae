//! Shell completions and man pages, made from the command line's own description.

use std::fs;
use std::path::Path;

use clap::CommandFactory;

use crate::args::Args;
use crate::failure::Failure;
use crate::output::Output;

pub(crate) fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "osvol", &mut script);
    Output::new(false).text(&String::from_utf8_lossy(&script))
}

/// `osvol.1`, `osvol-image.1`, `osvol-image-add.1`, …
pub(crate) fn man(directory: &Path) -> Result<(), Failure> {
    fs::create_dir_all(directory).map_err(Failure::file("create", directory))?;
    clap_mangen::generate_to(Args::command(), directory)
        .map_err(Failure::file("write man pages into", directory))
}
