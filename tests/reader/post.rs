//! Posting: a receipt, or whether the events were not taken or may have been.

use super::server::{Server, Step, answered};
use crate::headwater::own_address;
use headwater_client::{ClientError, PostError, Receipt, Rejection, post};
use std::net::TcpListener;

const EVENTS: &[u8] = b"{\"user_id\":\"u42\"}";

fn posted(steps: Vec<Step>) -> Result<Receipt, PostError> {
    let server = Server::always(steps);
    let outcome = post(&server.url(), Some("secret"), Some("app"), EVENTS);
    let requests = server.requests();
    assert_eq!(requests.len(), 1, "nothing is tried again");
    assert_eq!((requests[0].path.as_str(), requests[0].asked("source")), ("/v1/events", Some("app")));
    assert_eq!(requests[0].headers["authorization"], "Bearer secret");
    assert_eq!(requests[0].headers["content-length"], EVENTS.len().to_string());
    outcome
}

#[test]
fn a_receipt_names_the_events_and_those_that_were_rejected() {
    let body = r#"{"token":"t1","accepted":2,"rejected":[{"index":7,"reason":"no_json","message":"ends"}],"rejected_total":1}"#;
    let rejected = Rejection { index: 7, reason: "no_json".into(), message: "ends".into() };
    let receipt = Receipt { token: "t1".into(), accepted: 2, rejected: vec![rejected], rejected_total: 1 };
    assert_eq!(posted(answered("202 Accepted", "", body)).unwrap(), receipt);
}

/// A sender that posts again what was taken counts events twice; one that does not post again what was not taken loses
/// them. So the error says which it is.
#[test]
fn an_error_says_whether_the_events_may_have_been_taken() {
    let error = r#"{"error":{"code":"busy","message":"too many events wait"}}"#;
    for (steps, taken, later) in [
        (answered("503 Service Unavailable", "retry-after: 1\r\n", error), false, true),
        (answered("429 Too Many Requests", "", error), false, true),
        (answered("400 Bad Request", "", error), false, false),
        (answered("401 Unauthorized", "", error), false, false),
        (answered("500 Internal Server Error", "", error), true, true),
        (answered("504 Gateway Timeout", "", "a proxy"), true, true),
        (answered("202 Accepted", "", "no receipt"), true, true),
        (vec![Step::Send(b"HTTP/1.1 202 Accepted\r\ncontent-length: 90\r\n\r\n{".to_vec())], true, true),
        (vec![], true, true),
    ] {
        let what = format!("{steps:?}");
        let error = posted(steps).unwrap_err();
        assert_eq!(matches!(error, PostError::Unknown { .. }), taken, "{what}: {error:?}");
        assert_eq!(error.may_succeed_later(), later, "{what}: {error:?}");
    }
}

#[test]
fn where_there_is_no_server_nothing_is_taken() {
    // A port that was free a moment ago.
    let address = TcpListener::bind((own_address(), 0)).unwrap().local_addr().unwrap();
    let error = post(&format!("http://{address}"), None, None, EVENTS).unwrap_err();
    assert!(matches!(error, PostError::NotTaken(ClientError::Unreachable { .. })), "{error:?}");
    assert!(error.may_succeed_later());
    let error = post("ftp://localhost", None, None, EVENTS).unwrap_err();
    assert!(matches!(error, PostError::NotTaken(ClientError::Usage { .. })), "{error:?}");
}
