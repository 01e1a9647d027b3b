//! Owns every client socket.
