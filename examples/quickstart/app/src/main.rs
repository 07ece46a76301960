//! The service that the quickstart rolls out. It has no dependencies, so that a static build of it is a
//! whole container image.
//!
//! Environment: `PORT` (default 8080), `QUICKSTART_BODY` (what `/` answers), `QUICKSTART_HEALTH_STATUS`
//! (what `/healthz` answers, default 200; the bad image sets 503).

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// A client that says nothing for this long is dropped.
const IDLE: Duration = Duration::from_secs(5);
/// Longer request lines and headers than this are refused, so that a client cannot fill the memory.
const LONGEST: u64 = 16 * 1024;

struct Settings {
    port: u16,
    body: String,
    health_status: u16,
}

impl Settings {
    fn from_env(read: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let number = |name: &str, default: u16| match read(name) {
            None => Ok(default),
            Some(text) => text.parse::<u16>().map_err(|error| {
                format!("`{name}` has to be a number from 0 to 65535, not `{text}`: {error}")
            }),
        };
        let health_status = number("QUICKSTART_HEALTH_STATUS", 200)?;
        if !(200..=599).contains(&health_status) {
            return Err(format!("`QUICKSTART_HEALTH_STATUS` has to be from 200 to 599, not {health_status}"));
        }
        Ok(Self {
            port: number("PORT", 8080)?,
            body: read("QUICKSTART_BODY").unwrap_or_else(|| "hello from the quickstart".to_owned()),
            health_status,
        })
    }

    /// Status and body for a request line such as `GET /healthz HTTP/1.1`.
    fn answer(&self, request_line: &str) -> (u16, String) {
        let mut words = request_line.split_whitespace();
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if !matches!(method, "GET" | "HEAD") {
            return (405, "only GET and HEAD".to_owned());
        }
        match target.split('?').next().unwrap_or_default() {
            "/" => (200, self.body.clone()),
            "/healthz" if self.health_status == 200 => (200, "ok".to_owned()),
            "/healthz" => (self.health_status, "unhealthy".to_owned()),
            _ => (404, "not found".to_owned()),
        }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // A closed standard error is no reason to fail differently.
            let _ = writeln!(io::stderr(), "quickstart-app: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let settings = Arc::new(Settings::from_env(|name| std::env::var(name).ok())?);
    // Unspecified IPv6 takes IPv4 as well where the kernel allows it; Railway's private network is IPv6.
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, settings.port))
        .or_else(|_| TcpListener::bind(("0.0.0.0", settings.port)))
        .map_err(|error| format!("cannot listen on port {}: {error}", settings.port))?;
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let settings = Arc::clone(&settings);
        std::thread::spawn(move || {
            // A client that goes away in the middle is its own problem.
            let _ = serve(&stream, &settings);
        });
    }
    Ok(())
}

/// Reads one request, answers it and closes.
fn serve(stream: &TcpStream, settings: &Settings) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_write_timeout(Some(IDLE))?;
    let mut reader = BufReader::new(io::Read::take(stream, LONGEST));
    let mut request_line = String::new();
    reader.read_line(&mut request_line)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    let (status, body) = settings.answer(&request_line);
    let reason = if status == 200 { "OK" } else { "Error" };
    let mut out = stream;
    write!(
        out,
        "HTTP/1.1 {status} {reason}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    )?;
    if !request_line.starts_with("HEAD") {
        out.write_all(body.as_bytes())?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Result<Settings, String> {
        Settings::from_env(|name| {
            pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_good_image_is_healthy_and_says_hello() {
        let settings = settings(&[]).unwrap();
        assert_eq!(settings.answer("GET / HTTP/1.1"), (200, "hello from the quickstart".to_owned()));
        assert_eq!(settings.answer("GET /healthz?x=1 HTTP/1.1"), (200, "ok".to_owned()));
        assert_eq!(settings.answer("GET /other HTTP/1.1").0, 404);
        assert_eq!(settings.answer("POST / HTTP/1.1").0, 405);
    }

    #[test]
    fn the_bad_image_is_unhealthy_and_still_answers() {
        let settings = settings(&[("QUICKSTART_HEALTH_STATUS", "503")]).unwrap();
        assert_eq!(settings.answer("GET /healthz HTTP/1.1").0, 503);
        assert_eq!(settings.answer("GET / HTTP/1.1").0, 200);
    }

    #[test]
    fn a_malformed_setting_is_named() {
        assert!(settings(&[("PORT", "eighty")]).is_err_and(|message| message.contains("`PORT`")));
        assert!(
            settings(&[("QUICKSTART_HEALTH_STATUS", "42")])
                .is_err_and(|message| message.contains("`QUICKSTART_HEALTH_STATUS`"))
        );
    }

    #[test]
    fn a_real_connection_is_answered() {
        use std::io::Read;

        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            serve(&stream, &settings(&[("QUICKSTART_BODY", "hi")]).unwrap()).unwrap();
        });
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        server.join().unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\nhi"), "{text}");
    }
}
