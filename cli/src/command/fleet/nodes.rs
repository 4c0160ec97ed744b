//! `dunlin nodes`.

pub(crate) mod plan;

use std::time::Duration;

use dunlin_protocol::{Answer, Ask, JoinedNode, NodePlan, NodeState, Residency};
use serde_json::{Value, json};

use super::with_client;
use crate::{
    duration,
    fleet::Client,
    terminal::{
        self, style,
        table::{Align, Cell, Table},
    },
};

/// Show the nodes of the fleet
#[derive(Debug, clap::Args)]
pub(crate) struct Nodes {
    /// What each mode would take at what the node is asked for now, where the scheduler has a plan
    #[arg(long)]
    plan: bool,
    /// A JSON list
    #[arg(long)]
    json: bool,
}

impl Nodes {
    /// # Errors
    /// If the scheduler does not answer.
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        let nodes = with_client(async |client| all(client).await)?;
        if self.json {
            return terminal::print_json(&nodes.iter().map(document).collect::<Vec<_>>());
        }
        if nodes.is_empty() {
            terminal::tell("there are none yet: `dunlin token new` makes a token for one");
            return Ok(());
        }
        if self.plan {
            match plan::table(&nodes) {
                Some(table) => terminal::print(table)?,
                None => terminal::tell(
                    "no modes are planned: `dunlin scheduler --plan FILE` with a table [modes], and `dunlin agent --modes`",
                ),
            }
            plan::tell(&nodes);
            return Ok(());
        }
        let mut table = Table::new([
            ("NODE", Align::Left),
            ("CLASS", Align::Left),
            ("STATE", Align::Left),
            ("MODE", Align::Left),
            ("FREE", Align::Right),
            ("DRAWS", Align::Right),
            ("RUNNING", Align::Right),
            ("IN MEMORY", Align::Left),
            ("SEEN", Align::Right),
        ]);
        nodes.iter().for_each(|node| table.row(row(node)));
        terminal::print(table)?;
        plan::tell(&nodes);
        for node in nodes.iter().filter(|node| !node.unconfined.is_empty()) {
            terminal::tell(format_args!(
                "note: on {} nothing keeps pipelines and engines from {}",
                node.name, node.unconfined
            ));
        }
        Ok(())
    }
}

pub(crate) async fn all(client: &Client) -> anyhow::Result<Vec<JoinedNode>> {
    let mut nodes: Vec<JoinedNode> = Vec::new();
    loop {
        let after = nodes.last().map(|node| node.name.clone());
        let Answer::Nodes(page) = client.ask(Ask::Nodes { after }).await? else {
            anyhow::bail!("the scheduler answered with something else")
        };
        nodes.extend(page.items);
        if !page.more {
            return Ok(nodes);
        }
    }
}

fn row(node: &JoinedNode) -> [Cell; 9] {
    let class = if node.emulated { format!("{} (emulated)", node.class) } else { node.class.clone() };
    let ready = node.residents.iter().filter(|resident| resident.state == Residency::Ready).count();
    let memory = match (ready, node.residents.len() - ready) {
        (ready, 0) => format!("{ready} of {}", terminal::counted(node.models as usize, "model")),
        (ready, loading) => {
            format!("{ready} of {}, {loading} loading", terminal::counted(node.models as usize, "model"))
        }
    };
    [
        Cell::styled(node.name.to_string(), style::NAME),
        class.into(),
        plan::standing(node).into(),
        plan::mode(node, "(throttled)").into(),
        format!("{:.1} GB", node.free_memory_bytes as f64 / 1e9).into(),
        node.health
            .milliwatts
            .map_or_else(|| "-".to_owned(), |mw| format!("{:.1} W", f64::from(mw) / 1e3))
            .into(),
        node.running.to_string().into(),
        memory.into(),
        node.seen_ms_ago
            .map_or_else(|| "-".to_owned(), |ms| duration::show(Duration::from_millis(ms)))
            .into(),
    ]
}

pub(crate) fn state(state: NodeState) -> &'static str {
    match state {
        NodeState::Ready => "ready",
        NodeState::Cordoned => "cordoned",
        NodeState::Draining => "draining",
        NodeState::Wedged => "wedged",
        NodeState::Suspected => "not connected",
        NodeState::Lost => "lost",
        NodeState::Parked => "parked",
        NodeState::Wakes => "wakes",
        NodeState::Denied => "denied",
        NodeState::Unknown => "?",
    }
}

pub(crate) fn document(node: &JoinedNode) -> Value {
    let residents: Vec<Value> = node
        .residents
        .iter()
        .map(|resident| {
            json!({
                "model": resident.model.to_string(),
                "state": format!("{:?}", resident.state).to_lowercase(),
                "point": resident.point,
                "running": resident.running,
                "memory_bytes": resident.memory_bytes,
            })
        })
        .collect();
    let labels: serde_json::Map<String, Value> =
        node.labels.iter().map(|label| (label.name.clone(), label.value.clone().into())).collect();
    json!({
        "name": node.name.to_string(),
        "class": node.class,
        "state": state(node.state),
        "emulated": node.emulated,
        "labels": labels,
        "memory_bytes": node.memory_bytes,
        "free_memory_bytes": node.free_memory_bytes,
        "residents": residents,
        "models": node.models,
        "running": node.running,
        "health": node.health,
        "seen_ms_ago": node.seen_ms_ago,
        "stale_models": node.stale,
        "plan": node.plan.as_deref().map(NodePlan::document),
        "build": node.build,
        "unconfined": (!node.unconfined.is_empty()).then_some(&node.unconfined),
    })
}
