//! The promise: a client that follows a collection has every change once, wherever the connection breaks, and gets an error
//! when that is impossible. The server is a script, so that it can misbehave.

mod cuts;
mod history;
mod killed;
mod output;
mod peek;
mod post;
mod refusals;
mod server;
mod sqlite;
mod terminal;
