//! `osvol user` as a type.

use api::Role;
use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Adds a user. The password is asked for on the terminal.
    Add {
        /// The name to log in with: letters, digits, '.', '_', '-' and '@'.
        name: String,
        /// What the user may do: infrastructure, software, server, backup, network, storage or read-only. May be given
        /// several times.
        #[arg(long = "role", value_name = "ROLE", required = true)]
        roles: Vec<Role>,
        /// What people call the user.
        #[arg(long, value_name = "TEXT", default_value = "")]
        full_name: String,
        /// Do not let the user log in yet.
        #[arg(long)]
        disabled: bool,
        #[command(flatten)]
        password: PasswordFrom,
    },
    /// Lists users.
    #[command(visible_alias = "ls")]
    List,
    /// Changes a user's password. Its login sessions end.
    Passwd {
        /// Name or id.
        name: String,
        #[command(flatten)]
        password: PasswordFrom,
    },
    /// Changes what a user is. Its login sessions end.
    Set {
        /// Name or id.
        name: String,
        /// What the user may do from now on, in place of what it could. May be given several times.
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<Role>,
        /// What people call the user.
        #[arg(long, value_name = "TEXT")]
        full_name: Option<String>,
        /// Let the user log in.
        #[arg(long, conflicts_with = "disable")]
        enable: bool,
        /// Do not let the user log in.
        #[arg(long)]
        disable: bool,
    },
    /// Removes a user. Its login sessions end.
    #[command(visible_alias = "rm")]
    Remove {
        /// Name or id.
        name: String,
    },
}

/// Where a password comes from. Never from the command line, which everybody on the machine can read.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct PasswordFrom {
    /// Read the password from standard input, up to its first line feed, instead of asking for it.
    #[arg(long)]
    pub(crate) password_stdin: bool,
}
