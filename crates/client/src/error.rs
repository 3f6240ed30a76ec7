//! The errors that stop a reader. A condition that may pass (a lost connection, a server that starts) is not an error:
//! the client tries again.

use crate::Tick;

/// Why a reader cannot go on, or a request was not answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The request cannot be sent: its URL or a header is wrong.
    #[error("{message}")]
    Usage {
        /// Says what is wrong with it.
        message: String,
    },

    /// The changes after the token are no longer kept. To go on, begin again with a snapshot.
    #[error("{message}")]
    Expired {
        /// The first tick that is still kept, if the server says so.
        oldest: Option<Tick>,
        /// The message of the server.
        message: String,
    },

    /// The token is of another program: what it computes now need not continue what has been read. Going on means
    /// beginning again, with a snapshot.
    #[error("{message}")]
    ProgramChanged {
        /// The message of the server.
        message: String,
    },

    /// The token, or the tick, is of another copy of the data folder, as after a restored backup. To go on, begin again
    /// with a snapshot.
    #[error("{message}")]
    OtherHistory {
        /// The message of the server.
        message: String,
    },

    /// The server does not do it, and will not however often it is asked.
    #[error("{message} ({})", of(*.status, .code))]
    Refused {
        /// HTTP status; `None`: said by an `error` frame.
        status: Option<u16>,
        /// Empty if the answer is not in the form of headwater's errors.
        code: String,
        /// The message of the server, or the first bytes of its answer.
        message: String,
    },

    /// No server answers at first, or it has been away for longer than [`patience`](super::Builder::patience).
    #[error("{url} cannot be reached: {reason}")]
    Unreachable {
        /// The server that was asked.
        url: String,
        /// Why the last attempt failed.
        reason: String,
    },

    /// The answer breaks the protocol: its sender is not headwater, or has a fault.
    #[error("{message}")]
    Protocol {
        /// Says what was expected, and what came.
        message: String,
    },
}

impl ClientError {
    pub(crate) fn protocol(message: impl Into<String>) -> ClientError {
        ClientError::Protocol { message: message.into() }
    }

    /// Returns whether the same request may succeed later: the server is busy, starts, stops, or cannot be reached.
    pub fn may_pass(&self) -> bool {
        match self {
            ClientError::Refused { status, .. } => matches!(status, Some(408 | 429 | 502..=504)),
            ClientError::Unreachable { .. } => true,
            _ => false,
        }
    }

    /// Returns the code of the server's refusal, such as `paused`; empty if it is none.
    pub fn code(&self) -> &str {
        match self {
            ClientError::Refused { code, .. } => code,
            _ => "",
        }
    }

    /// Returns whether the request is wrong, like a wrong argument.
    pub fn is_usage(&self) -> bool {
        match self {
            ClientError::Usage { .. } => true,
            ClientError::Refused { status, code, .. } => matches!(status, Some(400 | 404)) || code == "other_query",
            _ => false,
        }
    }
}

fn of(status: Option<u16>, code: &str) -> String {
    match (status, code) {
        (Some(status), "") => format!("HTTP {status}"),
        (Some(status), code) => format!("HTTP {status}, {code}"),
        (None, code) => code.to_owned(),
    }
}
