//! Why a reader gets no further. What may pass by itself (a lost connection, a server that starts) is none of these: it
//! is tried again.

use crate::Tick;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// What was asked for cannot be sent: the URL, a header.
    #[error("{message}")]
    Usage { message: String },

    /// What follows the token is no longer kept. Going on means beginning again, with a snapshot.
    #[error("{message}")]
    Expired {
        /// The first tick that is still kept, if the server says so.
        oldest: Option<Tick>,
        message: String,
    },

    /// The token is of another program: what it computes now need not continue what has been read. Going on means
    /// beginning again, with a snapshot.
    #[error("{message}")]
    ProgramChanged { message: String },

    /// The token, or the tick, is of another copy of the data folder than the one that is there now, as before a backup was
    /// restored. Going on means beginning again, with a snapshot.
    #[error("{message}")]
    OtherHistory { message: String },

    /// The server does not do it, and will not however often it is asked.
    #[error("{message} ({})", of(*.status, .code))]
    Refused {
        /// HTTP status; `None`: said by an `error` frame.
        status: Option<u16>,
        /// Empty if whoever answered speaks another language than headwater.
        code: String,
        message: String,
    },

    /// Nobody is there at first, or it has been away for longer than [`patience`](super::Builder::patience).
    #[error("{url} cannot be reached: {reason}")]
    Unreachable { url: String, reason: String },

    /// What came breaks the protocol: whoever sent it is no headwater, or has a fault.
    #[error("{message}")]
    Protocol { message: String },
}

impl ClientError {
    pub(crate) fn protocol(message: impl Into<String>) -> ClientError {
        ClientError::Protocol { message: message.into() }
    }

    /// What was asked for is wrong, as a wrong argument is.
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
