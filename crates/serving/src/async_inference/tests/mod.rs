//! Calls from their acceptance to their end, over stores and workers that do as they are told.
//! Time stands still unless awaited.

mod crashes;
mod ends;
mod fakes;
