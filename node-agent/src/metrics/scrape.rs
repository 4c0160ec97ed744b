//! What is so now, as it is when somebody asks.

use dunlin_protocol::{ModelDigest, Residency, Thermal};
use dunlin_worker_handle::Vitals;
use prometheus::{CounterVec, Encoder, GaugeVec, Opts, Registry, TextEncoder};

use super::{MAX_MODELS, Metrics, lock};
use crate::{node::Node, residents::id};

impl Metrics {
    /// All of it, as Prometheus reads it.
    ///
    /// # Errors
    /// If a name is none, as a test sees to.
    pub(crate) fn text(&self, node: &Node) -> Result<String, prometheus::Error> {
        let label = |model: &ModelDigest| self.model(&node.model_name(model));
        let vitals = node.worker.vitals().borrow().clone();
        lock(&self.engines).count(&vitals, |id| match id.0.parse() {
            Ok(digest) => label(&digest),
            Err(_) => self.model(&id.0),
        });
        let now = Now(Registry::new_custom(None, Some(self.labels.clone()))?);
        now.machine(node)?;
        now.meter(node)?;
        now.link(node, self)?;
        now.models(node, &label, |model| vitals.get(&id(model)).copied())?;
        let mut families = self.registry.gather();
        families.extend(now.0.gather());
        families.sort_by(|a, b| a.name().cmp(b.name()));
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// What is made anew each time, so that what is gone is gone from here too.
struct Now(Registry);

impl Now {
    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec, prometheus::Error> {
        let gauges = GaugeVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(gauges.clone()))?;
        Ok(gauges)
    }

    /// `None`: not known, and so not there.
    fn gauge(&self, name: &str, help: &str, value: Option<f64>) -> Result<(), prometheus::Error> {
        let gauges = self.gauges(name, help, &[])?;
        value.into_iter().for_each(|value| gauges.with_label_values::<&str>(&[]).set(value));
        Ok(())
    }

    fn machine(&self, node: &Node) -> Result<(), prometheus::Error> {
        let health = node.health(0);
        let info = self.gauges(
            "dunlin_agent_info",
            "The build, and the mode of the machine.",
            &["version", "mode"],
        )?;
        info.with_label_values(&[node.options.build.as_str(), &health.mode]).set(1.0);
        let celsius = health.temperature.map(|tenths| f64::from(tenths) / 10.0);
        self.gauge("dunlin_board_temperature_celsius", "The temperature of the board.", celsius)?;
        let throttled = f64::from(u8::from(health.thermal == Thermal::Throttled));
        self.gauge(
            "dunlin_board_throttled",
            "1 where the board is slowed down by its heat.",
            Some(throttled),
        )?;
        let charge = health.battery_percent.map(|percent| f64::from(percent) / 100.0);
        self.gauge("dunlin_board_battery_ratio", "Charge of the battery, if there is one.", charge)?;
        let bytes = node.residents.memory_bytes() as f64;
        self.gauge(
            "dunlin_agent_memory_bytes",
            "What models and their contexts may take together.",
            Some(bytes),
        )?;
        let free = node.residents.free_bytes() as f64;
        self.gauge("dunlin_agent_free_memory_bytes", "Of that, what no model has.", Some(free))?;
        let disk = node.blobs.free_bytes().ok().map(|bytes| bytes as f64);
        self.gauge("dunlin_agent_free_disk_bytes", "Room on the disk for models.", disk)?;
        let running = node.running().len() as f64;
        self.gauge("dunlin_agent_running_attempts", "Attempts that run now.", Some(running))?;
        let restarts = node.worker.status().incarnation.saturating_sub(1);
        let counter = CounterVec::new(
            Opts::new("dunlin_worker_restarts_total", "Starts of the worker after the first: it had died."),
            &[],
        )?;
        self.0.register(Box::new(counter.clone()))?;
        counter.with_label_values::<&str>(&[]).inc_by(restarts.into());
        Ok(())
    }

    fn meter(&self, node: &Node) -> Result<(), prometheus::Error> {
        let sensor = node.metering.sensor();
        let works = sensor.as_ref().is_some_and(|sensor| sensor.fault.is_none());
        self.gauge(
            "dunlin_meter_working",
            "1 where joules are known: there is a meter, and it shows something.",
            Some(f64::from(u8::from(works))),
        )?;
        if let Some(sensor) = &sensor {
            let info =
                self.gauges("dunlin_meter_info", "What meters this board.", &["meter", "source", "scope"])?;
            info.with_label_values(&[sensor.name.as_str(), sensor.source, sensor.scope]).set(1.0);
        }
        let watts = node.health(0).milliwatts.map(|milliwatts| f64::from(milliwatts) / 1000.0);
        let watts = watts.or(sensor.and_then(|sensor| sensor.watts));
        self.gauge("dunlin_meter_watts", "Drawn now, in the scope of the meter.", watts)?;
        let joules = CounterVec::new(
            Opts::new(
                "dunlin_meter_joules_total",
                "Metered since the start, by part: requests (above idle, for them) and idle (all the rest).",
            ),
            &["part"],
        )?;
        self.0.register(Box::new(joules.clone()))?;
        if let Some(drawn) = node.metering.drawn() {
            for (part, millijoules) in
                [("requests", drawn.requests_millijoules), ("idle", drawn.idle_millijoules)]
            {
                joules.with_label_values(&[part]).inc_by(millijoules as f64 / 1000.0);
            }
        }
        Ok(())
    }

    fn link(&self, node: &Node, metrics: &Metrics) -> Result<(), prometheus::Error> {
        let link = lock(&metrics.link).clone();
        let up = f64::from(u8::from(link.is_some()));
        self.gauge("dunlin_link_connected", "1 while the scheduler hears this node.", Some(up))?;
        let rtt = link.map(|link| link.connection().rtt().as_secs_f64());
        self.gauge("dunlin_link_round_trip_seconds", "To the scheduler and back.", rtt)?;
        let epoch = node.memory.epoch().0 as f64;
        self.gauge("dunlin_link_epoch", "Of the scheduler that this node obeys.", Some(epoch))
    }

    fn models(
        &self,
        node: &Node,
        label: &impl Fn(&ModelDigest) -> String,
        vitals: impl Fn(&ModelDigest) -> Option<Vitals>,
    ) -> Result<(), prometheus::Error> {
        let of_model = ["model"];
        let state = self.gauges(
            "dunlin_model_state",
            "1 for the state of each model in memory: loading, ready, restarting.",
            &["model", "state"],
        )?;
        let memory = self.gauges("dunlin_model_memory_bytes", "What a model takes of memory.", &of_model)?;
        let attempts =
            self.gauges("dunlin_model_running_attempts", "Attempts that use a model now.", &of_model)?;
        let cells =
            self.gauges("dunlin_engine_kv_cells", "Cells of the KV cache, one for each token.", &of_model)?;
        let used = self.gauges(
            "dunlin_engine_kv_used_cells",
            "Of these, cells in use, those of kept prefixes included.",
            &of_model,
        )?;
        let idle = self.gauges(
            "dunlin_engine_kv_idle_cells",
            "Of these, cells of kept prefixes that nobody runs on.",
            &of_model,
        )?;
        let spilled = self.gauges(
            "dunlin_engine_spilled_bytes",
            "Prefixes that were moved to host memory.",
            &of_model,
        )?;
        let running = self.gauges(
            "dunlin_engine_running_sequences",
            "Sequences that a step is of now: the size of the batch.",
            &of_model,
        )?;
        let queued =
            self.gauges("dunlin_engine_queued_sequences", "Sequences that wait in the engine.", &of_model)?;
        for resident in node.residents.list().iter().take(MAX_MODELS) {
            let name = label(&resident.model);
            let labels = [name.as_str()];
            let word = match resident.state {
                Residency::Loading => "loading",
                Residency::Ready => "ready",
                Residency::Draining => "draining",
                Residency::Restarting => "restarting",
                Residency::Unknown => "unknown",
            };
            state.with_label_values(&[name.as_str(), word]).set(1.0);
            memory.with_label_values(&labels).set(resident.memory_bytes as f64);
            attempts.with_label_values(&labels).set(resident.running.into());
            cells.with_label_values(&labels).set(resident.cells.into());
            let Some(Vitals { pulse, .. }) = vitals(&resident.model) else { continue };
            used.with_label_values(&labels).set(pulse.cells.into());
            idle.with_label_values(&labels).set(pulse.idle_cells.into());
            spilled.with_label_values(&labels).set(pulse.spilled_bytes as f64);
            running.with_label_values(&labels).set(pulse.running.into());
            queued.with_label_values(&labels).set(pulse.queued.into());
        }
        Ok(())
    }
}
