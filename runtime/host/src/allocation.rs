//! The wasmtime engine, and where the instances of guests get their memory from.
//!
//! Wasmtime's own defaults reserve terabytes of addresses, which kernels of small boards do not have (39 bits
//! are 512 GiB).

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::invoke::{
    budget::{MAX_MEMORY_BYTES, MAX_TABLE_ELEMENTS},
    state::{MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLES},
};

/// Addresses after each memory that trap when touched.
const GUARD_BYTES: u64 = 32 << 20;

/// Stack of a guest, and of its fiber: what is beyond serves the host calls, which run there too.
const WASM_STACK_BYTES: usize = 512 << 10;
const FIBER_STACK_BYTES: usize = 1 << 20;

/// What an instance that ended leaves behind for the next one in its slot: wiping this much costs less than
/// giving it back to the system and taking it again.
const KEEP_RESIDENT_BYTES: usize = 256 << 10;

/// Where the memory of guests comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allocation {
    /// From a pool that was reserved at the start.
    Pooled { instances: u32 },
    /// From the system, each time: there was no room for a pool.
    OnDemand { reason: String },
}

/// Tries a pool first.
pub(crate) fn engine(instances: u32) -> wasmtime::Result<(Engine, Allocation)> {
    let mut config = code();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(instances)));
    match Engine::new(&config) {
        Ok(engine) => Ok((engine, Allocation::Pooled { instances })),
        Err(error) => {
            let reason = format!("{error:#}");
            Ok((Engine::new(&code())?, Allocation::OnDemand { reason }))
        }
    }
}

/// Everything that decides what code is made of a component. The same wherever it is compiled, and with every
/// allocation.
pub(crate) fn code() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_component_model_fixed_length_lists(false)
        .concurrency_support(false)
        .memory_reservation(MAX_MEMORY_BYTES)
        .memory_guard_size(GUARD_BYTES)
        .memory_may_move(false)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES);
    config
}

fn pool(instances: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_memories(instances)
        .total_stacks(instances)
        .total_core_instances(instances.saturating_mul(MAX_CORE_INSTANCES))
        .total_tables(instances.saturating_mul(MAX_TABLES))
        .max_core_instances_per_component(MAX_CORE_INSTANCES)
        .max_memories_per_component(MAX_MEMORIES)
        .max_tables_per_component(MAX_TABLES)
        .max_memory_size(MAX_MEMORY_BYTES as usize)
        .table_elements(MAX_TABLE_ELEMENTS as usize)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(KEEP_RESIDENT_BYTES)
        .async_stack_keep_resident(KEEP_RESIDENT_BYTES)
        .pagemap_scan(Enabled::Auto);
    pool
}
