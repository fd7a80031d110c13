//! JSON answers.

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::api::{Code, Problem};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// More than the answer to a beat has, in bytes.
const SHORT_BYTES: usize = 256;

/// A long JSON answer that takes as much memory as its text has bytes, until the client has taken it. `axum::Json` may take twice
/// as much.
pub struct ExactJson<T>(pub T);

impl<T: Serialize> IntoResponse for ExactJson<T> {
    fn into_response(self) -> Response {
        let response: Response<Vec<u8>> = json(&self.0);
        response.map(|text| Body::from(Bytes::from(text.into_boxed_slice())))
    }
}

/// A JSON answer with any kind of body.
pub fn json<T: Serialize, B: From<Vec<u8>>>(value: &T) -> Response<B> {
    let mut text = Vec::with_capacity(SHORT_BYTES);
    if serde_json::to_writer(&mut text, value).is_err() {
        return Problem::new(Code::Internal).response();
    }
    let mut response = Response::new(text.into());
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_is_json_or_a_problem() {
        let response = ExactJson(vec![1, 2]).into_response();
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        let text = axum::body::to_bytes(response.into_body(), 100).await.unwrap();
        assert_eq!(text, "[1,2]");
        // The keys of an object in JSON are strings.
        let failed = ExactJson(std::collections::HashMap::from([([1], 2)])).into_response();
        assert_eq!(failed.status(), 500);
    }
}
