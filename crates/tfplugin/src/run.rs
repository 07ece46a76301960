//! The `main` of a provider.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::rpc::Service;
use crate::schema::ProviderDocs;
use crate::server::{ServeError, ServeOptions, StopToken};
use crate::{Provider, logging, server};

/// What the command line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Serve,
    Debug,
    Version,
    Schema,
    Help,
}

/// All that the `main` of a provider does.
///
/// Without arguments it serves Terraform, which starts it; started by hand it explains itself. `--debug` serves for
/// reattachment and prints the variable to set; `schema` prints the schema with defaults and validators as JSON;
/// `--version` prints the version.
pub fn run<P: Provider>(provider: P) -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let command = match parse(&arguments) {
        Ok(command) => command,
        Err(unknown) => {
            say(&mut io::stderr(), &format!("unknown argument `{unknown}`\n\n{}", help::<P>()));
            return ExitCode::from(2);
        }
    };
    match command {
        Command::Version => {
            say(&mut io::stdout(), &format!("terraform-provider-{} {}", P::NAME, P::VERSION));
            ExitCode::SUCCESS
        }
        Command::Help => {
            say(&mut io::stdout(), &help::<P>());
            ExitCode::SUCCESS
        }
        Command::Schema => schema(provider),
        Command::Serve => serve(provider, ServeOptions::plugin()),
        Command::Debug => serve(provider, ServeOptions::reattach(P::ADDRESS)),
    }
}

fn parse(arguments: &[std::ffi::OsString]) -> Result<Command, String> {
    match arguments {
        [] => Ok(Command::Serve),
        [only] => match only.to_str() {
            // One dash is how the flag is written for providers in Go, and in launch configurations of editors.
            Some("--debug" | "-debug") => Ok(Command::Debug),
            Some("--version" | "-V" | "version") => Ok(Command::Version),
            Some("--help" | "-h" | "help") => Ok(Command::Help),
            Some("schema") => Ok(Command::Schema),
            _ => Err(only.to_string_lossy().into_owned()),
        },
        [_, more, ..] => Err(more.to_string_lossy().into_owned()),
    }
}

fn help<P: Provider>() -> String {
    format!(
        "terraform-provider-{name} {version}: the Terraform provider `{address}`.\n\n\
         Terraform and OpenTofu start this program themselves; name the provider under `required_providers`.\n\n\
         --debug    serve for a debugger, and print the variable that makes Terraform use this process\n\
         schema     print the schema as JSON, with defaults and validators\n\
         --version  print the version",
        name = P::NAME,
        version = P::VERSION,
        address = P::ADDRESS,
    )
}

fn serve<P: Provider>(provider: P, options: ServeOptions) -> ExitCode {
    logging::init(P::NAME);
    let (service, options) = prepare(provider, options);
    server::run(service, options)
}

/// Serves a provider on the runtime that is there, inside a larger program: a debugger, a test. See [`ServeOptions::embedded`];
/// logging is the program's own.
pub async fn serve_embedded<P: Provider>(provider: P, options: ServeOptions) -> Result<(), ServeError> {
    let (service, options) = prepare(provider, options);
    server::serve(service, options).await
}

/// The handlers share the server's stop token, and what a connection has configured ends with it.
fn prepare<P: Provider>(provider: P, options: ServeOptions) -> (Service<P>, ServeOptions) {
    let service = Service::new(provider, options.stop.clone());
    let closed = service.clone();
    let options = options.on_connection_closed(move |connection| closed.forget(connection));
    (service, options)
}

fn schema<P: Provider>(provider: P) -> ExitCode {
    let service = Service::new(provider, StopToken::new());
    for problem in service.problems() {
        say(&mut io::stderr(), problem);
    }
    match serde_json::to_string_pretty(&ProviderDocs::of(&service)) {
        Ok(text) if service.problems().is_empty() => {
            say(&mut io::stdout(), &text);
            ExitCode::SUCCESS
        }
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            say(&mut io::stderr(), &format!("cannot write the schema as JSON: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// A closed pipe leaves nobody to tell.
fn say(output: &mut impl Write, text: &str) {
    let _ = writeln!(output, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_commands_or_refused() {
        let parse = |arguments: &[&str]| parse(&arguments.iter().map(Into::into).collect::<Vec<_>>());
        assert_eq!(parse(&[]), Ok(Command::Serve));
        assert_eq!(parse(&["-debug"]), Ok(Command::Debug));
        assert_eq!(parse(&["schema"]), Ok(Command::Schema));
        assert_eq!(parse(&["--debgu"]), Err("--debgu".to_owned()));
        assert_eq!(parse(&["schema", "extra"]), Err("extra".to_owned()));
    }
}
