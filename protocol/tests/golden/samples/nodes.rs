//! Of nodes: what they tell, and what they are told to do.

use dunlin_protocol::*;

use super::{
    Samples, attempt, bytes, component, failure, joining::issued, model, parameter, point, samples, spread,
    text,
};

pub(super) fn resident() -> Resident {
    Resident {
        model: model(),
        state: Residency::Draining,
        point: point(),
        slots: 4,
        running: 2,
        queued: 1,
        memory_bytes: 900 << 20,
        cells: 16_384,
        used_cells: 700,
        prefixes: Some(vec![3, u64::MAX]),
    }
}

pub(super) fn health() -> Health {
    Health {
        mode: text("25W"),
        thermal: Thermal::Throttled,
        temperature: Some(-35),
        on_battery: true,
        battery_percent: Some(80),
        milliwatts: Some(8600),
        stalled_ms: 700,
        // Came later.
        drawn: None,
    }
}

fn report_with_joules() -> Report {
    let drawn = Drawn { millijoules: 90_000, requests_millijoules: 27_500, idle_millijoules: 62_500 };
    Report { health: Health { drawn: Some(drawn), ..health() }, ..report() }
}

fn report() -> Report {
    Report {
        number: 3,
        unix_seconds: 1_790_000_001,
        free_memory_bytes: 5 << 30,
        residents: vec![resident()],
        progress: vec![Progress {
            attempt: attempt(),
            offset: 8,
            prompt_tokens: 512,
            output_tokens: 16,
            elapsed_ms: 900,
        }],
        loads: vec![ObservedLoad { model: model(), took_ms: 2100, cold: true, millijoules: Some(9000) }],
        health: health(),
    }
}

fn inventory() -> Inventory {
    Inventory {
        incarnation: Incarnation(12),
        epoch: Epoch(6),
        class: text("orin-nano-8g"),
        firmware: text("36.5"),
        engine_build: text("b6789"),
        emulated: true,
        cordoned: true,
        labels: vec![parameter()],
        unconfined: text("files (no Landlock)"),
        allows: Permissions { http: true, environment: true, components: true },
        // Came later; `to-scheduler.Inventory.Remeasures` has it.
        remeasures: false,
        slots: 8,
        memory_bytes: 8 << 30,
        disk_free_bytes: 20 << 30,
        models: vec![StoredModel {
            digest: model(),
            name: text("llama-3.2-1b"),
            quantization: text("Q4_K_M"),
            bytes: 771_000_000,
            memory_bytes: 800_000_000,
            kv_bytes_per_token: 32_768,
            cached: true,
            pinned: true,
        }],
        components: vec![component()],
        points: vec![point()],
        attempts: vec![HeldAttempt { attempt: attempt(), epoch: Epoch(6), offset: 9, ended: true }],
        state: report(),
    }
}

pub(crate) fn to_scheduler() -> Samples<ToScheduler> {
    let mut messages = samples!(ToScheduler {
        Inventory => ToScheduler::Inventory(Box::new(inventory()));
        Report => ToScheduler::Report(Box::new(report()));
        Done => ToScheduler::Done { id: CommandId(5), result: Err(failure()) };
        Rows => ToScheduler::Rows(Rows { toml: text("[[row]]\n") });
        Leaving => ToScheduler::Leaving { within_ms: 30_000 };
        Renew => ToScheduler::Renew(CertificateRequest(bytes(&[0x30, 0x82])));
        Profiling => ToScheduler::Profiling { id: CommandId(5), said: Box::new(Profiling::Waits) };
    });
    messages.push((text("Report.Drawn"), ToScheduler::Report(Box::new(report_with_joules()))));
    let remeasures = Inventory { remeasures: true, ..inventory() };
    messages.push((text("Inventory.Remeasures"), ToScheduler::Inventory(Box::new(remeasures))));
    messages
}

fn orders() -> Samples<Order> {
    let blob = BlobDigest::from(component());
    let model = model();
    samples!(Order {
        Fetch => Order::Fetch { blob, bytes: 771_000_000 };
        Load => Order::Load { model, point: point() };
        Evict => Order::Evict { model };
        Remove => Order::Remove { blob: model.into() };
        Pin => Order::Pin { model, pinned: true };
        Step => Order::Step { model, point: StepPoint { prefill_threads: 6, decode_threads: 2 } };
        Mode => Order::Mode { mode: text("MAXN") };
        Cordon => Order::Cordon { cordoned: true };
        Drain => Order::Drain { within_ms: 30_000 };
        Cancel => Order::Cancel { attempt: attempt() };
        Forget => Order::Forget { attempt: attempt() };
        Report => Order::Report;
        Profile => Order::Profile(ProfileModel { model, how: how_to_profile() });
        EndProfile => Order::EndProfile;
    })
}

pub(super) fn how_to_profile() -> HowToProfile {
    HowToProfile {
        depth: ProfileDepth::Quick,
        points: ProfilePoints::Only(vec![2, 4]),
        budget_ms: Some(600_000),
        again: true,
        // These came later; `to-node.Command.ProfileExtras` has them.
        text: None,
        questions: None,
        operators: false,
    }
}

pub(super) fn how_to_profile_with_extras() -> HowToProfile {
    let file = |name, bytes| Some(JudgedFile { name: text(name), blob: component().into(), bytes });
    HowToProfile {
        text: file("wiki.txt 22222222", 1_290_000),
        questions: file("questions.jsonl 22222222", 70_000),
        operators: true,
        ..how_to_profile()
    }
}

pub(crate) fn to_profile() -> Samples<ToProfile> {
    samples!(ToProfile {
        Stop => ToProfile::Stop;
    })
}

pub(crate) fn profiling() -> Samples<Profiling> {
    samples!(Profiling {
        Waits => Profiling::Waits;
        Runs => Profiling::Runs { running: text("prompt of 512, 4 threads"), done: 3, total: 22 };
        Note => Profiling::Note(text("the kernel did not let go of the file"));
        Measured => Profiling::Measured { json: text("{}"), stopped: true };
        Failed => Profiling::Failed(failure());
    })
}

fn command(order: Order) -> ToNode {
    ToNode::Command(Command { id: CommandId(5), epoch: Epoch(7), order })
}

pub(crate) fn to_node() -> Samples<ToNode> {
    let messages = samples!(ToNode {
        Command => command(Order::Report);
        Renewed => ToNode::Renewed(Renewal::Issued(issued()));
    });
    let mut messages = spread(messages, "Command", orders(), command);
    let extras = ProfileModel { model: model(), how: how_to_profile_with_extras() };
    messages.push((text("Command.ProfileExtras"), command(Order::Profile(extras))));
    messages
}
