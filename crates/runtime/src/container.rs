//! Images, run through a Docker-compatible socket.
