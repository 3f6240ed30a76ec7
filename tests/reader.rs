//! The promise: whoever follows a collection has every change once, wherever the connection breaks, and knows when that
//! cannot be. The server is a script, so that it can do what servers must not.

mod cuts;
mod history;
mod killed;
mod output;
mod peek;
mod refusals;
mod server;
mod sqlite;
mod terminal;
