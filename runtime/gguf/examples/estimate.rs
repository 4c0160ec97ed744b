//! What a model would take: `... --example estimate -- model.gguf CONTEXT MICRO_BATCH SEQUENCES OUTPUTS [f16|q8_0|q4_0|f32 [pruned]]`.

use std::env;
use std::process::ExitCode;

use dunlin_gguf::{Estimate, Gguf, KvType, LoadPoint, MemoryAvailable, Processor, WindowCache, admit};

fn main() -> ExitCode {
    match run(&env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("{sentence}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), String> {
    let [path, numbers @ ..] = arguments else { return Err("usage: estimate MODEL [CONTEXT ...]".into()) };
    let number = |index: usize, default| numbers.get(index).map_or(Ok(default), |text| text.parse::<u32>());
    let number = |index, default| number(index, default).map_err(|error| error.to_string());
    let load = LoadPoint {
        context: number(0, 2048)?,
        micro_batch: number(1, 512)?,
        sequences: number(2, 1)?,
        outputs: number(3, 1)?,
        kv_type: match numbers.get(4).map(String::as_str) {
            None | Some("f16") => KvType::F16,
            Some("f32") => KvType::F32,
            Some("q8_0") => KvType::Q8_0,
            Some("q4_0") => KvType::Q4_0,
            Some(other) => return Err(format!("{other} is no type for a cache")),
        },
        window_cache: if numbers.get(5).is_some() { WindowCache::Pruned } else { WindowCache::Full },
        processor: Processor::here(),
    };
    let gguf = Gguf::open(path).map_err(|error| error.to_string())?;
    let estimate = Estimate::new(gguf.model(), &load);
    println!("{estimate}");
    println!("exact {} {} {}", estimate.kv, estimate.compute, estimate.logits);
    let available = MemoryAvailable::read().map_err(|error| error.to_string())?;
    admit(&estimate, available).map_err(|refusal| refusal.to_string())
}
