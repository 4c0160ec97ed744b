//! `dunlin scheduler`.

use std::{io::ErrorKind, net::IpAddr, path::PathBuf, sync::Arc};

use dunlin_link::clock::SystemClock;
use dunlin_protocol::{FleetId, NodeId, Role};
use dunlin_scheduler::{BuiltinPipeline, Listen, ListenError, Server, ServerError, ServerOptions};

use super::{http::HttpOptions, watch::TraceOptions};
use crate::{
    arguments::Global,
    failure::{Exit, Failure},
    fleet::member::{Address, Member, PORT, node_name},
    folders::Folders,
    interrupt::Interrupt,
    runtime::{SHUTDOWN, for_many},
    terminal, version,
};

const HELP: &str = "\
Members connect by QUIC on UDP --port, boards join on the port above it. At the first start a fleet is founded: its authority, \
which signs the certificates of all members, is kept in the folder. Whoever starts the scheduler is logged in as an operator.

  dunlin scheduler                              on one machine
  dunlin token new                              a token for one board, for 15 minutes
  dunlin agent --join TOKEN --scheduler HOST    on the board";

/// Run the scheduler of a fleet
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Scheduler {
    #[command(flatten)]
    pub(crate) options: SchedulerOptions,
    #[command(flatten)]
    http: HttpOptions,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SchedulerOptions {
    /// The policy for requests that name none; read again whenever it changes [default: latency-first]
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// What the scheduler may do to boards by itself: switch their modes, park them; read again whenever it changes [default: nothing]
    #[arg(long, value_name = "FILE")]
    pub(crate) plan: Option<PathBuf>,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0")]
    pub(crate) listen: IpAddr,
    /// UDP port for members; boards join on the one above
    #[arg(long, value_name = "PORT", default_value_t = PORT)]
    pub(crate) port: u16,
    /// The name of a new fleet
    #[arg(long, value_name = "NAME")]
    pub(crate) fleet: Option<String>,
    /// Where the fleet is kept [default: $XDG_DATA_HOME/dunlin/fleet/scheduler]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) folder: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) traces: TraceOptions,
}

impl Scheduler {
    /// # Errors
    /// If it cannot listen, or its folder cannot be used.
    pub(crate) fn execute(&self, global: Global) -> anyhow::Result<()> {
        let runtime = for_many()?;
        let done = runtime.block_on(async {
            let interrupt = Interrupt::watch()?;
            let server = start(&self.options).await?;
            if !global.quiet {
                terminal::tell(format_args!(
                    "fleet {} listens on UDP {}; boards join on {}",
                    server.fleet(),
                    server.members(),
                    server.joining()
                ));
                terminal::tell("`dunlin token new` makes a token for a board, Ctrl-C ends");
            }
            log_in(&server).await?;
            let door = self.http.open(&server, global).await?;
            tokio::select! {
                () = interrupt.token.cancelled() => {}
                () = server.failed() => return Err(failed().into()),
            }
            if let Some(door) = door {
                door.close().await;
            }
            server.stop().await;
            Ok(())
        });
        runtime.shutdown_timeout(SHUTDOWN);
        done
    }
}

/// What whoever supervises this process is told.
pub(crate) fn failed() -> Failure {
    Failure::new(Exit::Failed, "the scheduler failed: a bug of Dunlin")
        .hint("start it again: nodes come back by themselves, and tell what they hold")
}

/// # Errors
/// As [`Server::start`].
pub(crate) async fn start(options: &SchedulerOptions) -> anyhow::Result<Server> {
    let folders = Folders::find()?;
    let folder = options.folder.clone().unwrap_or_else(|| folders.data.join("fleet/scheduler"));
    std::fs::create_dir_all(&folder)?;
    let fleet = options.fleet.as_deref().map(str::parse::<FleetId>).transpose();
    let fleet = fleet.map_err(|error| Failure::usage(error.to_string()))?;
    let port_above =
        options.port.checked_add(1).ok_or_else(|| Failure::usage("there is no port above 65535"))?;
    // 0 asks for any port, for both.
    let joining = if options.port == 0 { 0 } else { port_above };
    let builtins = dunlin_plugins::all()
        .iter()
        .map(|plugin| BuiltinPipeline { name: plugin.name.to_owned(), summary: plugin.summary.to_owned() });
    let options = ServerOptions {
        folder,
        fleet,
        listen: Listen {
            name: node_name("scheduler").map_err(Failure::usage)?,
            members: (options.listen, options.port).into(),
            joining: (options.listen, joining).into(),
        },
        policy: options.policy.clone(),
        plan: options.plan.clone(),
        builtins: builtins.collect(),
        build: version::SHORT.to_owned(),
        otlp: options.traces.endpoint(),
    };
    Server::start(options, Arc::new(SystemClock::default())).await.map_err(not_started)
}

fn not_started(error: ServerError) -> anyhow::Error {
    match &error {
        ServerError::Listen(ListenError::Bind { source, .. }) if source.kind() == ErrorKind::AddrInUse => {
            Failure::new(Exit::Failed, error.to_string())
                .hint("a scheduler may run here already: `dunlin nodes` asks it; --port PORT takes another port, and the one above it")
                .into()
        }
        ServerError::Plan(error) => {
            Failure::usage(error.to_string()).hint("examples/plans has some to start from").into()
        }
        _ => error.into(),
    }
}

/// Whoever can read the folder of the scheduler may do everything: he is an operator, unless he is one of another fleet.
pub(crate) async fn log_in(server: &Server) -> anyhow::Result<()> {
    let member = Member::open(&Member::login(&Folders::find()?))?;
    let own = server.fleet();
    match member.folder.identity()? {
        Some((trust, _)) if trust.fleet == *own && member.scheduler() == Some(address(server)) => {
            return Ok(());
        }
        Some((trust, _)) if trust.fleet != *own => {
            terminal::tell(format_args!(
                "you stay logged in to {}; `dunlin login` with a token of this fleet changes that",
                trust.fleet
            ));
            return Ok(());
        }
        _ => {}
    }
    let user = std::env::var("USER").ok().and_then(|user| user.to_lowercase().parse::<NodeId>().ok());
    let token = server.token(Role::Operator, user).await?;
    let name = member.join(&address(server), &token, None).await?;
    terminal::tell(format_args!("you are logged in as operator {name}"));
    Ok(())
}

pub(crate) fn address(server: &Server) -> Address {
    Address::local(server.members().port())
}
