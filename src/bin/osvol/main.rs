//! osvol: the command line of osvold.
//!
//! It opens image files itself, with the rights of whoever runs it, and talks to the daemon over its control socket
//! alone; only `osvol store` reads a store itself, whose daemon is stopped. Exit codes: 0 done, 1 refused or failed, 2
//! the command line itself is wrong; of `osvol store` 1 means damage, and 3 that the store cannot be read.

mod args;
mod client;
mod commands;
mod connect;
mod extents;
mod failure;
mod generate;
mod http;
mod impact;
mod newfile;
mod output;
mod password;
mod progress;
mod table;
mod user_args;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Command};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;

fn main() -> ExitCode {
    let args = Args::parse();
    let output = Output::new(args.json);
    match run(&args, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let client = Client::new(&args.control);
    match &args.command {
        Command::Image(command) => commands::image::run(command, &client, output),
        Command::Volume(command) => commands::volume::run(command, &client, output),
        Command::Snapshot(command) => commands::snapshot::run(command, &client, output),
        Command::Session(command) => commands::session::run(command, &client, output),
        Command::Plan { command } => commands::plan::run(command.as_ref(), &client, output),
        Command::Bundle(command) => commands::bundle::run(command, &client, output),
        Command::User(command) => commands::user::run(command, &client, output),
        Command::Profile(command) => commands::profile::run(command, &client, output),
        Command::Hardware(command) => commands::hardware::run(command, &client, output),
        Command::HardwareType(command) => commands::hardware_type::run(command, &client, output),
        Command::Enclosure(command) => commands::enclosure::run(command, &client, output),
        Command::EnclosureGroup(command) => commands::enclosure_group::run(command, &client, output),
        Command::Task(command) => commands::task::run(command, &client, output),
        Command::Status => commands::status::run(&client, output),
        Command::Doctor { run } => commands::doctor::run(*run, &client, output),
        Command::Appliance(command) => commands::appliance::run(command, &client, output),
        Command::Scrub(command) => commands::scrub::run(*command, &client, output),
        Command::Store(command) => commands::store::run(command, output),
        Command::Completions { shell } => generate::completions(*shell),
        Command::Man { directory } => generate::man(directory),
    }
}
