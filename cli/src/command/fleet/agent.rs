//! `dunlin agent`.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use dunlin_agent::{Agent as Node, AgentOptions, Builtin, Emulation, Ending, Probing};
use dunlin_costs::ModelDigest;
use dunlin_engine_handle::Threads;
use dunlin_protocol::{ComponentDigest, JoinToken, NodeId};

use super::{
    agent_file::{AgentFile, FORMAT},
    watch::{MetricsOptions, TraceOptions},
};
use crate::{
    arguments::Global,
    board, duration, engine,
    failure::{Exit, Failure},
    fleet::{
        member::{Address, Member, PORT, node_name, token},
        models,
    },
    folders::Folders,
    host::COMPILE_CHILD,
    interrupt::Interrupt,
    meters::MetersArgument,
    runtime::{SHUTDOWN, beside_engine},
    terminal, version,
};

/// The argument that makes this executable a worker.
pub(crate) const WORKER: &str = "worker";

/// In the place of a worker's options: take away what a worker takes from itself, and say what could be taken.
pub(crate) const TRY_CONFINEMENT: &str = "--try-confinement";

/// The process is of no further use.
pub(crate) fn try_confinement() -> ExitCode {
    let confinement = dunlin_worker::try_confinement(&std::env::temp_dir());
    let printed = terminal::print_json(&confinement);
    if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

const HELP: &str = "\
Models: those of `dunlin model ls` on this machine, and those that the scheduler sends. What `dunlin profile` measured here is \
told to the scheduler, also while the agent runs. Pipelines run in a child process that \
has no keys and no network; models in one engine process each.

--emulate CLASS makes up a board that nobody has here: the agent is real, the engine answers at the pace of a model of the \
board, with text that means nothing, and everything it does, its joules too, is marked as emulated. There are orin-nano-8g (modes 7W, 15W, 25W, \
MAXN), pi5-8g and pi5-8g-hot.";

/// Run a node of a fleet on this machine
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("{HELP}\n\n{FORMAT}"))]
pub(crate) struct Agent {
    /// Join a fleet with this token (`dunlin token new`); needed once
    #[arg(long, value_name = "TOKEN", value_parser = token)]
    join: Option<JoinToken>,
    #[command(flatten)]
    options: NodeOptions,
    #[command(flatten)]
    metrics: MetricsOptions,
}

#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct NodeOptions {
    /// Where the scheduler is [default: the one that it joined, or this machine]
    #[arg(long, value_name = "HOST[:PORT]", value_parser = Address::parse)]
    scheduler: Option<Address>,
    /// What to be called [default: the name of this machine]
    #[arg(long, value_name = "NAME", value_parser = node_name)]
    name: Option<NodeId>,
    /// What kind of board this is; boards of a class share cost rows [default: found out]
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// The power state that it is in: a governor, a power mode [default: found out]
    #[arg(long, value_name = "MODE")]
    mode: Option<String>,
    /// Modes that the fleet may put this machine into, or `all`; what was found is restored at the end
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    modes: Vec<String>,
    /// Something to know of it, for policies
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
    /// What models and their contexts may take together [default: what is free]
    #[arg(long, value_name = "SIZE", value_parser = megabytes)]
    memory: Option<u64>,
    /// Threads for both phases, or for reading prompts and for writing answers [default: all cores]
    #[arg(long, value_name = "N|PREFILL,DECODE", value_parser = engine::threads)]
    threads: Option<Threads>,
    /// Do not look at models that were loaded and of which nothing was measured here
    #[arg(long)]
    no_probe: bool,
    /// Let the fleet measure a model again while nothing runs here, where requests do not take what its rows say any more
    #[arg(long)]
    remeasure: bool,
    #[command(flatten)]
    meters: MetersArgument,
    /// Be a board of this class that does not exist: orin-nano-8g, pi5-8g, pi5-8g-hot
    #[arg(long, value_name = "CLASS")]
    emulate: Option<String>,
    /// Where it is kept [default: $XDG_DATA_HOME/dunlin/fleet/agent]
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    #[command(flatten)]
    traces: TraceOptions,
    /// How long what runs may take to end when the agent is told to stop
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration::parse)]
    drain: Duration,
}

fn megabytes(text: &str) -> Result<u64, String> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 =
        digits.parse().map_err(|_| "a size is a number and a unit, as in 512MB or 6GB".to_owned())?;
    match unit.trim().to_ascii_uppercase().as_str() {
        "MB" | "M" => Ok(number * 1_000_000),
        "GB" | "G" => Ok(number * 1_000_000_000),
        "" => Ok(number),
        _ => Err(format!("{unit:?} is no unit: there are MB and GB")),
    }
}

impl Agent {
    /// # Errors
    /// If it cannot join, or has not.
    pub(crate) fn execute(&self, global: Global) -> anyhow::Result<()> {
        let runtime = beside_engine()?;
        let done = runtime.block_on(async {
            let interrupt = Interrupt::watch()?;
            let (member, scheduler) = self.options.member()?;
            if let Some(token) = &self.join {
                let joining = member.join(&scheduler, token, self.options.name());
                let name = interrupt.unless(joining).await?;
                terminal::tell(format_args!("joined as {name}"));
            }
            let node = self.options.start(&member, &scheduler, global)?;
            let _metrics = self.metrics.expose(&node, global).await?;
            if !global.quiet {
                terminal::tell(format_args!(
                    "node {} of {}; Ctrl-C lets what runs end, twice stops at once",
                    node.name(),
                    scheduler.as_str()
                ));
            }
            match node.run(interrupt.token.clone(), self.options.drain).await {
                Ending::Drained => Ok(()),
                Ending::CutOff(left) => Err(Failure::new(
                    Exit::Failed,
                    format!("{left} attempts were cut off after {}", duration::show(self.options.drain)),
                )
                .hint("they go on elsewhere; --drain TIME waits for longer")
                .into()),
            }
        });
        runtime.shutdown_timeout(SHUTDOWN);
        done
    }
}

