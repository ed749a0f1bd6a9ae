//! osvold: a user-space iSCSI target daemon for copy-on-write OS volumes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use config::Config;

/// Serves OS volumes, copies of golden images, to machines that boot from them over iSCSI.
#[derive(Debug, Parser)]
#[command(name = "osvold", version, max_term_width = 100, arg_required_else_help = true)]
struct Args {
    /// Configuration file.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["state", "openapi"], conflicts_with_all = ["state", "portal", "control"])]
    config: Option<PathBuf>,
    /// Without a configuration file: directory of golden images and volumes.
    #[arg(long, value_name = "DIR", requires = "portal")]
    state: Option<PathBuf>,
    /// Without a configuration file: address to listen on, such as 127.0.0.1:3260. May be given several times.
    #[arg(long, value_name = "ADDR:PORT", requires = "state")]
    portal: Vec<SocketAddr>,
    /// Without a configuration file: the control socket.
    #[arg(long, value_name = "PATH", requires = "state", default_value = config::CONTROL_SOCKET)]
    control: PathBuf,
    /// What is logged: error, warn, info, debug, trace, or a filter. Overrides the configuration.
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
    /// Check the configuration and end.
    #[arg(long, requires = "config")]
    check: bool,
    /// Print the control API's OpenAPI document and end.
    #[arg(long)]
    openapi: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.openapi {
        return match std::io::Write::write_all(&mut std::io::stdout(), osvold::control::openapi().as_bytes())
        {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let outcome = configuration(&args).and_then(|config| match args.check {
        true => Ok(()),
        false => osvold::daemon::run(&config),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("osvold: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What the file says, or the options instead of one.
fn configuration(args: &Args) -> anyhow::Result<Config> {
    let mut config = match &args.config {
        Some(file) => Config::load(file)?,
        None => from_options(args)?,
    };
    if let Some(level) = &args.log {
        config.log.level.clone_from(level);
    }
    Ok(config)
}

fn from_options(args: &Args) -> anyhow::Result<Config> {
    let mut config = Config::default();
    if let Some(state) = &args.state {
        config.store.path = std::path::absolute(state)?;
    }
    config.control.socket = std::path::absolute(&args.control)?;
    config.iscsi.portals.clone_from(&args.portal);
    config.validate().map_err(|(key, message)| anyhow::anyhow!("{}: {message}", option_of(key)))?;
    Ok(config)
}

/// The option that stands for a key.
fn option_of(key: &str) -> &str {
    match key {
        "store.path" => "--state",
        "control.socket" => "--control",
        "iscsi.portals" => "--portal",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Args::command().debug_assert();
    }
}
