//! Long JSON answers.

use axum::{
    body::Bytes,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::api::{Code, Problem};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A JSON answer that takes as much memory as its text has bytes, until the client has taken it. `axum::Json` may take twice
/// as much.
pub struct ExactJson<T>(pub T);

impl<T: Serialize> IntoResponse for ExactJson<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(text) => {
                ([(header::CONTENT_TYPE, JSON)], Bytes::from(text.into_boxed_slice())).into_response()
            }
            Err(_) => Problem::new(Code::Internal).into_response(),
        }
    }
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
