//! The argument tree. Every flag can also be set by a variable `SPECTRA_…`.

use clap::{Args, Parser, Subcommand, ValueEnum, builder::BoolishValueParser};

use crate::commands;

/// From commit to production on Railway: images, rollouts and a sandbox to try them in.
#[derive(Debug, Parser)]
#[command(name = "railway-deployer", version, propagate_version = true, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Print one JSON document with a `version` instead of text
    #[arg(long, global = true, env = "SPECTRA_JSON", value_parser = BoolishValueParser::new())]
    pub(crate) json: bool,
    /// Print nothing but data and errors
    #[arg(long, global = true, env = "SPECTRA_QUIET", value_parser = BoolishValueParser::new())]
    pub(crate) quiet: bool,
    /// Show no progress bars and lines
    #[arg(long, global = true, env = "SPECTRA_NO_PROGRESS", value_parser = BoolishValueParser::new())]
    pub(crate) no_progress: bool,
    /// When to use colour
    #[arg(long, global = true, env = "SPECTRA_COLOR", value_enum, default_value_t = Color::Auto)]
    pub(crate) color: Color,
    /// The journal of rollouts: `sqlite://FILE` or `postgres://HOST/DATABASE`
    // As text: a URL that cannot be read may hold a password, and clap would repeat it.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = spectra_journal::JOURNAL_VARIABLE,
        hide_env_values = true,
        default_value = spectra_journal::DEFAULT_JOURNAL
    )]
    pub(crate) journal: String,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build, push and look into container images
    #[command(subcommand)]
    Image(commands::image::Command),
    /// Roll images out, watch, stop and undo it
    #[command(subcommand)]
    Rollout(commands::rollout::Command),
    /// Read, check and export the journal of everything that was done
    #[command(subcommand)]
    Audit(commands::audit::Command),
    /// Run a Railway-compatible platform on this machine
    #[command(subcommand)]
    Sandbox(commands::sandbox::Command),
    /// Look for credentials in source code
    #[command(subcommand)]
    Secrets(commands::secrets::Command),
    /// Check what Spectra needs on this machine
    Doctor(commands::doctor::Arguments),
    /// Print a completion script for a shell
    Completions(commands::completions::Arguments),
}

impl Command {
    /// Whether the command ends in its own way when the process is asked to.
    pub(crate) const fn handles_signals(&self) -> bool {
        match self {
            Self::Sandbox(commands::sandbox::Command::Start(arguments)) => arguments.foreground,
            Self::Rollout(command) => command.handles_signals(),
            _ => false,
        }
    }
}
