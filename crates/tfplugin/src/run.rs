//! The `main` of a provider.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::rpc::Service;
use crate::schema::{Pages, ProviderDocs};
use crate::server::{ServeError, ServeOptions, StopToken};
use crate::{Provider, logging, server};

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Command {
    Serve,
    Debug,
    Version,
    Schema,
    Docs(Docs),
    Help,
}

/// Where documentation goes, and where its examples are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Docs {
    out: PathBuf,
    examples: PathBuf,
    check: bool,
}

/// All that the `main` of a provider does.
///
/// Without arguments it serves Terraform, which starts it; started by hand it explains itself. `--debug` serves for
/// reattachment and prints the variable to set; `schema` prints the schema with defaults and validators as JSON;
/// `docs` writes the pages that a registry shows; `--version` prints the version.
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
        Command::Docs(docs) => write_docs(provider, &docs),
        Command::Serve => serve(provider, ServeOptions::plugin()),
        Command::Debug => serve(provider, ServeOptions::reattach(P::ADDRESS)),
    }
}

fn parse(arguments: &[OsString]) -> Result<Command, String> {
    match arguments {
        [] => Ok(Command::Serve),
        [only] => match only.to_str() {
            // One dash is how the flag is written for providers in Go, and in launch configurations of editors.
            Some("--debug" | "-debug") => Ok(Command::Debug),
            Some("--version" | "-V" | "version") => Ok(Command::Version),
            Some("--help" | "-h" | "help") => Ok(Command::Help),
            Some("schema") => Ok(Command::Schema),
            Some("docs") => parse_docs(&[]).map(Command::Docs),
            _ => Err(only.to_string_lossy().into_owned()),
        },
        [first, more @ ..] if first.to_str() == Some("docs") => parse_docs(more).map(Command::Docs),
        [_, more, ..] => Err(more.to_string_lossy().into_owned()),
    }
}

fn parse_docs(arguments: &[OsString]) -> Result<Docs, String> {
    let mut docs = Docs { out: PathBuf::from("docs"), examples: PathBuf::from("examples"), check: false };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut folder = || {
            arguments
                .next()
                .map(PathBuf::from)
                .ok_or_else(|| format!("{} without a folder", argument.display()))
        };
        match argument.to_str() {
            Some("--out") => docs.out = folder()?,
            Some("--examples") => docs.examples = folder()?,
            Some("--check") => docs.check = true,
            _ => return Err(argument.to_string_lossy().into_owned()),
        }
    }
    Ok(docs)
}

fn help<P: Provider>() -> String {
    format!(
        "terraform-provider-{name} {version}: the Terraform provider `{address}`.\n\n\
         Terraform and OpenTofu start this program themselves; name the provider under `required_providers`.\n\n\
         --debug    serve for a debugger, and print the variable that makes Terraform use this process\n\
         schema     print the schema as JSON, with defaults and validators\n\
         docs       write the pages that a registry shows: [--out docs] [--examples examples]; with --check only\n           \
         say which are not what the schema says, and fail if any is not\n\
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

fn write_docs<P: Provider>(provider: P, docs: &Docs) -> ExitCode {
    let service = Service::new(provider, StopToken::new());
    for problem in service.problems() {
        say(&mut io::stderr(), problem);
    }
    if !service.problems().is_empty() {
        return ExitCode::FAILURE;
    }
    let outcome = Pages::render(&ProviderDocs::of(&service), &docs.examples).and_then(|pages| {
        if docs.check {
            return pages.stale(&docs.out);
        }
        pages.write(&docs.out).map(|()| Vec::new())
    });
    match outcome {
        Ok(stale) if stale.is_empty() => ExitCode::SUCCESS,
        Ok(stale) => {
            for path in stale {
                say(&mut io::stderr(), &format!("{} is not what the schema says", path.display()));
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            say(&mut io::stderr(), &error.to_string());
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
        let docs = |out: &str, examples: &str, check| {
            Ok(Command::Docs(Docs { out: out.into(), examples: examples.into(), check }))
        };
        assert_eq!(parse(&["docs"]), docs("docs", "examples", false));
        assert_eq!(parse(&["docs", "--check", "--out", "a", "--examples", "b"]), docs("a", "b", true));
        assert_eq!(parse(&["docs", "--out"]), Err("--out without a folder".to_owned()));
        assert_eq!(parse(&["docs", "more"]), Err("more".to_owned()));
    }
}
