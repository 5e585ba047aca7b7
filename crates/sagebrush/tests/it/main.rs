//! The binary as a whole, and what holds for the workspace as a whole.

mod layering;
mod start;
