//! Programs that keep the container contract.
