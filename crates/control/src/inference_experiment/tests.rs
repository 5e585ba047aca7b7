//! Experiments over a store in memory and a fake runtime.
