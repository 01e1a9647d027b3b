//! Configuration, then the parts, then serve until a signal comes, then stop.

use oneoff_docker_runner::app::{App, ENDPOINTS, reap, stdio};
use oneoff_docker_runner::cancel::Cancel;
use oneoff_docker_runner::config::Config;
use oneoff_docker_runner::healthcheck;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::Write;
use std::process::ExitCode;

const USAGE: &str = "\
usage: oneoff-docker-runner [serve | stdio | healthcheck | reap | --help | --version]

  serve        serve HTTP (the default)
  stdio        speak MCP on standard input and output
  healthcheck  exit 0 if the server of this configuration is healthy
  reap         remove what dead servers left in the engine, and exit

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
        [] | ["serve"] => configured(serve),
        ["stdio"] => configured(speak),
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

fn configured(work: impl Fn(&Config) -> Result<(), String>) -> Result<(), String> {
    let config = Config::from_environment()?;
    env_logger::Builder::new()
        // The inner server's words about its private socket say nothing to an operator.
        .filter_module("tiny_http", log::LevelFilter::Off)
        .parse_filters(&config.log_filter)
        // It would dump every byte to and from the engine, X-Registry-Auth with its password among them.
        .filter_module("ureq_proto::util", log::LevelFilter::Off)
        .try_init()
        .map_err(|e| e.to_string())?;
    work(&config)
}

fn serve(config: &Config) -> Result<(), String> {
    // Registered first: a signal during the start must not be lost.
    let mut signals =
        Signals::new([SIGTERM, SIGINT]).map_err(|error| format!("signals: {error}"))?;
    let app = App::start(config)?;
    print(&banner(&app))?;
    if config.auth_token.is_none() && !app.local_addr().ip().is_loopback() {
        log::warn!("AUTH_TOKEN is empty: whoever reaches this port can run containers");
    }
    signals.forever().next();
    log::info!("stopping");
    // A second signal means now; what is left in the engine goes at the next start.
    std::thread::spawn(move || {
        signals.forever().next();
        std::process::exit(130);
    });
    app.stop();
    Ok(())
}

fn speak(config: &Config) -> Result<(), String> {
    let mut signals =
        Signals::new([SIGTERM, SIGINT]).map_err(|error| format!("signals: {error}"))?;
    let stop = Cancel::new();
    let fired = stop.clone();
    std::thread::spawn(move || {
        signals.forever().next();
        fired.fire();
        signals.forever().next();
        std::process::exit(130);
    });
    stdio(config, &stop)
}

fn banner(app: &App) -> String {
    let address = app.local_addr();
    let head = format!(
        "oneoff-docker-runner {} on http://{address}\n",
        env!("CARGO_PKG_VERSION")
    );
    let endpoint = |(method, path, meaning): &(&str, &str, &str)| {
        format!("  {method:<7}{path:<18} {meaning}\n")
    };
    head + &ENDPOINTS.iter().map(endpoint).collect::<String>()
}

fn print(text: &str) -> Result<(), String> {
    // A closed pipe is no reason to stop serving.
    let mut stdout = std::io::stdout().lock();
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    Ok(())
}