impl NodeOptions {
    /// Of a node beside its scheduler: all is found out but what it may do, and where spans go.
    pub(super) fn local(modes: &[String], traces: &TraceOptions) -> Self {
        Self { modes: modes.to_vec(), traces: traces.clone(), ..Self::default() }
    }

    /// The folder of the node, and its scheduler.
    fn member(&self) -> anyhow::Result<(Member, Address)> {
        let folders = Folders::find()?;
        let folder = self.folder.clone().unwrap_or_else(|| folders.data.join("fleet/agent"));
        let member = Member::open(&folder)?;
        let scheduler = self.scheduler.clone().or_else(|| member.scheduler());
        Ok((member, scheduler.unwrap_or_else(|| Address::local(PORT))))
    }

    fn name(&self) -> Option<NodeId> {
        self.name.clone().or_else(|| {
            let host = std::fs::read_to_string("/etc/hostname").ok()?;
            host.trim().to_lowercase().parse().ok()
        })
    }

    /// # Errors
    /// If it has not joined, or its folder cannot be used.
    pub(crate) fn start(&self, member: &Member, scheduler: &Address, global: Global) -> anyhow::Result<Node> {
        let folders = Folders::find()?;
        let labels = self.labels.iter().map(|label| {
            let split = label.split_once('=').filter(|(name, _)| !name.is_empty());
            split.map(|(name, value)| (name.to_owned(), value.to_owned())).ok_or_else(|| {
                Failure::usage(format!("--label {label:?} has no value")).hint("write --label NAME=VALUE")
            })
        });
        let labels = labels.collect::<Result<Vec<_>, _>>()?;
        let threads = self.threads.unwrap_or_else(board::threads);
        let written = AgentFile::read(&folders)?;
        let is_probed = !self.no_probe && written.probe != Some(false);
        let mut options = AgentOptions {
            folder: member.path.clone(),
            scheduler: scheduler.resolve()?,
            class: self.class.clone().unwrap_or_else(board::class),
            firmware: board::firmware(threads),
            labels,
            mode: self.mode.clone().unwrap_or_else(board::mode),
            modes: self.modes.clone(),
            threads,
            memory_bytes: self.memory,
            models: Vec::new(),
            builtins: builtins(),
            emulation: None,
            meters: self.meters.read(&folders)?,
            root: PathBuf::from("/"),
            costs: folders.costs(),
            remeasures: self.remeasure || written.remeasure == Some(true),
            probe: if is_probed { Probing::default() } else { Probing::Never },
            worker: (std::env::current_exe()?, WORKER.to_owned()),
            compile_child: COMPILE_CHILD.to_owned(),
            engine: engine::executable()?,
            build: version::SHORT.to_owned(),
            otlp: self.traces.endpoint(),
        };
        match &self.emulate {
            Some(class) => self.emulated(class, &mut options)?,
            None => options.models = models::local(&folders)?,
        }
        let here: Vec<_> = options.models.iter().map(|model| ModelDigest::new(model.digest.0)).collect();
        let node = Node::start(options, member.folder.clone(), member.clock.clone())?;
        if let Some(note) = measured(&node, &here).filter(|_| !global.quiet) {
            terminal::tell(note);
        }
        Ok(node)
    }

    /// A board that does not exist.
    fn emulated(&self, class: &str, options: &mut AgentOptions) -> Result<(), Failure> {
        let (class, models) = models::emulated(class)?;
        let mode = self.mode.clone().unwrap_or_else(|| class.mode.to_string());
        if class.modes.iter().all(|known| known.name.as_str() != mode) {
            let known: Vec<&str> = class.modes.iter().map(|mode| mode.name.as_str()).collect();
            return Err(Failure::usage(format!("a {} has no mode {mode:?}", class.name))
                .hint(format!("there are {}", known.join(", "))));
        }
        let row = class.table.rows().find(|row| row.key.mode.as_str() == mode).or(class.table.rows().next());
        if let Some(row) = row {
            options.firmware.clone_from(&row.key.firmware);
            options.threads = self.threads.unwrap_or(Threads {
                prefill: row.key.prefill_threads.into(),
                decode: row.key.decode_threads.into(),
            });
        }
        let modes = class.modes.iter().map(|mode| mode.name.to_string()).collect();
        options.class = class.name.to_string();
        options.mode = mode;
        options.memory_bytes = Some(self.memory.unwrap_or(class.memory_bytes));
        options.models = models;
        let seed = self.name().map_or(0, |name| name.to_string().bytes().map(u64::from).sum());
        options.costs = options.folder.join("costs.toml");
        options.emulation = Some(Emulation { class: class.name.to_string(), modes, seed });
        Ok(())
    }
}

/// What is used of the rows that `dunlin profile` measured.
fn measured(node: &Node, here: &[ModelDigest]) -> Option<String> {
    let own = match node.own_rows() {
        Ok(own) => own?,
        Err(error) => return Some(format!("cost rows are not used: {error}")),
    };
    let mut note = format!("cost rows: {own}");
    let elsewhere = own.elsewhere(here);
    if elsewhere > 0 {
        note += &format!("; {elsewhere} of them of models that are not here now");
    }
    Some(note)
}

fn builtins() -> Vec<Builtin> {
    let builtin = |plugin: &dunlin_plugins::Plugin| Builtin {
        name: plugin.name,
        digest: ComponentDigest(*blake3::hash(plugin.bytes).as_bytes()),
        bytes: plugin.bytes,
    };
    dunlin_plugins::all().iter().map(builtin).collect()
}
