//! The command line: reads the configuration, starts what the subcommand names, waits for a signal, stops.

use oneoff_docker_runner::app::{App, ENDPOINTS, Endpoint, reap, stdio};
use oneoff_docker_runner::cancel::Cancel;
use oneoff_docker_runner::config::Config;
use oneoff_docker_runner::healthcheck;
use oneoff_docker_runner::init::{self, protocol::INIT_ARGUMENT};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;

/// Gives freed memory back to the system, from a thread of its own, so that an idle server is small again.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const USAGE: &str = "\
usage: oneoff-docker-runner [serve | stdio | healthcheck | reap | init | --help | --version]

  serve        serve HTTP (the default)
  stdio        speak MCP on standard input and output
  healthcheck  exit 0 if the server of this configuration is healthy
  reap         remove what dead servers left in the engine, and exit
  init         be PID 1 of a run's container; the server starts it there

Settings are environment variables, or lines of .env in the working directory:
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["--help" | "-h" | "help"] => print(&format!("{USAGE}{}", Config::help())),
        ["--version" | "-V"] => print(concat!(
            "oneoff-docker-runner ",
            env!("CARGO_PKG_VERSION"),
            "\n"
        )),
        [INIT_ARGUMENT] => return ExitCode::from(init::run()),
        [] | ["serve"] => configured(serve),
        ["stdio"] => configured(serve_stdio),
        ["healthcheck"] => configured(|config| healthcheck::check(&config.host, config.port)),
        ["reap"] => configured(|config| print(&format!("{} leftovers removed\n", reap(config)?))),
        _ => Err(format!("unknown arguments\n\n{USAGE}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            let _ = writeln!(std::io::stderr(), "oneoff-docker-runner: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// Reads the configuration, sets up logging, and runs a subcommand.
fn configured(subcommand: impl Fn(&Config) -> Result<(), String>) -> Result<(), String> {
    let config = Config::from_environment()?;
    env_logger::Builder::new()
        // The inner server logs about its private socket, which is of no use to an operator.
        .filter_module("tiny_http", log::LevelFilter::Off)
        .parse_filters(&config.log_filter)
        // It logs every byte to and from the engine, with the passwords in X-Registry-Auth.
        .filter_module("ureq_proto::util", log::LevelFilter::Off)
        .try_init()
        .map_err(|e| e.to_string())?;
    subcommand(&config)
}

fn serve(config: &Config) -> Result<(), String> {
    let stop = stop_on_signals()?;
    let app = App::start(config)?;
    print(&banner(&app))?;
    if config.auth_token.is_none() && !app.local_addr().ip().is_loopback() {
        log::warn!("AUTH_TOKEN is empty: whoever reaches this port can run containers");
    }
    let _ = stop.done().recv();
    log::info!("stopping");
    app.stop();
    Ok(())
}

fn serve_stdio(config: &Config) -> Result<(), String> {
    stdio(config, &stop_on_signals()?)
}

/// Returns a token that fires at the first SIGTERM, SIGINT or SIGHUP. A second signal ends the process at once; the next start
/// removes what is left in the engine. To be called before anything is started, so that a signal during the start counts too.
fn stop_on_signals() -> Result<Cancel, String> {
    let mut wanted = vec![SIGTERM, SIGINT];
    if !is_ignored(SIGHUP) {
        wanted.push(SIGHUP);
    }
    let mut signals = Signals::new(wanted).map_err(|error| format!("signals: {error}"))?;
    let stop = Cancel::new();
    let fired = stop.clone();
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            let mut received = signals.forever();
            received.next();
            fired.fire();
            received.next();
            std::process::exit(130);
        })
        .map_err(|error| format!("no thread for signals: {error}"))?;
    Ok(stop)
}

/// Whether this process was started with the signal ignored, as `nohup` does with SIGHUP. It must then stay ignored.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}

/// The address and the endpoints, as whole addresses: terminals make links of them.
fn banner(app: &App) -> String {
    let address = app.local_addr();
    let mut reachable = address;
    if address.ip().is_unspecified() {
        reachable.set_ip(match address.is_ipv4() {
            true => Ipv4Addr::LOCALHOST.into(),
            false => Ipv6Addr::LOCALHOST.into(),
        });
    }
    let head = format!(
        "oneoff-docker-runner {} on http://{reachable}\n",
        env!("CARGO_PKG_VERSION")
    );
    let line = |endpoint: &Endpoint| {
        let Endpoint {
            method,
            path,
            summary,
        } = endpoint;
        let whole = format!("http://{reachable}{path}");
        format!("  {method:<7}{whole:<46} {summary}\n")
    };
    head + &ENDPOINTS.iter().map(line).collect::<String>()
}

/// Writes to standard output. Never fails.
fn print(text: &str) -> Result<(), String> {
    // A closed pipe must not stop the server.
    let mut stdout = std::io::stdout().lock();
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    Ok(())
}
